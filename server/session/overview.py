"""A call as it is now, for those who are not in it. Plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from server.session.settings import Policy
from server.signaling import messages as m

if TYPE_CHECKING:
    from server.session.call import Call


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Times are Unix seconds."""

    call_id: str
    room_id: str
    call_type: m.CallTypeName
    status: m.CallStatusName
    mode: m.Mode
    epoch: int
    policy: Policy
    initiator_id: str | None
    opened_at: float
    started_at: float | None
    ringing: list[str]  # user ids
    participants: list[m.ParticipantInfo]


def overview(call: Call) -> Overview:
    return Overview(
        call_id=call.id,
        room_id=call.room_id,
        call_type=call.call_type,
        status=call.status,
        mode=call.mode,
        epoch=call.epoch,
        policy=call.policy,
        initiator_id=call.initiator_id,
        opened_at=call.opened_at,
        started_at=call.started_at,
        ringing=call.rung,
        participants=call.participants,
    )
