"""The router's RTP capabilities, and how a sender's codecs and extensions map onto them (mediasoup's ORTC).

A sender keeps its own payload types and extension ids; the router has one stable set of its own, in which
every consumer gets the media. `payload_map` and `extension_map` lead from the one to the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from server.errors import ConfigError
from server.rtc.by_id import ById
from server.rtc.h264 import same_profile
from server.rtc.parameters import (
    HeaderExtension,
    MediaKind,
    RtcpFeedback,
    RtpCapabilities,
    RtpCodec,
    RtpParameters,
)

DEFAULT_CODECS: Final = ("opus", "VP8", "VP9", "H264", "AV1")

MID_URI: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"
TRANSPORT_CC_URI: Final = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"

_BOTH: Final = ("audio", "video")
_VIDEO: Final = ("video",)

# The ids are the router's own, below 15 so that the one-byte form of RFC 8285 can carry them.
_EXTENSIONS: Final[tuple[tuple[int, str, tuple[str, ...]], ...]] = (
    (1, MID_URI, _BOTH),
    (2, "urn:ietf:params:rtp-hdrext:ssrc-audio-level", ("audio",)),
    (3, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", _BOTH),
    (4, TRANSPORT_CC_URI, _BOTH),
    (5, "urn:3gpp:video-orientation", _VIDEO),
    (6, "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay", _VIDEO),
    (7, "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type", _VIDEO),
    (8, "http://www.webrtc.org/experiments/rtp-hdrext/video-timing", _VIDEO),
    (9, "http://www.webrtc.org/experiments/rtp-hdrext/color-space", _VIDEO),
    (10, "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension", _VIDEO),
    (11, "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time", _BOTH),
)
_EXTENSION_KINDS: Final = {uri: kinds for _, uri, kinds in _EXTENSIONS}

_AUDIO_FEEDBACK: Final = [RtcpFeedback("transport-cc")]
_VIDEO_FEEDBACK: Final = [
    RtcpFeedback("goog-remb"),
    RtcpFeedback("transport-cc"),
    RtcpFeedback("ccm", "fir"),
    RtcpFeedback("nack"),
    RtcpFeedback("nack", "pli"),
]


class _Variant(msgspec.Struct, frozen=True):
    """One payload type of a codec; video has its RTX at the next number."""

    payload_type: int
    parameters: dict[str, str | int] = {}


def _h264(payload_type: int, profile: str, mode: int) -> _Variant:
    parameters: dict[str, str | int] = {
        "level-asymmetry-allowed": 1,
        "packetization-mode": mode,
        "profile-level-id": profile,
    }
    return _Variant(payload_type, parameters)


# Payload types never change with the configuration: rows in the database and captures stay readable.
_CODECS: Final[dict[str, tuple[str, int, int | None, tuple[_Variant, ...]]]] = {
    "opus": ("audio/opus", 48000, 2, (_Variant(111, {"minptime": 10, "useinbandfec": 1}),)),
    "VP8": ("video/VP8", 90000, None, (_Variant(96),)),
    "VP9": ("video/VP9", 90000, None, (_Variant(98, {"profile-id": 0}), _Variant(100, {"profile-id": 2}))),
    "H264": (
        "video/H264",
        90000,
        None,
        (
            _h264(102, "42e01f", 1),
            _h264(104, "42001f", 1),
            _h264(106, "4d001f", 1),
            _h264(108, "64001f", 1),
            _h264(112, "42e01f", 0),
        ),
    ),
    "AV1": ("video/AV1", 90000, None, (_Variant(114, {"profile": 0}),)),
}


def router_capabilities(codecs: Sequence[str] = DEFAULT_CODECS) -> RtpCapabilities:
    """What a router of these codecs can forward, in this order. ConfigError for a name it does not know."""
    known = {name.lower(): name for name in _CODECS}
    out: list[RtpCodec] = []
    names = [known.get(name.lower()) for name in codecs]
    for given, name in zip(codecs, names, strict=True):
        if name is None:
            raise ConfigError(f"codecs: unknown codec {given!r}; allowed are {', '.join(_CODECS)}")
        if names.count(name) > 1:
            raise ConfigError(f"codecs: {given!r} stands there twice")
        mime_type, clock_rate, channels, variants = _CODECS[name]
        video = mime_type.startswith("video/")
        feedback = _VIDEO_FEEDBACK if video else _AUDIO_FEEDBACK
        for variant in variants:
            number = variant.payload_type
            out.append(
                RtpCodec(mime_type, number, clock_rate, channels, dict(variant.parameters), list(feedback))
            )
            if video:
                out.append(RtpCodec("video/rtx", number + 1, clock_rate, None, {"apt": number}))
    return RtpCapabilities(out, [HeaderExtension(uri, number) for number, uri, _ in _EXTENSIONS])


def codecs_of(kind: MediaKind, caps: RtpCapabilities) -> list[RtpCodec]:
    """Always the same list, which nobody may change."""
    return _codecs_of(kind, ById(caps))


def extensions_of(kind: MediaKind, caps: RtpCapabilities) -> list[HeaderExtension]:
    return [item for item in caps.header_extensions if kind in _EXTENSION_KINDS.get(item.uri, _BOTH)]


@lru_cache(maxsize=16)
def _codecs_of(kind: MediaKind, caps: ById[RtpCapabilities]) -> list[RtpCodec]:
    return [codec for codec in caps.value.codecs if codec.mime_type.startswith(kind + "/")]


def match(offered: RtpCodec, router: RtpCodec) -> bool:
    """Whether the two are one bitstream format, so that packets can go from one to the other unchanged.

    H264 by profile and packetization-mode (RFC 6184, section 8.2.2), VP9 by profile-id (RFC 9628, section
    6.1), AV1 by profile (AV1 RTP specification, section 7.2). RTX belongs to its codec and matches nothing.
    """
    mime_type = offered.mime_type.lower()
    if mime_type != router.mime_type.lower() or offered.is_rtx:
        return False
    if offered.clock_rate != router.clock_rate or (offered.channels or 1) != (router.channels or 1):
        return False
    match mime_type:
        case "video/h264":
            return _same(offered, router, "packetization-mode") and same_profile(
                str(offered.parameters.get("profile-level-id", "")),
                str(router.parameters.get("profile-level-id", "")),
            )
        case "video/vp9":
            return _same(offered, router, "profile-id")
        case "video/av1":
            return _same(offered, router, "profile")
    return True


def _same(a: RtpCodec, b: RtpCodec, parameter: str) -> bool:
    return str(a.parameters.get(parameter, 0)) == str(b.parameters.get(parameter, 0))


def router_codec(offered: RtpCodec, caps: RtpCapabilities) -> RtpCodec | None:
    return next((codec for codec in caps.codecs if match(offered, codec)), None)


def payload_map(rtp: RtpParameters, caps: RtpCapabilities) -> dict[int, int]:
    """Sender's payload type -> router's, RTX included; what the router does not know is left out."""
    mapping: dict[int, int] = {}
    for codec in rtp.codecs:
        target = None if codec.is_rtx else router_codec(codec, caps)
        if target is not None:
            mapping[codec.payload_type] = target.payload_type
    rtx_of = {codec.parameters.get("apt"): codec.payload_type for codec in caps.codecs if codec.is_rtx}
    for codec in rtp.codecs:
        if codec.is_rtx:
            apt = codec.parameters.get("apt")
            primary = mapping.get(apt) if isinstance(apt, int) else None
            if primary in rtx_of:
                mapping[codec.payload_type] = rtx_of[primary]
    return mapping


def extension_map(rtp: RtpParameters, caps: RtpCapabilities) -> dict[int, int]:
    """Sender's header extension id -> router's; what the router does not know is left out."""
    ids = {item.uri: item.id for item in caps.header_extensions}
    return {item.id: ids[item.uri] for item in rtp.header_extensions if item.uri in ids}


def can_consume(rtp: RtpParameters, caps: RtpCapabilities, accepted: Collection[int]) -> bool:
    """Whether a receiver that accepted these router payload types can play what `rtp` sends first.

    A sender uses its first codec unless it is made to change, so that one decides.
    """
    first = next((codec for codec in rtp.codecs if not codec.is_rtx), None)
    target = None if first is None else router_codec(first, caps)
    return target is not None and target.payload_type in accepted
