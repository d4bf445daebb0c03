"""A session description as data, and how it is written (RFC 8866, with the attributes that JSEP uses).

`sdp.parse_untrusted` makes one from text; `Description.to_text` writes it. Attributes without a field here
mean nothing to an SFU and are left out on the way through.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import msgspec

SdpDirection = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Setup = Literal["active", "passive", "actpass", "holdconn"]

RTP_PROTOCOL = "UDP/TLS/RTP/SAVPF"


class RtpMap(msgspec.Struct, frozen=True, cache_hash=True):
    payload_type: int
    encoding: str  # "VP8", "opus", "rtx"
    clock_rate: int  # Hz
    channels: int | None = None


class Feedback(msgspec.Struct, frozen=True, cache_hash=True):
    payload_type: int | None  # None is "*": every payload type of the section
    type: str
    parameter: str = ""


class ExtMap(msgspec.Struct, frozen=True, cache_hash=True):
    """A header extension (RFC 8285, section 8)."""

    id: int
    uri: str
    direction: SdpDirection | None = None
    attributes: str = ""


class SsrcAttribute(msgspec.Struct):
    """One `a=ssrc` line (RFC 5576, section 4.1); an attribute without a value has value None."""

    ssrc: int
    name: str
    value: str | None = None


class SsrcGroup(msgspec.Struct):
    semantics: str  # "FID", "SIM"
    ssrcs: list[int]


class Group(msgspec.Struct):
    semantics: str  # "BUNDLE", "LS"
    mids: list[str]


class Msid(msgspec.Struct):
    """RFC 8830; stream "-" is a track of no stream."""

    stream: str
    track: str = ""


class SdpFingerprint(msgspec.Struct):
    algorithm: str  # lower case
    value: str  # upper case


class Rid(msgspec.Struct):
    """RFC 8851."""

    id: str
    direction: Literal["send", "recv"]
    restrictions: str = ""


class Candidate(msgspec.Struct):
    """RFC 8839, section 5.1, with RFC 6544's tcptype."""

    foundation: str
    component: int
    protocol: str  # lower case
    priority: int
    address: str  # an IP address or an mDNS name
    port: int
    type: str  # "host", "srflx", "prflx", "relay"
    tcp_type: str | None = None
    related_address: str | None = None
    related_port: int | None = None


class CodecDescription(msgspec.Struct, frozen=True, cache_hash=True):
    """What an m-line says of codecs. Few are different: every client of one kind says the same."""

    kind: str
    formats: tuple[str, ...]
    rtpmaps: tuple[RtpMap, ...]
    fmtps: tuple[tuple[int, tuple[tuple[str, str], ...]], ...]  # by payload type
    feedback: tuple[Feedback, ...]

    @property
    def usual(self) -> bool:
        """Of a length that is worth to be remembered."""
        return len(self.formats) + len(self.rtpmaps) + len(self.fmtps) + len(self.feedback) <= 512


class MediaSection(msgspec.Struct):
    """One m-line with what stands under it. ICE, DTLS and direction are inherited from the session level."""

    kind: str  # "audio", "video", "application"
    port: int = 9
    protocol: str = RTP_PROTOCOL
    formats: list[str] = []
    mid: str | None = None
    direction: SdpDirection = "sendrecv"
    rtpmaps: list[RtpMap] = []
    fmtps: dict[int, dict[str, str]] = {}  # by payload type; a bare item has value ""
    feedback: list[Feedback] = []
    extensions: list[ExtMap] = []
    msids: list[Msid] = []
    ssrcs: list[SsrcAttribute] = []
    ssrc_groups: list[SsrcGroup] = []
    rids: list[Rid] = []
    simulcast: str | None = None
    ice_ufrag: str | None = None
    ice_pwd: str | None = None
    ice_options: list[str] = []
    candidates: list[Candidate] = []
    end_of_candidates: bool = False
    fingerprints: list[SdpFingerprint] = []
    setup: Setup | None = None
    rtcp_mux: bool = False
    rtcp_mux_only: bool = False
    rtcp_rsize: bool = False
    bundle_only: bool = False
    extmap_allow_mixed: bool = False

    @property
    def rejected(self) -> bool:
        """Port 0 refuses an m-line, unless it only waits for its bundle (RFC 9143, section 6)."""
        return self.port == 0 and not self.bundle_only

    def codecs(self) -> CodecDescription:
        """What it says of codecs, as a value."""
        fmtps = tuple((number, tuple(parameters.items())) for number, parameters in self.fmtps.items())
        return CodecDescription(
            self.kind, tuple(self.formats), tuple(self.rtpmaps), fmtps, tuple(self.feedback)
        )

    def lines(self) -> list[str]:
        out = [f"m={self.kind} {self.port} {self.protocol} {' '.join(self.formats)}", "c=IN IP4 0.0.0.0"]
        add = out.append
        if self.mid is not None:
            add(f"a=mid:{self.mid}")
        if self.bundle_only:
            add("a=bundle-only")
        out += self.transport_lines()
        add(f"a={self.direction}")
        out += [msid_line(item.stream, item.track) for item in self.msids]
        for flag, name in (
            (self.rtcp_mux, "rtcp-mux"),
            (self.rtcp_mux_only, "rtcp-mux-only"),
            (self.rtcp_rsize, "rtcp-rsize"),
            (self.extmap_allow_mixed, "extmap-allow-mixed"),
        ):
            if flag:
                add(f"a={name}")
        out += [_extmap(item) for item in self.extensions]
        out += codec_lines(self.codecs())
        out += [f"a=rid:{item.id} {item.direction} {item.restrictions}".rstrip() for item in self.rids]
        if self.simulcast is not None:
            add(f"a=simulcast:{self.simulcast}")
        for group in self.ssrc_groups:
            add(f"a=ssrc-group:{group.semantics} {' '.join(map(str, group.ssrcs))}")
        for ssrc in self.ssrcs:
            value = "" if ssrc.value is None else f":{ssrc.value}"
            add(f"a=ssrc:{ssrc.ssrc} {ssrc.name}{value}")
        return out

    def transport_lines(self) -> list[str]:
        """ICE and DTLS."""
        out: list[str] = []
        add = out.append
        if self.ice_ufrag is not None:
            add(f"a=ice-ufrag:{self.ice_ufrag}")
        if self.ice_pwd is not None:
            add(f"a=ice-pwd:{self.ice_pwd}")
        if self.ice_options:
            add(f"a=ice-options:{' '.join(self.ice_options)}")
        out += [_fingerprint(item) for item in self.fingerprints]
        if self.setup is not None:
            add(f"a=setup:{self.setup}")
        out += [_candidate(item) for item in self.candidates]
        if self.end_of_candidates:
            add("a=end-of-candidates")
        return out


class Description(msgspec.Struct):
    session_id: int = 0
    version: int = 0
    ice_lite: bool = False
    ice_options: list[str] = []
    groups: list[Group] = []
    extmap_allow_mixed: bool = False
    media: list[MediaSection] = []

    @property
    def bundle(self) -> list[str]:
        """The mids of the first BUNDLE group, the tagged one first."""
        return next((group.mids for group in self.groups if group.semantics == "BUNDLE"), [])

    def to_text(self, prepared: Sequence[str] | None = None) -> str:
        """`prepared` are the sections, each as `text_of` writes its lines; without, `media` is written.

        ValueError if a field would break out of its line, so that nothing can be smuggled in.
        """
        out = ["v=0", f"o=- {self.session_id} {self.version} IN IP4 127.0.0.1", "s=-", "t=0 0"]
        if self.ice_lite:
            out.append("a=ice-lite")
        if self.ice_options:
            out.append(f"a=ice-options:{' '.join(self.ice_options)}")
        out += [f"a=group:{' '.join([group.semantics, *group.mids])}" for group in self.groups]
        if self.extmap_allow_mixed:
            out.append("a=extmap-allow-mixed")
        sections = [text_of(section.lines()) for section in self.media] if prepared is None else prepared
        return text_of(out) + "".join(sections)


def text_of(lines: list[str]) -> str:
    """ValueError as of `Description.to_text`."""
    if not lines:
        return ""
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError(f"a line break inside an SDP value: {text!r}")
    return text + "\r\n"


def codec_lines(codecs: CodecDescription) -> list[str]:
    return list(_codec_lines(codecs) if codecs.usual else _codec_lines.__wrapped__(codecs))


@lru_cache(maxsize=256)
def _codec_lines(codecs: CodecDescription) -> tuple[str, ...]:
    out = [_rtpmap(item) for item in codecs.rtpmaps]
    out += [f"a=fmtp:{number} {format_parameters(dict(items))}" for number, items in codecs.fmtps]
    return (*out, *(_feedback(item) for item in codecs.feedback))


def format_parameters(parameters: dict[str, str]) -> str:
    return ";".join(f"{key}={value}" if value else key for key, value in parameters.items())


def msid_line(stream: str, track: str) -> str:
    return f"a=msid:{stream} {track}".rstrip()


def _fingerprint(item: SdpFingerprint) -> str:
    return f"a=fingerprint:{item.algorithm} {item.value}"


def _extmap(item: ExtMap) -> str:
    direction = "" if item.direction is None else f"/{item.direction}"
    return f"a=extmap:{item.id}{direction} {item.uri} {item.attributes}".rstrip()


def _rtpmap(item: RtpMap) -> str:
    channels = "" if item.channels is None else f"/{item.channels}"
    return f"a=rtpmap:{item.payload_type} {item.encoding}/{item.clock_rate}{channels}"


def _feedback(item: Feedback) -> str:
    payload_type = "*" if item.payload_type is None else item.payload_type
    return f"a=rtcp-fb:{payload_type} {item.type} {item.parameter}".rstrip()


def _candidate(item: Candidate) -> str:
    out = (
        f"a=candidate:{item.foundation} {item.component} {item.protocol} {item.priority} "
        f"{item.address} {item.port} typ {item.type}"
    )
    if item.related_address is not None:
        out += f" raddr {item.related_address}"
    if item.related_port is not None:
        out += f" rport {item.related_port}"
    if item.tcp_type is not None:
        out += f" tcptype {item.tcp_type}"
    return out
