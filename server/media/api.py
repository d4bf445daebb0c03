"""The border between rooms and media: what a room may ask of the media core, and what it hears back.

`server.media.bridge` implements it over `rtp_core`; `tests/harness` has a fake. Everything here is called
on the Trio thread and returns at once: commands are queued to the engine's thread. All ids are CUIDs.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from server.rtc.parameters import (
    Direction,
    DtlsParameters,
    Fingerprint,
    IceParameters,
    MediaKind,
    RtpCapabilities,
    RtpParameters,
    Source,
)

TransportState = Literal["new", "connecting", "connected", "disconnected", "failed", "closed"]


class StreamStats(msgspec.Struct):
    """Counters of one producer or consumer since its creation."""

    packets: int = 0
    bytes: int = 0
    packets_lost: int = 0
    jitter_ms: float = 0.0
    rtt_ms: float | None = None
    nacks: int = 0
    plis: int = 0
    retransmitted: int = 0
    dropped: int = 0
    key_frames: int = 0
    bitrate_bps: int = 0  # over the last second or so


class TransportStats(msgspec.Struct):
    packets_sent: int = 0
    packets_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    srtp_errors: int = 0  # packets that failed authentication or were replayed
    dropped: int = 0
    rtt_ms: float | None = None


class Producer(Protocol):
    id: str
    kind: MediaKind
    source: Source
    mid: str
    paused: bool
    closed: bool

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...
    def request_keyframe(self) -> None: ...
    def stats(self) -> StreamStats: ...


class Consumer(Protocol):
    id: str
    producer: Producer
    mid: str
    ssrc: int
    rtx_ssrc: int | None  # None for audio
    paused: bool
    closed: bool

    def pause(self) -> None: ...
    def resume(self) -> None: ...  # video starts at the next key frame, which is asked for at once
    def close(self) -> None: ...
    def stats(self) -> StreamStats: ...


class WebRtcTransport(Protocol):
    id: str
    direction: Direction
    state: TransportState
    ice: IceParameters
    fingerprint: Fingerprint  # the server's certificate, sha-256
    closed: bool

    @property
    def protocol(self) -> Literal["udp", "tcp"] | None: ...  # of the selected path
    def connect(self, remote: DtlsParameters) -> None:
        """Start DTLS with these fingerprints and role. Again with the same: nothing; others: ValueError."""

    def restart_ice(self) -> IceParameters: ...
    def produce(self, *, kind: MediaKind, source: Source, rtp: RtpParameters) -> Producer:
        """Accept media that arrives with `rtp.mid` (or the SSRCs that `rtp.encodings` names)."""

    def consume(
        self, producer: Producer, *, mid: str, paused: bool = True, cname: str | None = None
    ) -> Consumer:
        """Send `producer`'s media out of this transport, in the router's payload types and extension ids.

        `cname` is what the sender reports' SDES names (RFC 3550 section 6.5.1) and must be the SDP's; without
        it, the sender's own.
        """

    def stats(self) -> TransportStats: ...
    def close(self) -> None: ...  # closes its producers and consumers too


class Router(Protocol):
    id: str
    rtp_capabilities: RtpCapabilities
    closed: bool
    udp_port: int  # where its senders' media goes; a large room's receivers may have others too
    tcp_port: int | None

    def create_transport(self, direction: Direction) -> WebRtcTransport: ...
    def close(self) -> None: ...  # closes its transports too


class RouterListener(Protocol):
    """Called on the Trio thread; must not block (a room's actor puts these into its inbox)."""

    def on_transport_state(self, transport: WebRtcTransport, state: TransportState) -> None: ...
    def on_producer_started(self, producer: Producer) -> None: ...  # first RTP packet
    def on_consumer_started(self, consumer: Consumer) -> None: ...  # first packet out after a resume
    def on_audio_levels(self, levels: list[tuple[Producer, float]]) -> None: ...  # dBov, -127..0, each 200 ms
    def on_active_speaker(self, producer: Producer | None) -> None: ...


class MediaServer(Protocol):
    udp_port: int
    tcp_port: int | None

    def create_router(self, listener: RouterListener) -> Router: ...
    def stats(self) -> dict[str, Any]: ...  # the engine's own counters
