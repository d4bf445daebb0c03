"""Between an m-line and RTP parameters, in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from server.errors import ClientError
from server.rtc.by_id import ById
from server.rtc.capabilities import TRANSPORT_CC_URI, extensions_of, match, router_codec
from server.rtc.certificate import HASHES
from server.rtc.description import (
    Candidate,
    CodecDescription,
    ExtMap,
    Feedback,
    MediaSection,
    RtpMap,
    SdpFingerprint,
)
from server.rtc.parameters import (
    Fingerprint,
    HeaderExtension,
    IceParameters,
    MediaKind,
    RtcpFeedback,
    RtpCapabilities,
    RtpCodec,
    RtpEncoding,
)

MAX_FINGERPRINTS: Final = 8
_REMEMBERED: Final = 256

_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")


class NegotiationError(ClientError):
    """A well-formed description that asks for what cannot be."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_sdp", message, field="sdp")


# ---- from SDP ----------------------------------------------------------------------------------------------


def offered_codecs(section: MediaSection) -> list[RtpCodec]:
    """The section's codecs in its order of preference. Payload types without an rtpmap are left out."""
    said = section.codecs()
    return _offered(said) if said.usual else _offered.__wrapped__(said)


def common_codecs(section: MediaSection, caps: RtpCapabilities) -> list[RtpCodec]:
    """Offered codecs that the router knows, with their RTX, in the client's order, numbers and parameters.

    Feedback is what both sides have. Where transport-wide feedback can work, REMB is left out: two
    bandwidth estimators would disagree.
    """
    said = section.codecs()
    transport_cc = any(item.uri == TRANSPORT_CC_URI for item in section.extensions)
    find = _common if said.usual else _common.__wrapped__
    return find(said, transport_cc, ById(caps))


def accepted_payload_types(section: MediaSection, caps: RtpCapabilities) -> set[int]:
    """The router's payload types that the client accepted under their own numbers, RTX included."""
    if section.direction not in ("recvonly", "sendrecv"):
        return set()
    said = section.codecs()
    find = _accepted if said.usual else _accepted.__wrapped__
    return set(find(said, ById(caps)))


# Clients of one kind say the same of codecs in every m-line: what follows from it is worked out once. The
# lists are shared, so nobody may change them.


@lru_cache(maxsize=_REMEMBERED)
def _offered(said: CodecDescription) -> list[RtpCodec]:
    maps = {item.payload_type: item for item in said.rtpmaps}
    fmtps = {number: _typed(parameters) for number, parameters in said.fmtps}
    codecs: list[RtpCodec] = []
    for text in dict.fromkeys(said.formats):
        item = maps.get(int(text)) if text.isascii() and text.isdigit() and len(text) <= 3 else None
        if item is None:
            continue
        codecs.append(
            RtpCodec(
                mime_type=f"{said.kind}/{item.encoding}",
                payload_type=item.payload_type,
                clock_rate=item.clock_rate,
                channels=item.channels,
                parameters=fmtps.get(item.payload_type, {}),
                rtcp_feedback=[
                    RtcpFeedback(feedback.type, feedback.parameter)
                    for feedback in said.feedback
                    if feedback.payload_type in (None, item.payload_type)
                ],
            )
        )
    return codecs


@lru_cache(maxsize=_REMEMBERED)
def _common(said: CodecDescription, transport_cc: bool, router: ById[RtpCapabilities]) -> list[RtpCodec]:
    caps = router.value
    offered = _offered.__wrapped__(said)
    kept: dict[int, RtpCodec] = {}
    for codec in offered:
        target = router_codec(codec, caps)
        if target is None:
            continue
        both = [item for item in codec.rtcp_feedback if item in target.rtcp_feedback]
        unwanted = "transport-cc"
        if transport_cc and RtcpFeedback("transport-cc") in both:
            unwanted = "goog-remb"
        feedback = [item for item in dict.fromkeys(both) if item.type != unwanted]
        kept[codec.payload_type] = RtpCodec(
            codec.mime_type,
            codec.payload_type,
            codec.clock_rate,
            codec.channels,
            codec.parameters,
            feedback,
        )
    for codec in offered:
        if codec.is_rtx and codec.parameters.get("apt") in kept:
            kept[codec.payload_type] = RtpCodec(
                codec.mime_type, codec.payload_type, codec.clock_rate, None, codec.parameters
            )
    return [kept[codec.payload_type] for codec in offered if codec.payload_type in kept]


@lru_cache(maxsize=_REMEMBERED)
def _accepted(said: CodecDescription, router: ById[RtpCapabilities]) -> frozenset[int]:
    ours = {codec.payload_type: codec for codec in router.value.codecs}
    answered = {codec.payload_type: codec for codec in _offered.__wrapped__(said)}
    media = {
        number
        for number, codec in answered.items()
        if number in ours and (match(codec, ours[number]) or _same_rtx(codec, ours[number]))
    }
    # RTX without its codec is of no use.
    return frozenset(
        number for number in media if not ours[number].is_rtx or ours[number].parameters["apt"] in media
    )


def _same_rtx(a: RtpCodec, b: RtpCodec) -> bool:
    return a.is_rtx and b.is_rtx and a.parameters.get("apt") == b.parameters.get("apt")


def common_extensions(section: MediaSection, kind: MediaKind, caps: RtpCapabilities) -> list[HeaderExtension]:
    """Header extensions that the client may send and the router knows, under the client's ids."""
    known = {item.uri for item in extensions_of(kind, caps)}
    # Ids from 15 on need the two-byte form (RFC 8285, section 4.3).
    largest = 255 if section.extmap_allow_mixed else 14
    out: dict[int, HeaderExtension] = {}
    for item in section.extensions:
        if item.uri in known and item.id <= largest and item.direction in (None, "sendrecv", "sendonly"):
            known.discard(item.uri)
            out.setdefault(item.id, HeaderExtension(item.uri, item.id))
    return list(out.values())


def encoding(section: MediaSection) -> tuple[RtpEncoding, str]:
    """The first encoding and the CNAME; without SSRC lines the encoding is learnt from the MID extension."""
    primary = section.ssrcs[0].ssrc if section.ssrcs else None
    simulcast = next((group.ssrcs for group in section.ssrc_groups if group.semantics == "SIM"), [])
    if simulcast:
        primary = simulcast[0]
    fids = [group.ssrcs for group in section.ssrc_groups if group.semantics == "FID"]
    pairs = [(ssrcs[0], ssrcs[1]) for ssrcs in fids if len(ssrcs) == 2]
    if pairs and primary not in {ssrc for ssrc, _ in pairs}:
        primary = pairs[0][0]
    rtx = next((rtx for ssrc, rtx in pairs if ssrc == primary and rtx != ssrc), None)
    cname = next((item.value for item in section.ssrcs if item.name == "cname" and item.value), "")
    return RtpEncoding(ssrc=primary, rtx_ssrc=rtx), cname


def remote_fingerprints(sections: Iterable[MediaSection]) -> list[Fingerprint]:
    """The first section's that has some. NegotiationError if there is none of a hash that we can check."""
    found = next((section.fingerprints for section in sections if section.fingerprints), [])
    if len(found) > MAX_FINGERPRINTS:
        raise NegotiationError(f"there are more than {MAX_FINGERPRINTS} fingerprints")
    usable = [Fingerprint(item.algorithm, item.value) for item in found if item.algorithm in HASHES]
    if not usable:
        raise NegotiationError(f"no a=fingerprint of a hash that can be checked ({', '.join(HASHES)})")
    return usable


def _typed(parameters: tuple[tuple[str, str], ...]) -> dict[str, str | int]:
    return {
        key: int(value) if _INTEGER.fullmatch(value) and key != "profile-level-id" else value
        for key, value in parameters
    }


# ---- to SDP ------------------------------------------------------------------------------------------------


def media_section(
    kind: MediaKind, mid: str, codecs: list[RtpCodec], extensions: Iterable[HeaderExtension]
) -> MediaSection:
    """A section with its codecs and extensions, as yet without transport and direction."""
    said = _described(kind, ById(codecs))
    return MediaSection(
        kind,
        mid=mid,
        direction="inactive",
        rtcp_mux=True,
        rtcp_rsize=True,
        formats=list(said.formats),
        rtpmaps=list(said.rtpmaps),
        fmtps={number: dict(parameters) for number, parameters in said.fmtps},
        feedback=list(said.feedback),
        extensions=[ExtMap(item.id, item.uri) for item in extensions],
    )


@lru_cache(maxsize=_REMEMBERED)
def _described(kind: MediaKind, codecs: ById[list[RtpCodec]]) -> CodecDescription:
    formats: list[str] = []
    rtpmaps: list[RtpMap] = []
    fmtps: list[tuple[int, tuple[tuple[str, str], ...]]] = []
    feedback: list[Feedback] = []
    for codec in codecs.value:
        number = codec.payload_type
        formats.append(str(number))
        rtpmaps.append(RtpMap(number, codec.mime_type.partition("/")[2], codec.clock_rate, codec.channels))
        if codec.parameters:
            fmtps.append((number, tuple((key, str(value)) for key, value in codec.parameters.items())))
        feedback += [Feedback(number, item.type, item.parameter) for item in codec.rtcp_feedback]
    return CodecDescription(kind, tuple(formats), tuple(rtpmaps), tuple(fmtps), tuple(feedback))


def rejected_section(kind: str, protocol: str, formats: list[str], mid: str | None) -> MediaSection:
    """Port 0; at least one format has to be repeated (RFC 3264, section 6)."""
    return MediaSection(kind, 0, protocol, formats[:1], mid=mid, direction="inactive")


def put_transport(section: MediaSection, ice: IceParameters, fingerprint: Fingerprint) -> None:
    section.ice_ufrag = ice.username_fragment
    section.ice_pwd = ice.password
    section.fingerprints = [SdpFingerprint(fingerprint.algorithm, fingerprint.value)]


def put_candidates(section: MediaSection, ice: IceParameters) -> None:
    """Into the section that tags the bundle (RFC 9143, section 7.3). All are known: there is no trickle."""
    section.candidates = [
        Candidate(
            foundation=item.foundation,
            component=1,
            protocol=item.protocol,
            priority=item.priority,
            address=item.address,
            port=item.port,
            type=item.type,
            tcp_type=item.tcp_type,
        )
        for item in ice.candidates
    ]
    section.end_of_candidates = True


def source_text(ssrc: int, rtx_ssrc: int | None, cname: str) -> str:
    """RFC 5576: the CNAME of each, and the FID group that ties RTX to its stream (RFC 4588, section 8.4)."""
    media = f"a=ssrc:{ssrc} cname:{cname}\r\n"
    if rtx_ssrc is None:
        return media
    return f"a=ssrc-group:FID {ssrc} {rtx_ssrc}\r\n{media}a=ssrc:{rtx_ssrc} cname:{cname}\r\n"
