"""The SDP parser: text from the network in, a `Description` or `SdpError` out (RFC 8866, RFC 8829).

Strict where the SFU depends on a value, silent about lines and attributes it has no use for, as RFC 8866
asks. Work is linear in the size of the text, and every list is bounded by the number of lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, get_args

from server.errors import ClientError
from server.rtc.description import (
    Candidate,
    Description,
    ExtMap,
    Feedback,
    Group,
    MediaSection,
    Msid,
    Rid,
    RtpMap,
    SdpDirection,
    SdpFingerprint,
    Setup,
    SsrcAttribute,
    SsrcGroup,
)

MAX_TEXT: Final = 512 * 1024  # characters
MAX_LINES: Final = 20_000
MAX_LINE: Final = 4096  # characters
MAX_SECTIONS: Final = 512
MAX_FORMATS: Final = 128  # payload types are seven bits
MAX_GROUP_SSRCS: Final = 16
_REMEMBERED: Final = 1024  # lines of each kind that describe codecs
_SHORT: Final = 256  # characters; longer ones are not remembered
_REMEMBERED_RUNS: Final = 128  # of such lines that stand together
_SHORT_RUN: Final = 8192  # characters

_DIRECTIONS: Final = frozenset(get_args(SdpDirection))
_SETUPS: Final = frozenset(get_args(Setup))

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]{1,256}")  # RFC 8866, section 9
_ICE_CHARS = re.compile(r"[A-Za-z0-9+/\-=_]{1,256}")  # RFC 8839's ice-char, and base64url, which some send
_HEX_PAIRS = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){15,63}")
_DECIMAL = re.compile(r"[0-9]{1,20}")
_CODEC_RUN = re.compile(r"^(?:a=(?:rtpmap|fmtp|rtcp-fb|extmap):.*\n)+", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONTROLS = bytes([*range(9), 11, 12, *range(14, 32), 127])  # but tabs and the ends of lines


class SdpError(ClientError):
    """The text is no session description that we can use; `line` counts from 1, 0 means the whole."""

    def __init__(self, line: int, reason: str) -> None:
        where = f"line {line}: " if line else ""
        super().__init__("bad_sdp", f"SDP {where}{reason}", field="sdp", line=line)
        self.line = line
        self.reason = reason


class _Bad(Exception):
    """A reason on its way to the line number."""


def parse_untrusted(text: str) -> Description:
    """Parse a whole description. Raises SdpError and nothing else."""
    if len(text) > MAX_TEXT:
        raise SdpError(0, f"is longer than {MAX_TEXT} characters")
    if text.count("\n") >= MAX_LINES:
        raise SdpError(0, f"has more than {MAX_LINES} lines")
    parser = _Parser(suspicious=_has_controls(text))
    at = 0
    for run in _CODEC_RUN.finditer(text):
        parser.lines(text[at : run.start()])
        parser.codecs(run.group())
        at = run.end()
    parser.lines(text[at:])
    if not parser.begun:
        raise SdpError(0, "is empty")
    return parser.finish()


def _has_controls(text: str) -> bool:
    """Seven times as fast as a search for them, which was a third of the parsing."""
    data = text.encode("utf-8", "surrogatepass")
    return len(data.translate(None, _CONTROLS)) < len(data) or text.count("\r") > text.count("\r\n")


class _Parser:
    def __init__(self, *, suspicious: bool) -> None:
        """`suspicious`: some line has a control character."""
        self.begun = False
        self.passed = 0  # lines
        self.suspicious = suspicious
        self.description = Description()
        # Session-level attributes that sections inherit are kept in a section of their own.
        self.session = MediaSection("session")
        self.section: MediaSection | None = None
        self.directed: set[int] = set()  # indexes of sections that state a direction themselves

    def lines(self, text: str) -> None:
        """Some whole lines, or the last ones."""
        for number, raw in enumerate(text.split("\n"), self.passed + 1):
            line = raw.removesuffix("\r")
            if not line:
                continue
            try:
                self.line(line)
            except _Bad as bad:
                raise SdpError(number, str(bad)) from None
        self.passed += text.count("\n")

    def codecs(self, text: str) -> None:
        """A run of lines about codecs and extensions: most clients of a kind say the same, word by word."""
        section = self.section
        if section is None or self.suspicious or len(text) > _SHORT_RUN:
            self.lines(text)
            return
        try:
            said = _codec_run(text)
        except SdpError:
            self.lines(text)  # which tells the line of the whole
            return
        section.rtpmaps += said.rtpmaps
        section.feedback += said.feedback
        section.extensions += said.extensions
        section.fmtps.update((number, dict(parameters)) for number, parameters in said.fmtps.items())
        self.passed += text.count("\n")

    def line(self, line: str) -> None:
        if len(line) > MAX_LINE:
            raise _Bad(f"longer than {MAX_LINE} characters")
        if self.suspicious and _CONTROL.search(line):
            raise _Bad("contains a control character")
        if self.section is not None and line.startswith("a="):  # by far the most
            self._attribute(line[2:])
            return
        if len(line) < 2 or line[1] != "=":
            raise _Bad("is not of the form x=value")
        kind, value = line[0], line[2:]
        if not self.begun:
            if (kind, value) != ("v", "0"):
                raise _Bad("v=0 expected")
            self.begun = True
        elif kind == "v":
            raise _Bad("a second v= line")
        elif kind == "o":
            self._origin(value)
        elif kind == "m":
            self._media(value)
        elif kind == "a":
            self._attribute(value)

    def finish(self) -> Description:
        """Hand down what the session level says (RFC 8839, section 5.4; RFC 8122; RFC 4145)."""
        session = self.session
        for index, section in enumerate(self.description.media):
            if index not in self.directed:
                section.direction = session.direction
            section.ice_ufrag = section.ice_ufrag or session.ice_ufrag
            section.ice_pwd = section.ice_pwd or session.ice_pwd
            section.fingerprints = section.fingerprints or list(session.fingerprints)
            section.setup = section.setup or session.setup
            section.extmap_allow_mixed |= self.description.extmap_allow_mixed
        mids = [section.mid for section in self.description.media if section.mid is not None]
        if len(mids) != len(set(mids)):
            raise SdpError(0, "has two sections with the same mid")
        return self.description

    def _origin(self, value: str) -> None:
        fields = value.split(" ")
        if len(fields) != 6:
            raise _Bad("o= needs six fields")
        self.description.session_id = _number(fields[1], 2**64 - 1, "session id")
        self.description.version = _number(fields[2], 2**64 - 1, "session version")

    def _media(self, value: str) -> None:
        if len(self.description.media) >= MAX_SECTIONS:
            raise _Bad(f"more than {MAX_SECTIONS} m= sections")
        fields = value.split()
        if len(fields) < 4:
            raise _Bad("m= needs a medium, a port, a protocol and formats")
        if len(fields) - 3 > MAX_FORMATS:
            raise _Bad(f"more than {MAX_FORMATS} formats")
        port = _number(fields[1].partition("/")[0], 65535, "port")
        self.section = MediaSection(_token(fields[0]), port, fields[2], fields[3:])
        self.description.media.append(self.section)

    def _attribute(self, text: str) -> None:
        name, colon, value = text.partition(":")
        section = self.section
        if section is not None and name in _REPEATED_ATTRIBUTES:
            read, field = _REPEATED_ATTRIBUTES[name]
            # What describes codecs is the same in most m-lines of most clients.
            item = read(value) if len(value) <= _SHORT else read.__wrapped__(value)
            getattr(section, field).append(item)
        elif name == "fmtp" and section is not None:
            number, parameters = _fmtp(value) if len(value) <= _SHORT else _fmtp.__wrapped__(value)
            section.fmtps[number] = dict(parameters)
        elif name in _DIRECTIONS and not colon:
            (section or self.session).direction = name  # type: ignore[assignment]  # one of the Literal's
            if section is not None:
                self.directed.add(len(self.description.media) - 1)
        elif section is None and name in _SESSION_ATTRIBUTES:
            _SESSION_ATTRIBUTES[name](self.description, value)
        elif name in _INHERITED_ATTRIBUTES:
            _INHERITED_ATTRIBUTES[name](section or self.session, value)
        elif section is not None and name in _MEDIA_ATTRIBUTES:
            _MEDIA_ATTRIBUTES[name](section, value)


# ---- values ------------------------------------------------------------------------------------------------


def _number(text: str, maximum: int, what: str, minimum: int = 0) -> int:
    if not _DECIMAL.fullmatch(text) or not minimum <= (value := int(text)) <= maximum:
        raise _Bad(f"{what} must be a number from {minimum} to {maximum}")
    return value


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise _Bad("not a token where one is needed")
    return text


def _fields(value: str, at_least: int, name: str) -> list[str]:
    fields = value.split()
    if len(fields) < at_least:
        raise _Bad(f"a={name} needs {at_least} fields")
    return fields


def parse_parameters(text: str) -> dict[str, str]:
    """`a=1;b=2;c` as a dict; a bare item has value "" (RFC 8866 leaves the form of fmtp to the codec)."""
    parameters: dict[str, str] = {}
    for item in text.split(";"):
        key, _, value = item.strip().partition("=")
        if key.strip():
            parameters[key.strip()] = value.strip()
    return parameters


# ---- attributes of the session -----------------------------------------------------------------------------


def _group(description: Description, value: str) -> None:
    fields = _fields(value, 1, "group")
    if len(fields) - 1 > MAX_SECTIONS:
        raise _Bad("a group with too many mids")
    description.groups.append(Group(_token(fields[0]), [_token(mid) for mid in fields[1:]]))


def _ice_lite(description: Description, value: str) -> None:
    description.ice_lite = True


def _session_ice_options(description: Description, value: str) -> None:
    description.ice_options = [_token(option) for option in value.split()]


def _session_allow_mixed(description: Description, value: str) -> None:
    description.extmap_allow_mixed = True


# ---- attributes that sections inherit ----------------------------------------------------------------------


def _ice_ufrag(section: MediaSection, value: str) -> None:
    if not _ICE_CHARS.fullmatch(value) or len(value) < 4:
        raise _Bad("ice-ufrag must be 4 to 256 ICE characters")
    section.ice_ufrag = value


def _ice_pwd(section: MediaSection, value: str) -> None:
    if not _ICE_CHARS.fullmatch(value) or len(value) < 22:
        raise _Bad("ice-pwd must be 22 to 256 ICE characters")
    section.ice_pwd = value


def _fingerprint(section: MediaSection, value: str) -> None:
    fields = _fields(value, 2, "fingerprint")
    if not _HEX_PAIRS.fullmatch(fields[1]):
        raise _Bad("a fingerprint must be hex pairs joined by colons")
    section.fingerprints.append(SdpFingerprint(_token(fields[0]).lower(), fields[1].upper()))


def _setup(section: MediaSection, value: str) -> None:
    if value not in _SETUPS:
        raise _Bad("setup must be active, passive, actpass or holdconn")
    section.setup = value  # type: ignore[assignment]  # checked against the Literal's values


# ---- attributes of a section -------------------------------------------------------------------------------


def _mid(section: MediaSection, value: str) -> None:
    section.mid = _token(value)


def _section_ice_options(section: MediaSection, value: str) -> None:
    section.ice_options = [_token(option) for option in value.split()]


@lru_cache(maxsize=_REMEMBERED)
def _rtpmap(value: str) -> RtpMap:
    fields = _fields(value, 2, "rtpmap")
    parts = fields[1].split("/")
    if not 2 <= len(parts) <= 3:
        raise _Bad("a=rtpmap needs encoding/clock rate")
    rate = _number(parts[1], 2**32 - 1, "clock rate", 1)
    channels = _number(parts[2], 255, "channels", 1) if len(parts) == 3 else None
    return RtpMap(_payload_type(fields[0]), _token(parts[0]), rate, channels)


def _payload_type(text: str) -> int:
    return _number(text, 127, "payload type")


@lru_cache(maxsize=_REMEMBERED)
def _fmtp(value: str) -> tuple[int, dict[str, str]]:
    payload_type, _, parameters = value.partition(" ")
    return _payload_type(payload_type), parse_parameters(parameters)


@lru_cache(maxsize=_REMEMBERED)
def _rtcp_fb(value: str) -> Feedback:
    fields = _fields(value, 2, "rtcp-fb")
    payload_type = None if fields[0] == "*" else _payload_type(fields[0])
    return Feedback(payload_type, _token(fields[1]), " ".join(fields[2:]))


@lru_cache(maxsize=_REMEMBERED)
def _extmap(value: str) -> ExtMap:
    fields = _fields(value, 2, "extmap")
    number, slash, direction = fields[0].partition("/")
    if slash and direction not in _DIRECTIONS:
        raise _Bad("a=extmap has an unknown direction")
    # 1 to 255 can be on the wire; 4096 and up are only placeholders in offers (RFC 8285, section 6).
    return ExtMap(
        _number(number, 4351, "extension id", 1),
        fields[1],
        direction if slash else None,  # type: ignore[arg-type]  # checked just above
        " ".join(fields[2:]),
    )


@lru_cache(maxsize=_REMEMBERED_RUNS)
def _codec_run(text: str) -> MediaSection:
    """What such lines say, in a section that has nothing else; its items are shared."""
    parser = _Parser(suspicious=False)
    parser.section = section = MediaSection("")
    parser.lines(text)
    return section


def _msid(section: MediaSection, value: str) -> None:
    fields = _fields(value, 1, "msid")
    section.msids.append(Msid(_token(fields[0]), _token(fields[1]) if len(fields) > 1 else ""))


def _ssrc_number(text: str) -> int:
    return _number(text, 2**32 - 1, "SSRC")


def _ssrc(section: MediaSection, value: str) -> None:
    number, space, attribute = value.partition(" ")
    name, colon, rest = attribute.partition(":")
    if not space:
        raise _Bad("a=ssrc needs an attribute")
    section.ssrcs.append(SsrcAttribute(_ssrc_number(number), _token(name), rest if colon else None))


def _ssrc_group(section: MediaSection, value: str) -> None:
    fields = _fields(value, 1, "ssrc-group")
    if len(fields) - 1 > MAX_GROUP_SSRCS:
        raise _Bad(f"a=ssrc-group has more than {MAX_GROUP_SSRCS} SSRCs")
    section.ssrc_groups.append(SsrcGroup(_token(fields[0]), [_ssrc_number(ssrc) for ssrc in fields[1:]]))


def _rid(section: MediaSection, value: str) -> None:
    fields = _fields(value, 2, "rid")
    if fields[1] == "send":
        section.rids.append(Rid(_token(fields[0]), "send", " ".join(fields[2:])))
    elif fields[1] == "recv":
        section.rids.append(Rid(_token(fields[0]), "recv", " ".join(fields[2:])))
    else:
        raise _Bad("a=rid must be send or recv")


def _simulcast(section: MediaSection, value: str) -> None:
    section.simulcast = " ".join(value.split())


def _candidate(section: MediaSection, value: str) -> None:
    fields = _fields(value, 8, "candidate")
    if fields[6] != "typ":
        raise _Bad("a=candidate lacks typ")
    candidate = Candidate(
        foundation=_token(fields[0]),
        component=_number(fields[1], 256, "component", 1),
        protocol=_token(fields[2]).lower(),
        priority=_number(fields[3], 2**32 - 1, "priority"),
        address=fields[4],
        port=_number(fields[5], 65535, "port"),
        type=_token(fields[7]),
    )
    extensions = dict(zip(fields[8::2], fields[9::2], strict=False))
    candidate.tcp_type = extensions.get("tcptype")
    candidate.related_address = extensions.get("raddr")
    if "rport" in extensions:
        candidate.related_port = _number(extensions["rport"], 65535, "rport")
    section.candidates.append(candidate)


def _flag(field: str) -> Callable[[MediaSection, str], None]:
    return lambda section, value: setattr(section, field, True)


_SESSION_ATTRIBUTES: Final[dict[str, Callable[[Description, str], None]]] = {
    "group": _group,
    "ice-lite": _ice_lite,
    "ice-options": _session_ice_options,
    "extmap-allow-mixed": _session_allow_mixed,
}

_INHERITED_ATTRIBUTES: Final[dict[str, Callable[[MediaSection, str], None]]] = {
    "ice-ufrag": _ice_ufrag,
    "ice-pwd": _ice_pwd,
    "fingerprint": _fingerprint,
    "setup": _setup,
}

_REPEATED_ATTRIBUTES: Final[dict[str, tuple[Any, str]]] = {
    "rtpmap": (_rtpmap, "rtpmaps"),
    "rtcp-fb": (_rtcp_fb, "feedback"),
    "extmap": (_extmap, "extensions"),
}

_MEDIA_ATTRIBUTES: Final[dict[str, Callable[[MediaSection, str], None]]] = {
    "mid": _mid,
    "ice-options": _section_ice_options,
    "msid": _msid,
    "ssrc": _ssrc,
    "ssrc-group": _ssrc_group,
    "rid": _rid,
    "simulcast": _simulcast,
    "candidate": _candidate,
    "end-of-candidates": _flag("end_of_candidates"),
    "rtcp-mux": _flag("rtcp_mux"),
    "rtcp-mux-only": _flag("rtcp_mux_only"),
    "rtcp-rsize": _flag("rtcp_rsize"),
    "bundle-only": _flag("bundle_only"),
    "extmap-allow-mixed": _flag("extmap_allow_mixed"),
}
