"""What comes in, as types: the names in a path, the query, the body. Whatever does not fit is refused.

Unlike over the WebSocket, unknown names are refused too: a filter with a slip in its name must not answer
with everything.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server.rest.paging import PATTERN
from server.session.settings import Policy
from server.signaling.messages import CallStatusName, CallTypeName, Mode, RoomId

# `$` would let a last line feed pass; the OpenAPI document says `$`, which there means the very end.
Plain = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
When = Annotated[datetime, Meta(tz=True, description="RFC 3339, with a zone")]
RecordingStatus = Literal["starting", "recording", "processing", "ready", "failed", "deleted"]
Cursor = Annotated[str, Meta(max_length=220, pattern=PATTERN, description="`nextCursor` of a page")]
Limit = Annotated[int, Meta(ge=1, le=100, description="of one page")]
# `server_…` is the server's own word for ends of its own.
Reason = Annotated[
    str,
    Meta(
        max_length=32,
        pattern=r"^(?!server_)[a-z][a-z0-9_]*\Z",
        description="kept as `endReason` and told to everybody in the call",
    ),
]
WaitS = Annotated[
    float,
    Meta(
        ge=1,
        le=86_400,
        description="seconds that it waits for its people; null: the ring time-out, or 15 minutes by link",
    ),
]
TtlS = Annotated[float, Meta(ge=60, le=604_800, description="seconds")]


class Asked(msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Nothing(Asked, frozen=True, kw_only=True):
    pass


# ---- in paths ---------------------------------------------------------------------------------------------


class OfCall(Asked, frozen=True, kw_only=True):
    call_id: Plain


class OfParticipant(OfCall, frozen=True, kw_only=True):
    participant_id: Plain


class OfRoom(Asked, frozen=True, kw_only=True):
    room_id: RoomId


class OfUser(Asked, frozen=True, kw_only=True):
    user_id: Plain


class OfSfuRoom(Asked, frozen=True, kw_only=True):
    sfu_room_id: Plain


class OfTransport(Asked, frozen=True, kw_only=True):
    transport_id: Plain


class OfProducer(Asked, frozen=True, kw_only=True):
    producer_id: Plain


# ---- in queries -------------------------------------------------------------------------------------------


class Paged(Asked, frozen=True, kw_only=True):
    limit: Limit = 20
    cursor: Cursor | UnsetType = UNSET


class Filtered(Paged, frozen=True, kw_only=True):
    status: CallStatusName | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET
    call_type: CallTypeName | UnsetType = UNSET
    since: When | UnsetType = UNSET
    until: When | UnsetType = UNSET


class CallsQuery(Filtered, frozen=True, kw_only=True):
    """`since` and `until` are about `createdAt`, both included."""

    room_id: RoomId | UnsetType = UNSET
    user_id: Plain | UnsetType = UNSET


class LiveQuery(Paged, frozen=True, kw_only=True):
    room_id: RoomId | UnsetType = UNSET


class RecordingsQuery(Paged, frozen=True, kw_only=True):
    room_id: RoomId | UnsetType = UNSET
    status: RecordingStatus | UnsetType = UNSET


class TranscriptionsQuery(Paged, frozen=True, kw_only=True):
    language: Annotated[str, Meta(max_length=35, pattern=r"^[A-Za-z0-9-]+\Z")] | UnsetType = UNSET


class Period(Asked, frozen=True, kw_only=True):
    """Of the calls' `createdAt`, both included; without them, the last seven days."""

    since: When | UnsetType = UNSET
    until: When | UnsetType = UNSET


class RoomPeriod(Period, frozen=True, kw_only=True):
    room_id: RoomId | UnsetType = UNSET


# ---- in bodies --------------------------------------------------------------------------------------------


class OpenCall(Asked, frozen=True, kw_only=True):
    """A call that waits for its people: it rings those in `invite`, or is found by link."""

    room_id: RoomId
    call_type: CallTypeName = "VIDEO"
    policy: Annotated[Policy, Meta(description="of this call; null: the server's")] | None = None
    invite: Annotated[list[Plain], Meta(max_length=64, description="ids of users to ring")] = []
    initiator_id: (
        Annotated[Plain, Meta(description="the user who calls: the token's own, unless it is an admin's")]
        | None
    ) = None
    initiator_name: Annotated[Plain, Meta(description="shown to those who are rung; for `admin`")] | None = (
        None
    )
    wait_s: WaitS | None = None
    settings: Annotated[dict[str, Any], Meta(description="kept with the call; 4 KiB at most")] | None = None


class EndCall(Asked, frozen=True, kw_only=True):
    reason: Reason | None = None


class MakeToken(Asked, frozen=True, kw_only=True):
    """A token for one person. It never grants `admin`."""

    room_id: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^(\*|[A-Za-z0-9._~-]+)\Z")]
    user_id: Annotated[Plain, Meta(description="null: a guest")] | None = None
    name: Annotated[str, Meta(max_length=64, description="that others see")] = ""
    can: (
        Annotated[
            list[Literal["start", "publish", "end", "read"]], Meta(description="null: start and publish")
        ]
        | None
    ) = None
    ttl_s: TtlS = 21_600
