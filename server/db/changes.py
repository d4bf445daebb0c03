"""What a call writes: one small record per fact, in the order the facts happened.

Rooms submit changes and never wait; `server.db.recorder` writes each exactly once, in order, each in one
transaction, whenever PostgreSQL is there. The records are plain data so that the spool can keep them on disk.
Times are Unix seconds (float, UTC). Modes are `p2p` and `sfu`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Mode = Literal["p2p", "sfu"]
CallType = Literal["VIDEO", "AUDIO"]
CallStatus = Literal["INITIATED", "ACTIVE", "ENDED", "MISSED", "REJECTED"]
ParticipantStatus = Literal["connecting", "connected", "reconnecting", "left"]


class Change(msgspec.Struct, frozen=True, tag_field="change", kw_only=True):
    at: float


class SfuIds(msgspec.Struct, frozen=True, kw_only=True):
    participant_id: str
    send_transport_id: str | None
    recv_transport_id: str | None
    audio_producer_id: str | None = None
    video_producer_id: str | None = None
    screen_producer_id: str | None = None


class UserSeen(Change, tag="user_seen", frozen=True, kw_only=True):
    """Upserts the `users` row of a token's subject, so that rows can refer to it."""

    user_id: str
    name: str
    avatar: str | None = None


class CallCreated(Change, tag="call_created", frozen=True, kw_only=True):
    """Creates the call, and its `chat_rooms` row where that is missing."""

    call_id: str
    room_id: str
    call_type: CallType
    status: CallStatus  # INITIATED when ringing, ACTIVE for a room joined by link
    mode: Mode
    initiator_id: str | None  # a user's id; None for a guest
    settings: dict[str, Any] | None = None
    sfu_room_id: str | None = None  # with mode "sfu" only
    sfu_rtp_capabilities: dict[str, Any] | None = None


class CallStarted(Change, tag="call_started", frozen=True, kw_only=True):
    """The second participant is here, or the first of a link room: status ACTIVE, startedAt = at."""

    call_id: str


class ParticipantJoined(Change, tag="participant_joined", frozen=True, kw_only=True):
    """A new row, or the same user's row of this call again (leftAt cleared)."""

    participant_id: str
    call_id: str
    user_id: str | None
    anonymous_id: str | None  # a guest's id; its row in anonymous_participants is made here
    name: str
    role: str
    audio_enabled: bool
    video_enabled: bool
    device_info: dict[str, Any] | None = None


class ParticipantStatusChanged(Change, tag="participant_status", frozen=True, kw_only=True):
    participant_id: str
    status: ParticipantStatus


class ParticipantMedia(Change, tag="participant_media", frozen=True, kw_only=True):
    """None leaves a field as it is. wasMuted and hadVideo follow from these: once true they stay true."""

    participant_id: str
    audio_enabled: bool | None = None
    video_enabled: bool | None = None
    screen_share_enabled: bool | None = None
    device_info: dict[str, Any] | None = None


class ParticipantQuality(Change, tag="participant_quality", frozen=True, kw_only=True):
    participant_id: str
    metrics: dict[str, Any]


class ParticipantSfu(Change, tag="participant_sfu", frozen=True, kw_only=True):
    """SFU ids of one participant of a call that is in SFU mode."""

    call_id: str
    ids: SfuIds


class ParticipantLeft(Change, tag="participant_left", frozen=True, kw_only=True):
    participant_id: str
    reason: str


class SwitchedToSfu(Change, tag="switched_to_sfu", frozen=True, kw_only=True):
    """One transaction: mode, SFU columns, modeChangeCount, lastModeChange, participants, modeTransitions."""

    call_id: str
    epoch: int
    reason: str
    duration: float  # seconds from the decision to the commit
    sfu_room_id: str
    sfu_rtp_capabilities: dict[str, Any]
    participants: list[SfuIds]


class SwitchedToP2p(Change, tag="switched_to_p2p", frozen=True, kw_only=True):
    call_id: str
    epoch: int
    reason: str
    duration: float


class TransitionGaps(Change, tag="transition_gaps", frozen=True, kw_only=True):
    """The largest gaps that clients measured at that switch, so far (the database keeps the maximum)."""

    call_id: str
    epoch: int
    max_video_gap_ms: float | None
    max_audio_gap_ms: float | None


class CallMetricsUpdate(Change, tag="call_metrics", frozen=True, kw_only=True):
    call_id: str
    avg_packet_loss: float | None = None  # 0..1
    avg_jitter: float | None = None  # ms
    avg_rtt: float | None = None  # ms
    avg_bitrate: float | None = None  # kbps
    peak_participants: int | None = None
    total_participants: int | None = None
    reconnections: int = 0
    ice_failures: int = 0
    transport_errors: int = 0
    total_data_sent: int | None = None  # bytes, as the participants sent
    total_data_received: int | None = None
    reports: dict[str, int] | None = None  # of clients, that each of the averages is over
    media: dict[str, Any] | None = None  # what the media server itself counted (`server.rooms.tally`)


class CaptionSaid(Change, tag="caption_said", frozen=True, kw_only=True):
    """A final caption of a call that keeps them: a row of call_transcriptions."""

    transcription_id: str
    call_id: str
    participant_id: str
    text: str
    language: str | None
    started_at: float
    ended_at: float
    confidence: float | None
    segment_id: str


class ParticipantRenamed(Change, tag="participant_renamed", frozen=True, kw_only=True):
    """Another display name. A guest's own row gets it too; a user's name is the application's word."""

    participant_id: str
    name: str


class CallEnded(Change, tag="call_ended", frozen=True, kw_only=True):
    """Terminal: endedAt, duration (whole seconds, None if it never started), reason; all have left."""

    call_id: str
    status: Literal["ENDED", "MISSED", "REJECTED"]
    reason: str
    ended_by: str | None


AnyChange = (
    UserSeen
    | CallCreated
    | CallStarted
    | ParticipantJoined
    | ParticipantStatusChanged
    | ParticipantMedia
    | ParticipantQuality
    | ParticipantSfu
    | ParticipantLeft
    | SwitchedToSfu
    | SwitchedToP2p
    | TransitionGaps
    | CallMetricsUpdate
    | CaptionSaid
    | ParticipantRenamed
    | CallEnded
)
