"""How a call begins: by somebody who enters it, or ahead of everybody's arrival."""

from __future__ import annotations

from typing import Any

import msgspec

from server.db.changes import CallCreated, CallMetricsUpdate
from server.session.participants import Joiner
from server.session.settings import Policy
from server.session.switch import SfuRoom
from server.signaling import messages as m

_POLICIES: dict[str, Policy] = {"auto": "auto", "p2p": "p2p", "sfu": "sfu"}


class Ahead(msgspec.Struct, frozen=True, kw_only=True):
    """For whom an application opens a call that nobody has entered yet."""

    wait_s: float  # for so long it waits to be answered, or for its first join if it rings nobody
    user_id: str | None = None  # will be its host; None: the first to come
    name: str = ""  # of who calls, for those who are rung
    avatar: str | None = None


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a server left open when it died, to go on with: what is stored of it."""

    call_id: str
    settings: dict[str, Any] | None = None
    metrics: CallMetricsUpdate | None = None

    @property
    def policy(self) -> Policy | None:
        """The call's own, where it had one (`created` put it there)."""
        said = (self.settings or {}).get("policy")
        return _POLICIES.get(said) if isinstance(said, str) else None


class NewCall(msgspec.Struct, frozen=True, kw_only=True):
    call_id: str
    room_id: str
    call_type: m.CallTypeName
    initiator: Joiner | Ahead
    invite: list[str] = []  # user ids to ring; with none the call is ACTIVE at its first join
    policy: Policy | None = None  # None: the server's
    settings: dict[str, Any] | None = None
    metrics: CallMetricsUpdate | None = None  # so far, of a call that goes on


def created(
    new: NewCall, status: m.CallStatusName, mode: m.Mode, router: SfuRoom | None, now: float
) -> CallCreated:
    """The fact to keep; `router` with mode `sfu` only."""
    chosen = {} if new.policy is None else {"policy": new.policy}
    return CallCreated(
        at=now,
        call_id=new.call_id,
        room_id=new.room_id,
        call_type=new.call_type,
        status=status,
        mode=mode,
        initiator_id=new.initiator.user_id,
        settings={**(new.settings or {}), **chosen} or None,
        sfu_room_id=None if router is None else router.id,
        sfu_rtp_capabilities=None if router is None else router.rtp_capabilities,
    )
