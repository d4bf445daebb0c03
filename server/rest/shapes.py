"""What goes out, as types: each is encoded from these and described by them in the OpenAPI document.

Names are the tables' own. Times are RFC 3339 in UTC. What other applications may have written into the
tables is taken as it is, so texts of theirs are plain strings here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from server.session.settings import Policy
from server.signaling.messages import CallStatusName, CallTypeName, Mode, ParticipantStatusName


class Shape(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    pass


class User(Shape, frozen=True, kw_only=True):
    """Of the `users` table."""

    id: str
    name: str | None = None
    avatar: str | None = None


class Guest(Shape, frozen=True, kw_only=True):
    """Somebody without an account."""

    id: str
    name: str | None = None


class Participant(Shape, frozen=True, kw_only=True):
    """One person in one call; either `user` or `anonymousUser`, or neither once erased."""

    id: str
    display_name: str | None  # as this person was called in this call
    role: str
    status: str  # connecting, connected, reconnecting, left
    joined_at: datetime
    left_at: datetime | None
    left_reason: str | None
    user: User | None
    anonymous_user: Guest | None
    audio_enabled: bool
    video_enabled: bool
    screen_share_enabled: bool
    was_muted: bool
    had_video: bool
    sfu_send_transport_id: str | None
    sfu_recv_transport_id: str | None
    sfu_audio_producer_id: str | None
    sfu_video_producer_id: str | None
    sfu_screen_producer_id: str | None
    quality_metrics: Any = None  # an object; for tokens with `read` or `admin` only
    device_info: Any = None


class LiveParticipant(Shape, frozen=True, kw_only=True):
    """Somebody who is in the call now."""

    id: str
    user_id: str | None  # null for a guest
    name: str
    role: str
    status: ParticipantStatusName
    joined_at: datetime
    audio_enabled: bool
    video_enabled: bool
    screen_share_enabled: bool


class LiveState(Shape, frozen=True, kw_only=True):
    """What the server itself knows of a call that is not over."""

    epoch: int
    policy: Policy
    ringing: list[str]  # ids of the users who have neither answered nor declined yet
    participants: list[LiveParticipant]


class Call(Shape, frozen=True, kw_only=True):
    """A call: its row, and `live` while it is not over. Where the two differ, the live call is right.

    `stored` is false for a live call whose row could not be read or is not written yet. `participants` are
    all who ever took part, the first 100 of them; the listing of participants has the others.
    """

    id: str
    room_id: str
    call_type: CallTypeName
    status: CallStatusName
    mode: Mode
    initiator_id: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None = None
    duration: int | None = None  # whole seconds
    end_reason: str | None = None
    ended_by: str | None = None
    mode_change_count: int = 0
    last_mode_change: datetime | None = None
    sfu_room_id: str | None = None
    settings: Any = None  # an object
    stored: bool = True
    participants: list[Participant] = []
    live: LiveState | None = None


class CallPage(Shape, frozen=True, kw_only=True):
    calls: list[Call]
    next_cursor: str | None  # null on the last page


class ParticipantPage(Shape, frozen=True, kw_only=True):
    participants: list[Participant]
    next_cursor: str | None


class ParticipantFound(Participant, frozen=True, kw_only=True):
    call_session_id: str


class JoinInfo(Shape, frozen=True, kw_only=True):
    """How people get into the call, with a token that opens the room."""

    link: str  # of the page; the token goes behind it as `#token=…`
    web_socket: str
    room_id: str


class CallOpened(Shape, frozen=True, kw_only=True):
    call: Call
    join: JoinInfo


class CallEnded(Shape, frozen=True, kw_only=True):
    """`ended` is false if the call was over before; the rest tells how it ended either way."""

    id: str
    ended: bool
    status: CallStatusName
    end_reason: str | None


class TokenMade(Shape, frozen=True, kw_only=True):
    token: str
    link: str
    expires_at: datetime


class Transition(Shape, frozen=True, kw_only=True):
    """One change of mode; what is null was not noted."""

    from_mode: str | None = msgspec.field(name="from")
    to_mode: str | None = msgspec.field(name="to")
    timestamp: str | None
    duration: float | None  # seconds from the decision to the commit
    reason: str | None
    epoch: int | None
    max_video_gap_ms: float | None
    max_audio_gap_ms: float | None


class Transitions(Shape, frozen=True, kw_only=True):
    transitions: list[Transition]


class Metrics(Shape, frozen=True, kw_only=True):
    """A call's quality, over all participants and its whole length."""

    avg_packet_loss: float | None  # 0 to 1
    avg_jitter: float | None  # ms
    avg_rtt: float | None  # ms
    avg_bitrate: float | None  # kbit/s
    peak_participants: int | None
    total_participants: int | None
    reconnections: int
    ice_failures: int
    transport_errors: int
    total_data_sent: int | None  # bytes
    total_data_received: int | None
    server_metrics: Any = None  # an object: what the media server itself measured
    updated_at: datetime


class Analytics(Shape, frozen=True, kw_only=True):
    """A call that is over, in summary."""

    outcome: str  # completed, unanswered, rejected, alone, failed
    answer_seconds: float | None
    total_participants: int
    peak_participants: int
    joins: int
    reconnections: int
    participant_seconds: float
    p2p_seconds: float
    sfu_seconds: float
    mode_changes: int
    avg_switch_seconds: float | None
    max_video_gap_ms: float | None
    max_audio_gap_ms: float | None
    quality_score: float | None  # 1 (bad) to 4.5 (excellent)
    updated_at: datetime


class Recording(Shape, frozen=True, kw_only=True):
    """A recording's metadata; the file is where `fileKey` says, in the words of the store that keeps it."""

    id: str
    call_session_id: str
    status: Literal["starting", "recording", "processing", "ready", "failed", "deleted"]
    format: str | None
    file_key: str | None
    file_size: int | None  # bytes
    duration: int | None  # whole seconds
    started_by: str | None
    stopped_by: str | None
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None
    metadata: Any = None
    created_at: datetime
    updated_at: datetime


class RecordingPage(Shape, frozen=True, kw_only=True):
    recordings: list[Recording]
    next_cursor: str | None


class Transcription(Shape, frozen=True, kw_only=True):
    """A segment of what was said."""

    id: str
    participant_id: str
    name: str | None
    text: str
    language: str | None
    started_at: datetime
    ended_at: datetime
    confidence: float | None  # 0 to 1
    is_final: bool
    source: str
    segment_id: str | None


class TranscriptionPage(Shape, frozen=True, kw_only=True):
    transcriptions: list[Transcription]
    next_cursor: str | None


class TransitionStatistics(Shape, frozen=True, kw_only=True):
    """Changes of mode, of the calls that were made in a period and changed it."""

    total_calls: int
    total_transitions: int
    avg_transitions_per_call: float
    avg_transition_duration: float  # seconds
    transitions_by_reason: dict[str, int]


class CallStatistics(Shape, frozen=True, kw_only=True):
    """What the calls that were made in a period and are over add up to."""

    calls: int
    outcomes: dict[str, int]
    participants: int
    joins: int
    reconnections: int
    peak_participants: int
    participant_seconds: float
    call_seconds: float
    p2p_seconds: float
    sfu_seconds: float
    mode_changes: int
    avg_call_seconds: float | None
    avg_answer_seconds: float | None
    avg_switch_seconds: float | None
    avg_quality_score: float | None
    max_video_gap_ms: float | None
    max_audio_gap_ms: float | None


class PersonHeld(Shape, frozen=True, kw_only=True):
    """All that is held on a user: rows under the tables' names, as `tandem db export-user` prints them."""

    held: dict[str, Any]


class PersonErased(Shape, frozen=True, kw_only=True):
    """What was taken from the rows; `kept`: the row in `users` is another application's to erase."""

    participations: int
    calls_initiated: int
    calls_ended: int
    changes_set_aside: int
    person_row: Literal["erased", "kept", "absent"]
