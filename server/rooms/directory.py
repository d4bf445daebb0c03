"""All sessions and calls of this server: who is connected, which room has a call, and how both are reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from server.db.changes import Change
from server.media.api import MediaServer
from server.rooms.session import Session, Sink
from server.session.identity import Identity
from server.session.settings import CallSettings
from server.signaling.messages import Hello, HelloResult, IceServer, Wire


class Recorder(Protocol):
    """Where facts go (`server.db.recorder`)."""

    def submit(self, change: Change) -> None: ...


class Directory:
    """The connection's way into calls. All methods are called on the Trio thread.

    A connection does, in this order: `hello`, queue the response, `attach`; then for each request

        with session.answering():
            result = await directory.request(session, method, params)
            ...queue the response...

    and `detach` at its end.
    """

    def __init__(
        self,
        settings: CallSettings,
        media: MediaServer,
        recorder: Recorder,
        clock: Callable[[], float],  # Unix seconds
    ) -> None:
        raise NotImplementedError

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the room actors until cancelled."""
        raise NotImplementedError

    def hello(
        self, identity: Identity, params: Hello, *, ice_servers: list[IceServer]
    ) -> tuple[Session, HelloResult]:
        """Open a session, or take up the one that `params.resume` names.

        ClientError: `resume_unknown`, `too_large`, `busy`.
        """
        raise NotImplementedError

    async def request(self, session: Session, method: str, params: Wire) -> Wire:
        """Carry out one request (any method but `hello`); ClientError refuses it and nothing has changed."""
        raise NotImplementedError

    def attach(self, session: Session, sink: Sink) -> None:
        """Deliver notifications to `sink` from now on, the missed ones first."""
        raise NotImplementedError

    def detach(self, session: Session, sink: Sink) -> None:
        """The connection is gone; the session waits for a resume. Nothing if another took over."""
        raise NotImplementedError

    def drain(self, reconnect_after_ms: int) -> None:
        """Announce the stop to every session; new calls are refused from now on."""
        raise NotImplementedError

    async def shutdown(self) -> None:
        """End every call truthfully (`server_shutdown`) and return when all actors have finished."""
        raise NotImplementedError

    def stats(self) -> dict[str, int]:
        """Gauges: sessions, attached, calls, participants, p2p_calls, sfu_calls."""
        raise NotImplementedError
