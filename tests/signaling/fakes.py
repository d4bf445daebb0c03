"""A directory that needs no rooms, and a client over a memory stream: what the WebSocket's tests stand on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from trio_websocket import WebSocketConnection, wrap_client_stream

from server.errors import ClientError
from server.http.connection import ConnectionLimits, HttpConnection
from server.http.exchange import Peer, Request, Response
from server.http.guard import refuse_websocket, subprotocols
from server.rooms.session import Session
from server.session.identity import Grants, Identity
from server.signaling.frames import Opening
from server.signaling.messages import ChatMessage, ChatSend, Empty, Hello, HelloResult, IceServer, Wire
from server.signaling.settings import LimitSettings
from server.signaling.websocket import Origin, WebSocketDoor


class FakeDirectory:
    """Sessions are the real ones; requests go to `on_request`."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.requests: list[tuple[str, Wire]] = []
        self.attached: list[Session] = []
        self.detached: list[Session] = []
        self.on_request: Callable[[Session, str, Wire], Awaitable[Wire]] | None = None

    def hello(
        self, identity: Identity, params: Hello, *, ice_servers: list[IceServer]
    ) -> tuple[Session, HelloResult]:
        resumed = False
        if params.resume is not None:
            session = self.sessions.get(params.resume.session_id)
            if session is None or session.resume_token != params.resume.resume_token:
                raise ClientError("resume_unknown", "That session is over.", field="resume.sessionId")
            session.rewind(params.resume.last_seq)
            resumed = True
        else:
            session = Session(identity, name=identity.name, device=None)
            self.sessions[session.id] = session
        result = HelloResult(
            session_id=session.id,
            resume_token=session.resume_token,
            resumed=resumed,
            resync=False,
            guest=identity.guest,
            name=identity.name,
            user_id=identity.user_id,
            grants=identity.grants.names(),
            ice_servers=ice_servers,
            resume_grace_ms=30_000,
            server_version="1",
            server_instance="i",
            server_time=0,
        )
        return session, result

    async def request(self, session: Session, method: str, params: Wire) -> Wire:
        self.requests.append((method, params))
        if self.on_request is not None:
            return await self.on_request(session, method, params)
        if isinstance(params, ChatSend):
            for other in self.sessions.values():
                other.notify("chat.message", ChatMessage("p", session.name, params.text, 0))
        return Empty()

    def attach(self, session: Session, sink: Any) -> None:
        self.attached.append(session)
        old = session.attach(sink)
        if old is not None:
            old.close(4001, "taken over")

    def detach(self, session: Session, sink: Any) -> None:
        if session.detach(sink):
            self.detached.append(session)


def authenticate(hello: Hello) -> Identity:
    if hello.token == "bad":
        raise ClientError("token_invalid", "No.", field="token")
    return Identity(user_id=None, name=hello.name or "Guest", guest=True, grants=Grants(start=True))


class Client:
    """Speaks JSON-RPC over a WebSocket; notifications met on the way are kept."""

    def __init__(self, wire: WebSocketConnection, stream: trio.abc.Stream) -> None:
        self.wire = wire
        self.stream = stream
        self.notifications: list[tuple[str, dict[str, Any]]] = []
        self._next = 0

    async def send(self, method: str, params: dict[str, Any] | None = None) -> int:
        self._next += 1
        message = {"jsonrpc": "2.0", "id": self._next, "method": method, "params": params or {}}
        await self.wire.send_message(json.dumps(message))
        return self._next

    async def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.wire.get_message())
        assert message["jsonrpc"] == "2.0"
        return message

    async def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """The whole response; use `["result"]` or `["error"]`."""
        wanted = await self.send(method, params)
        while True:
            message = await self.receive()
            if message.get("id") == wanted:
                return message
            self.notifications.append((message["method"], message["params"]))

    async def notification(self) -> tuple[str, dict[str, Any]]:
        if not self.notifications:
            message = await self.receive()
            self.notifications.append((message["method"], message["params"]))
        return self.notifications.pop(0)


def make_door(directory: FakeDirectory | None = None, **limits: Any) -> WebSocketDoor:
    return WebSocketDoor(
        directory or FakeDirectory(),  # type: ignore[arg-type]
        authenticate,
        LimitSettings(**limits),
        lambda: 0.0,
    )


ORIGIN = Origin(peer="192.0.2.*", ice_servers=[IceServer(urls=["stun:example.org:8444"])])


_PEER = Peer(address="192.0.2.1", port=1, secure=True, loopback=False)
_LIMITS = ConnectionLimits(max_header_bytes=2000, max_body_bytes=0, request_timeout_s=10, idle_timeout_s=10)


async def _no_page(request: Request) -> Response:
    raise AssertionError("these clients want a WebSocket")


async def _taken(request: Request, stream: trio.abc.Stream) -> None:
    raise AssertionError("the connection only says who takes over")


async def serve(door: WebSocketDoor, stream: trio.abc.Stream) -> None:
    """One connection, from its opening on: that is read by the HTTP door, as in the server."""
    http = HttpConnection(stream, _PEER, handler=_no_page, upgrade=lambda request: _taken, limits=_LIMITS)
    upgrade = await http.run()
    assert upgrade is not None
    request = upgrade.request
    assert refuse_websocket(request, allowed_origins=()) is None
    opening = Opening(request.header(b"sec-websocket-key") or "", subprotocols(request))
    await door.serve(upgrade.stream, ORIGIN, opening)
    await trio.aclose_forcefully(stream)  # as the listener does


@asynccontextmanager
async def connected(
    door: WebSocketDoor, nursery: trio.Nursery, *, subprotocols: list[str] | None = None
) -> AsyncIterator[Client]:
    """A client of `door`, whose connection is served in `nursery`."""
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(serve, door, theirs)
    async with trio.open_nursery() as wire_nursery:
        wire = await wrap_client_stream(wire_nursery, ours, "example.org", "/ws", subprotocols=subprotocols)
        yield Client(wire, ours)
        with trio.move_on_after(1):
            await wire.aclose()
        await trio.aclose_forcefully(ours)
        wire_nursery.cancel_scope.cancel()
