"""What an endpoint of the load sends and is sent, in the terms of the native thread that does it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from rtp_core.srtp import SrtpPair

Kind = Literal["audio", "video"]


class Media(NamedTuple):
    """How a stream looks on the wire. Bitrates are bit/s of payload, on average."""

    kind: Kind
    bitrate: int
    fps: float = 30.0
    key_every: int = 300  # frames
    key_factor: int = 5  # how much larger a key frame is
    payload: int = 1200  # bytes at most

    @property
    def packets_per_second(self) -> float:
        """Roughly: frames vary."""
        return self.fps * max(1.0, self.bitrate / 8 / self.fps / self.payload)


def video(bitrate: int) -> Media:
    """30 frames a second, each in one burst; 150 kbit/s to 4 Mbit/s is what cameras send."""
    return Media("video", bitrate)


def audio() -> Media:
    """Opus as browsers send it: 20 ms a packet, about 32 kbit/s."""
    return Media("audio", 32_000, fps=50.0)


class Sending(NamedTuple):
    media: Media
    ssrc: int
    rtx_ssrc: int  # 0: none
    payload_type: int
    rtx_payload_type: int
    mid: bytes  # one character
    tag: int  # its place among all sent streams of the load, from 0


class Receiving(NamedTuple):
    kind: Kind
    ssrc: int
    rtx_ssrc: int
    payload_type: int
    rtx_payload_type: int
    tag: int  # of the stream it should carry


class Place(NamedTuple):
    """One transport: a connected socket, its keys, and what goes over it."""

    fd: int
    pair: SrtpPair
    check: bytes  # the ICE check that is repeated for consent; empty: none
    mid_id: int  # header extensions
    twcc_id: int
    level_id: int
    sending: list[Sending]
    receiving: list[Receiving]
