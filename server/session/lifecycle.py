"""A call's status: INITIATED → ACTIVE → ENDED, or INITIATED → MISSED / REJECTED.

The table below is all there is. An event that has no row for the status is illegal and changes nothing.

`endReason` in the database and `reason` in `call.ended` are one of:
- `ended`: somebody with the grant ended the call for all.
- `empty`: nobody came back within the grace time after the last participant left.
- `ring_timeout`: nobody answered in time (MISSED).
- `cancelled`: the caller gave up before anybody answered (MISSED).
- `rejected`: all who were invited declined (REJECTED).
- `server_shutdown`: the server was stopped in good order.
- `server_error`: the room failed; other rooms are untouched.
- `server_restart` is written by the next start for calls that a dead server left open.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Literal, cast

from server.db.changes import CallStatus

EndStatus = Literal["ENDED", "MISSED", "REJECTED"]


class Event(Enum):
    ANSWERED = auto()  # a second participant is here
    RING_TIMEOUT = auto()
    ALL_REJECTED = auto()
    CANCELLED = auto()  # the callers left before anybody answered
    ENDED = auto()
    EMPTIED = auto()
    SERVER_SHUTDOWN = auto()
    SERVER_ERROR = auto()


TRANSITIONS: dict[tuple[CallStatus, Event], CallStatus] = {
    ("INITIATED", Event.ANSWERED): "ACTIVE",
    ("INITIATED", Event.RING_TIMEOUT): "MISSED",
    ("INITIATED", Event.ALL_REJECTED): "REJECTED",
    ("INITIATED", Event.CANCELLED): "MISSED",
    ("INITIATED", Event.ENDED): "MISSED",
    ("INITIATED", Event.SERVER_SHUTDOWN): "ENDED",
    ("INITIATED", Event.SERVER_ERROR): "ENDED",
    ("ACTIVE", Event.ENDED): "ENDED",
    ("ACTIVE", Event.EMPTIED): "ENDED",
    ("ACTIVE", Event.SERVER_SHUTDOWN): "ENDED",
    ("ACTIVE", Event.SERVER_ERROR): "ENDED",
}

END_REASON: dict[tuple[CallStatus, Event], str] = {
    ("INITIATED", Event.RING_TIMEOUT): "ring_timeout",
    ("INITIATED", Event.ALL_REJECTED): "rejected",
    ("INITIATED", Event.CANCELLED): "cancelled",
    ("INITIATED", Event.ENDED): "cancelled",
    ("INITIATED", Event.SERVER_SHUTDOWN): "server_shutdown",
    ("INITIATED", Event.SERVER_ERROR): "server_error",
    ("ACTIVE", Event.ENDED): "ended",
    ("ACTIVE", Event.EMPTIED): "empty",
    ("ACTIVE", Event.SERVER_SHUTDOWN): "server_shutdown",
    ("ACTIVE", Event.SERVER_ERROR): "server_error",
}


class Lifecycle:
    """The status of one call and why it ended."""

    def __init__(self, status: CallStatus) -> None:
        self.status: CallStatus = status
        self.end_reason: str | None = None

    @property
    def over(self) -> bool:
        return self.end_reason is not None

    @property
    def end_status(self) -> EndStatus:
        """The final status; only once it is over."""
        assert self.over
        return cast(EndStatus, self.status)

    def apply(self, event: Event) -> bool:
        """Whether the event was legal, and so changed the status."""
        key = (self.status, event)
        target = TRANSITIONS.get(key)
        if target is None:
            return False
        self.status = target
        self.end_reason = END_REASON.get(key)
        return True
