"""The objects of WebRTC negotiation, in mediasoup's ORTC model. Plain data: no IO, no behaviour.

Shared by `rtc` (which derives them from SDP), `media` (which programs the core with them) and `rooms`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec

from server.rtc.by_id import ById

MediaKind = Literal["audio", "video"]
Source = Literal["microphone", "camera", "screen"]
Direction = Literal["send", "recv"]  # as the client sees it: "send" carries client -> server media
DtlsRole = Literal["auto", "client", "server"]


class Struct(msgspec.Struct, frozen=True, rename="camel", omit_defaults=False):
    pass


class RtcpFeedback(Struct, frozen=True):
    type: str  # "nack", "ccm", "goog-remb", "transport-cc"
    parameter: str = ""  # "", "pli", "fir"


class RtpCodec(Struct, frozen=True):
    """One codec; `payload_type` is the sender's own in RtpParameters, the router's in RtpCapabilities."""

    mime_type: str  # "audio/opus", "video/VP8", "video/rtx", ...
    payload_type: int
    clock_rate: int  # Hz
    channels: int | None = None
    parameters: dict[str, str | int] = {}  # fmtp; for rtx: {"apt": N}
    rtcp_feedback: list[RtcpFeedback] = []

    @property
    def is_rtx(self) -> bool:
        return self.mime_type.lower().endswith("/rtx")


class HeaderExtension(Struct, frozen=True):
    uri: str
    id: int


class RtpEncoding(Struct, frozen=True):
    ssrc: int | None = None  # None: learnt from the MID header extension
    rtx_ssrc: int | None = None
    rid: str | None = None


class RtpParameters(Struct, frozen=True):
    """What one sender sends: mediasoup's RtpSendParameters."""

    mid: str
    codecs: list[RtpCodec]
    header_extensions: list[HeaderExtension]
    encodings: list[RtpEncoding]
    cname: str = ""


class RtpCapabilities(Struct, frozen=True):
    codecs: list[RtpCodec]
    header_extensions: list[HeaderExtension]

    def to_json(self) -> dict[str, Any]:
        """What `call_sessions."sfuRtpCapabilities"` holds. Shared by all rooms (14 kB): not to be changed."""
        return _capabilities_json(ById(self))


@lru_cache(maxsize=8)
def _capabilities_json(capabilities: ById[RtpCapabilities]) -> dict[str, Any]:
    builtins: dict[str, Any] = msgspec.to_builtins(capabilities.value)
    return builtins


class IceCandidate(Struct, frozen=True):
    foundation: str
    priority: int
    address: str
    port: int
    protocol: Literal["udp", "tcp"]
    type: Literal["host"] = "host"
    tcp_type: Literal["passive"] | None = None


class IceParameters(Struct, frozen=True):
    username_fragment: str
    password: str
    candidates: list[IceCandidate]
    ice_lite: bool = True


class Fingerprint(Struct, frozen=True):
    algorithm: str  # "sha-256", "sha-384", "sha-512"
    value: str  # upper-case hex pairs joined by ":"


class DtlsParameters(Struct, frozen=True):
    fingerprints: list[Fingerprint]
    role: DtlsRole = "auto"  # the role of whoever these parameters describe
