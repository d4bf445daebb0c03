"""What a call wants done. The core decides and the room's actor carries these out, in order."""

from __future__ import annotations

import msgspec

from server.db.changes import Change
from server.rtc.parameters import Source
from server.signaling.messages import ParticipantsChanged, Wire


class Notify(msgspec.Struct, frozen=True):
    """Tell these participants (resolved when it was decided, so nobody who left is among them)."""

    to: tuple[str, ...]  # participant ids
    method: str
    params: Wire
    lossy: bool = False  # of no use later: not kept for those whose connection is cut


class NotifyChanged(msgspec.Struct, frozen=True):
    """Tell these participants who came, changed and went, in the form that each of their clients knows."""

    to: tuple[str, ...]  # participant ids
    changed: ParticipantsChanged


class NotifySession(msgspec.Struct, frozen=True):
    """Tell a session that is no longer, or not yet, a participant."""

    session_id: str
    method: str
    params: Wire


class NotifyUser(msgspec.Struct, frozen=True):
    """Tell every session of this user, save the one that is named."""

    user_id: str
    method: str
    params: Wire
    but_session: str | None = None


class Persist(msgspec.Struct, frozen=True):
    change: Change


class OpenPeer(msgspec.Struct, frozen=True):
    """This participant needs its two transports (standby or not)."""

    participant_id: str
    publish: bool  # whether the grants let it send
    on: frozenset[Source]  # of its sources


class ClosePeer(msgspec.Struct, frozen=True):
    participant_id: str


class Forward(msgspec.Struct, frozen=True):
    """Producers and consumers for everybody: on, or closed with the transports in standby.

    On again while on: the media stays and key frames are asked for.
    """

    on: bool


class Sources(msgspec.Struct, frozen=True):
    """Which sources a participant has on now. A screen has media only then, a camera and a microphone in a
    small call always, in a large one from the first time on."""

    participant_id: str
    on: frozenset[Source]


class Dismiss(msgspec.Struct, frozen=True):
    """This session is no longer in the call."""

    session_id: str


Effect = (
    Notify
    | NotifyChanged
    | NotifySession
    | NotifyUser
    | Persist
    | OpenPeer
    | ClosePeer
    | Forward
    | Sources
    | Dismiss
)
