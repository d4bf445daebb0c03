"""The wire protocol as types: every method, result and notification of the JSON-RPC 2.0 dialect.

`docs/protocol.md` explains them with examples. Field names are camelCase on the wire. Unknown fields are
ignored, so that a newer client can talk to an older server. Times are Unix milliseconds unless said;
durations carry their unit in the name. Limits on lengths are part of the types.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Mode = Literal["p2p", "sfu"]
CallTypeName = Literal["VIDEO", "AUDIO"]
CallStatusName = Literal["INITIATED", "ACTIVE", "ENDED", "MISSED", "REJECTED"]
ParticipantStatusName = Literal["connecting", "connected", "reconnecting"]
SourceName = Literal["microphone", "camera", "screen"]
SwitchReason = Literal[
    "participant_joined", "participant_left", "p2p_failed", "poor_quality", "requested", "feature"
]

Id = Annotated[str, Meta(min_length=1, max_length=64)]
RoomId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._~-]+\Z")]
Name = Annotated[str, Meta(max_length=64)]
Sdp = Annotated[str, Meta(max_length=256_000)]  # a receive connection with 50 others has some 170 kB
Token = Annotated[str, Meta(max_length=4096)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Language = Annotated[  # BCP 47, RFC 5646
    str, Meta(max_length=35, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*\Z")
]


class Wire(msgspec.Struct, rename="camel", frozen=True):
    pass


class Empty(Wire, frozen=True):
    pass


# ---- shared objects ---------------------------------------------------------------------------------------


class ParticipantInfo(Wire, frozen=True):
    participant_id: str
    name: str
    role: str  # "host", "participant"
    status: ParticipantStatusName
    audio_enabled: bool
    video_enabled: bool
    screen_share_enabled: bool
    joined_at: int
    user_id: str | None = None  # None for a guest


class ConsumerInfo(Wire, frozen=True):
    """One m-line of the client's receive connection that carries somebody's media."""

    mid: str
    consumer_id: str
    producer_id: str
    participant_id: str
    kind: Literal["audio", "video"]
    source: SourceName


class IceServer(Wire, frozen=True):
    urls: list[str]
    username: str | None = None
    credential: str | None = None


class MediaPath(Wire, frozen=True):
    """Where media goes, so that a client can name the port that is blocked."""

    addresses: list[str]
    udp_port: int
    tcp_port: int | None


class EpochPrepare(Wire, frozen=True):
    """`epoch.prepare`: begin to send on the new path while the old one goes on."""

    epoch: int
    from_mode: Mode | None = msgspec.field(name="from")  # None: the call's first path
    to_mode: Mode = msgspec.field(name="to")
    reason: SwitchReason
    participants: list[str]
    timeout_ms: int
    offerer: str | None = None  # to p2p: the participant who makes the P2P offer


class Pair(Wire, frozen=True):
    receiver: str
    sender: str


class EpochCommit(Wire, frozen=True):
    """`epoch.commit`: the call is in the new mode. Pairs that have not swapped go on where they work."""

    epoch: int
    mode: Mode
    duration_ms: int
    stragglers: list[Pair]
    linger_ms: int  # the old path stays up idle for this long, then `epoch.release`


class EpochEnd(Wire, frozen=True):
    """`epoch.release` (the old path may be closed) and `epoch.abort` (the new path is given up)."""

    epoch: int
    mode: Mode  # the mode that is in force
    reason: str


class SfuOffer(Wire, frozen=True):
    """`sfu.offer`: the whole receive connection as it should be; the newest offer replaces older ones."""

    offer_id: int
    transport_id: str
    sdp: str
    consumers: list[ConsumerInfo]


class CallState(Wire, frozen=True):
    """A snapshot of the call, enough to build everything from."""

    call_id: str
    room_id: str
    call_type: CallTypeName
    status: CallStatusName
    mode: Mode
    epoch: int  # the newest epoch that was committed; 0 before the first
    participant_id: str  # yours
    participants: list[ParticipantInfo]  # with yours
    media: MediaPath
    policy: Literal["auto", "p2p", "sfu"]
    captions: Literal["off", "relay", "store"] = "off"  # store: what is said is kept
    started_at: int | None = None
    pending_epoch: EpochPrepare | None = None
    pending_offer: SfuOffer | None = None


# ---- requests: parameters and results ---------------------------------------------------------------------


class Resume(Wire, frozen=True):
    session_id: Id
    resume_token: Token
    last_seq: Count  # the newest notification that the client has handled


class Hello(Wire, frozen=True):
    token: Token | None = None  # a JWT; may be left out with --dev
    name: Name | None = None
    client: Annotated[str, Meta(max_length=128)] = ""  # software and version
    device: dict[str, Any] | None = None  # deviceInfo; at most 4 KiB as JSON
    resume: Resume | None = None
    features: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=32)] = []  # it understands


class HelloResult(Wire, frozen=True):
    session_id: str
    resume_token: str
    resumed: bool
    resync: bool  # resumed, but notifications were lost: rebuild from `call`
    guest: bool
    name: str
    user_id: str | None
    grants: list[str]
    ice_servers: list[IceServer]
    resume_grace_ms: int
    server_version: str
    server_instance: str
    server_time: int
    call: CallState | None = None


class CallStart(Wire, frozen=True):
    room_id: RoomId
    call_type: CallTypeName = "VIDEO"
    invite: Annotated[list[Id], Meta(max_length=64)] = []  # user ids to ring
    audio_enabled: bool = True
    video_enabled: bool = True
    settings: dict[str, Any] | None = None
    sdp: Sdp | None = None  # the offer of the send connection, as in sfu.publish: it saves a round trip


class CallJoin(Wire, frozen=True):
    """Joins the room's call, or makes one (ACTIVE at once) where there is none."""

    room_id: RoomId
    call_type: CallTypeName = "VIDEO"
    audio_enabled: bool = True
    video_enabled: bool = True
    sdp: Sdp | None = None


class CallAnswer(Wire, frozen=True):
    call_id: Id
    audio_enabled: bool = True
    video_enabled: bool = True
    sdp: Sdp | None = None


class CallRef(Wire, frozen=True):
    call_id: Id


class SfuPublishResult(Wire, frozen=True):
    transport_id: str
    sdp: str


class CallResult(Wire, frozen=True):
    call: CallState
    published: SfuPublishResult | None = None  # to `sdp`; None if refused: sfu.publish says why


class ParticipantUpdate(Wire, frozen=True):
    audio_enabled: bool | None = None
    video_enabled: bool | None = None
    screen_share_enabled: bool | None = None
    name: Name | None = None
    device: dict[str, Any] | None = None


class Description(Wire, frozen=True):
    type: Literal["offer", "answer"]
    sdp: Sdp


class P2pSignal(Wire, frozen=True):
    """Relayed untouched to `to`, who gets it with `from` instead. Exactly one of description, candidate."""

    to: Id
    epoch: Count
    description: Description | None = None
    candidate: dict[str, Any] | None = None  # an RTCIceCandidateInit; at most 2 KiB


class P2pFailed(Wire, frozen=True):
    participant_id: Id
    epoch: Count
    detail: Annotated[str, Meta(max_length=256)] = ""


class SfuPublish(Wire, frozen=True):
    """The offer of the client's send connection; again with a new ICE ufrag to restart ICE."""

    sdp: Sdp


class SfuAnswer(Wire, frozen=True):
    offer_id: Count
    sdp: Sdp


class SfuRestart(Wire, frozen=True):
    """Asks for a new offer of the receive connection with fresh ICE credentials."""


class SfuKeyframe(Wire, frozen=True):
    consumer_id: Id


class EpochSwapped(Wire, frozen=True):
    """This client now plays `participant_id` from the path of `epoch`."""

    epoch: Count
    participant_id: Id


class EpochMeasured(Wire, frozen=True):
    """What that swap cost, measured from prepare until a while after the swap."""

    epoch: Count
    participant_id: Id
    max_video_gap_ms: Annotated[float, Meta(ge=0, le=600_000)] | None = None
    max_audio_gap_ms: Annotated[float, Meta(ge=0, le=600_000)] | None = None


class ModeRequest(Wire, frozen=True):
    mode: Mode


class ChatSend(Wire, frozen=True):
    text: Annotated[str, Meta(min_length=1, max_length=4000)]


class CaptionSend(Wire, frozen=True):
    """What this client's speaker is saying. Sent again under the same `segment_id` it replaces what was sent
    before, until it is final. Times are the server's clock as well as the client knows it (`serverTime`)."""

    segment_id: Id
    text: Annotated[str, Meta(min_length=1, max_length=1000)]
    is_final: bool = False
    language: Language | None = None
    started_at: Count | None = None  # default: when the segment was first heard of
    ended_at: Count | None = None  # default: now
    confidence: Annotated[float, Meta(ge=0, le=1)] | None = None


class ClientStats(Wire, frozen=True):
    """Periodic quality report, stored as the participant's qualityMetrics. All are this client's own view."""

    packet_loss: Annotated[float, Meta(ge=0, le=1)] | None = None
    jitter_ms: Annotated[float, Meta(ge=0, le=60_000)] | None = None
    rtt_ms: Annotated[float, Meta(ge=0, le=60_000)] | None = None
    bitrate_kbps: Annotated[float, Meta(ge=0, le=10_000_000)] | None = None
    bytes_sent: Count | None = None  # since this client joined the call, over all paths
    bytes_received: Count | None = None
    freezes: Count | None = None
    ice_failures: Count | None = None
    path: Literal["p2p", "sfu-udp", "sfu-tcp", "none"] | None = None


class StateQuery(Wire, frozen=True):
    pass


METHODS: dict[str, tuple[type[Wire], type[Wire]]] = {
    "hello": (Hello, HelloResult),
    "call.start": (CallStart, CallResult),
    "call.join": (CallJoin, CallResult),
    "call.answer": (CallAnswer, CallResult),
    "call.reject": (CallRef, Empty),
    "call.leave": (Empty, Empty),
    "call.end": (Empty, Empty),
    "call.state": (StateQuery, CallResult),
    "participant.update": (ParticipantUpdate, Empty),
    "p2p.signal": (P2pSignal, Empty),
    "p2p.failed": (P2pFailed, Empty),
    "sfu.publish": (SfuPublish, SfuPublishResult),
    "sfu.answer": (SfuAnswer, Empty),
    "sfu.restart": (SfuRestart, Empty),
    "sfu.keyframe": (SfuKeyframe, Empty),
    "epoch.swapped": (EpochSwapped, Empty),
    "epoch.measured": (EpochMeasured, Empty),
    "mode.request": (ModeRequest, Empty),
    "chat.send": (ChatSend, Empty),
    "caption.send": (CaptionSend, Empty),
    "stats": (ClientStats, Empty),
}


# ---- notifications, server to client: params also carry `seq`, counted up by one per session ---------------


class Incoming(Wire, frozen=True):
    call_id: str
    room_id: str
    call_type: CallTypeName
    from_name: str
    from_user_id: str | None
    expires_at: int


class Cancelled(Wire, frozen=True):
    """A ringing call ended before this client answered."""

    call_id: str
    reason: str  # "answered_elsewhere", "cancelled", "missed"


class ParticipantEvent(Wire, frozen=True):
    participant: ParticipantInfo


class ParticipantGone(Wire, frozen=True):
    participant_id: str
    reason: str  # "left", "timeout", "replaced", "removed"


class ParticipantsChanged(Wire, frozen=True):
    """What happened in a large call since the last of these. Who is in `left` and `joined` has come back."""

    joined: list[ParticipantInfo]
    updated: list[ParticipantInfo]
    left: list[ParticipantGone]


class CallUpdated(Wire, frozen=True):
    call_id: str
    status: CallStatusName
    mode: Mode
    started_at: int | None


class CallOver(Wire, frozen=True):
    call_id: str
    reason: str
    status: CallStatusName


class P2pSignalled(Wire, frozen=True):
    from_participant: str = msgspec.field(name="from")
    epoch: int = 0
    description: Description | None = None
    candidate: dict[str, Any] | None = None


class TransportChanged(Wire, frozen=True):
    """The server's view of one of this client's two connections to the SFU."""

    direction: Literal["send", "recv"]
    state: Literal["new", "connecting", "connected", "disconnected", "failed", "closed"]
    protocol: Literal["udp", "tcp"] | None = None


class SwitchRecorded(Wire, frozen=True):
    """A switch as it is stored, sent again when a larger gap was measured."""

    epoch: int
    from_mode: Mode = msgspec.field(name="from")
    to_mode: Mode = msgspec.field(name="to")
    reason: SwitchReason
    duration_ms: int
    max_video_gap_ms: float | None
    max_audio_gap_ms: float | None


class ActiveSpeaker(Wire, frozen=True):
    participant_id: str | None


class AudioLevels(Wire, frozen=True):
    levels: dict[str, float]  # participant id -> dBov, -127..0; only those above silence


class ChatMessage(Wire, frozen=True):
    participant_id: str
    name: str
    text: str
    at: int


class Caption(Wire, frozen=True):
    """What a participant is saying; it replaces an earlier one of the same segment."""

    participant_id: str
    segment_id: str
    text: str
    is_final: bool
    started_at: int
    ended_at: int
    language: str | None
    confidence: float | None


class Draining(Wire, frozen=True):
    """The server is about to stop: reconnect after this long, with the same session."""

    reconnect_after_ms: int


class Replaced(Wire, frozen=True):
    """The same user joined this call elsewhere; this session has left it."""

    call_id: str


NOTIFICATIONS: dict[str, type[Wire]] = {
    "call.incoming": Incoming,
    "call.cancelled": Cancelled,
    "call.updated": CallUpdated,
    "call.ended": CallOver,
    "call.replaced": Replaced,
    "participant.joined": ParticipantEvent,
    "participant.updated": ParticipantEvent,
    "participant.left": ParticipantGone,
    "participants.changed": ParticipantsChanged,
    "p2p.signal": P2pSignalled,
    "sfu.offer": SfuOffer,
    "sfu.transport": TransportChanged,
    "epoch.prepare": EpochPrepare,
    "epoch.commit": EpochCommit,
    "epoch.release": EpochEnd,
    "epoch.abort": EpochEnd,
    "switch.recorded": SwitchRecorded,
    "speaker": ActiveSpeaker,
    "audio.levels": AudioLevels,
    "chat.message": ChatMessage,
    "call.caption": Caption,
    "server.draining": Draining,
}
