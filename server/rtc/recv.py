"""The client's receive connection: the server offers what it sends, the client answers (RFC 8829).

m-lines are slots. They only grow in number; one whose media is gone turns inactive and is used again for
media of the same kind, so that the description stays as long as the busiest moment of the call was.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import Literal

import msgspec

from server.rtc.by_id import ById
from server.rtc.capabilities import codecs_of, extensions_of
from server.rtc.description import RTP_PROTOCOL, Description, Group, MediaSection, msid_line, text_of
from server.rtc.parameters import (
    DtlsParameters,
    DtlsRole,
    Fingerprint,
    IceParameters,
    MediaKind,
    RtpCapabilities,
)
from server.rtc.sdp import parse_untrusted
from server.rtc.sections import (
    NegotiationError,
    accepted_payload_types,
    media_section,
    put_candidates,
    put_transport,
    rejected_section,
    remote_fingerprints,
    source_text,
)


class RecvAnswer(msgspec.Struct, frozen=True):
    dtls: DtlsParameters  # the client's, with its role
    ice_ufrag: str  # the client's
    ice_pwd: str
    accepted: dict[str, set[int]]  # by mid, of slots in use: the router's payload types the client takes
    rejected: list[str]  # mids of slots in use that the client will not receive


# idle: free for new media · active: carries media · released: its media is gone, but the client has not yet
# answered an offer that says so, and an m-line must be seen inactive before other media may use it ·
# dead: the client refused the m-line with port 0, which ends its transceiver for good
_SlotState = Literal["idle", "active", "released", "dead"]


class _Slot(msgspec.Struct):
    mid: str
    kind: MediaKind
    state: _SlotState = "idle"
    stream_id: str = ""
    track_id: str = ""
    ssrc: int | None = None
    rtx_ssrc: int | None = None
    cname: str = ""


class RecvNegotiation:
    """Offers of one connection and their answers. A refused answer changes nothing."""

    def __init__(self, caps: RtpCapabilities, *, session_id: int | None = None) -> None:
        self._caps = caps
        self._session_id = secrets.randbits(62) if session_id is None else session_id
        self._version = 0
        # One m-line at least, so that ICE and DTLS come up before there is media to send.
        self._slots: list[_Slot] = [_Slot("0", "audio" if codecs_of("audio", caps) else "video")]
        self._offered: list[_SlotState] | None = None  # the slots' states in the newest offer
        self._dtls: DtlsParameters | None = None

    def add(self, kind: MediaKind, *, stream_id: str, track_id: str) -> str:
        """Take a slot for media and return its mid; `set_ssrc` follows before the next offer.

        Stream and track ids are shown to the client as msid. A reused transceiver keeps the id of its first
        track, so a client tells media apart by the mid. ValueError if the router has no codec of that kind,
        or for an id that would break out of its line.
        """
        if not codecs_of(kind, self._caps):
            raise ValueError(f"the router has no {kind} codec")
        slot = next((slot for slot in self._slots if slot.kind == kind and slot.state == "idle"), None)
        if slot is None:
            slot = _Slot(str(len(self._slots)), kind)
            self._slots.append(slot)
        slot.stream_id, slot.track_id = _in_line(stream_id), _in_line(track_id)
        slot.state = "active"
        return slot.mid

    def set_ssrc(self, mid: str, ssrc: int, rtx_ssrc: int | None, cname: str) -> None:
        """Name the SSRCs of a slot in use. KeyError for a mid that is not in use, ValueError as of `add`."""
        slot = self._active(mid)
        slot.cname = _in_line(cname)
        slot.ssrc, slot.rtx_ssrc = ssrc, rtx_ssrc

    def remove(self, mid: str) -> None:
        """The slot's media is gone. KeyError for a mid that is not in use."""
        slot = self._active(mid)
        slot.state = "released"
        slot.ssrc = slot.rtx_ssrc = None
        slot.stream_id = slot.track_id = slot.cname = ""

    def offer(self, *, ice: IceParameters, fingerprint: Fingerprint) -> str:
        """The whole connection as it should be. It supersedes an offer that was not answered.

        With fresh `ice` it is an ICE restart.
        """
        # Never empty: an answer that refuses every m-line is itself refused.
        live = [slot.mid for slot in self._slots if slot.state != "dead"]
        tag = next(slot for slot in self._slots if slot.state != "dead")
        transport = _transport_text(ice, fingerprint, candidates=False)
        of_tag = _transport_text(ice, fingerprint, candidates=True)
        text = Description(
            session_id=self._session_id,
            version=self._version,
            ice_lite=ice.ice_lite,
            groups=[Group("BUNDLE", live)],
            extmap_allow_mixed=True,
        ).to_text([self._text(slot, of_tag if slot is tag else transport) for slot in self._slots])
        self._version += 1
        self._offered = [slot.state for slot in self._slots]
        return text

    def accept_untrusted(self, answer_sdp: str) -> RecvAnswer:
        """Take the answer to the newest offer. Raises SdpError and NegotiationError."""
        if self._offered is None:
            raise NegotiationError("there is no offer to answer")
        answer = parse_untrusted(answer_sdp)
        offered = list(zip(self._slots, self._offered, strict=False))
        if len(answer.media) != len(offered):
            raise NegotiationError(f"the answer has {len(answer.media)} m-lines instead of {len(offered)}")
        for section, (slot, _) in zip(answer.media, offered, strict=True):
            if section.kind != slot.kind or section.mid not in (slot.mid, None):
                raise NegotiationError(f"the answer's m-line for mid {slot.mid} is of another kind or mid")
            if section.mid is None and not section.rejected:
                raise NegotiationError(f"the answer's m-line for mid {slot.mid} has no a=mid")
        bundle = set(answer.bundle)
        used = [section for section in answer.media if _in_use(section, bundle)]
        if not used:
            raise NegotiationError("the answer accepts no m-line of the bundle")
        if not all(section.rtcp_mux for section in used):
            raise NegotiationError("the answer lacks a=rtcp-mux")
        ufrag = next((section.ice_ufrag for section in used if section.ice_ufrag), None)
        pwd = next((section.ice_pwd for section in used if section.ice_pwd), None)
        if ufrag is None or pwd is None:
            raise NegotiationError("the answer has no a=ice-ufrag and a=ice-pwd")
        dtls = DtlsParameters(remote_fingerprints(used), _role(used))
        if self._dtls is not None and self._dtls != dtls:
            raise NegotiationError("the certificate or DTLS role has changed: make a new connection")

        # From here on nothing is refused any more.
        self._dtls = dtls
        self._offered = None
        accepted: dict[str, set[int]] = {}
        rejected: list[str] = []
        for section, (slot, state) in zip(answer.media, offered, strict=True):
            in_use = _in_use(section, bundle)
            if state == "active":
                payload_types = accepted_payload_types(section, self._caps) if in_use else set()
                if payload_types:
                    accepted[slot.mid] = payload_types
                else:
                    rejected.append(slot.mid)
            if section.rejected:
                slot.state = "dead"
            elif state == "released" and slot.state == "released":
                slot.state = "idle"
        return RecvAnswer(dtls, ufrag, pwd, accepted, rejected)

    def _active(self, mid: str) -> _Slot:
        for slot in self._slots:
            if slot.mid == mid and slot.state == "active":
                return slot
        raise KeyError(mid)

    def _text(self, slot: _Slot, transport: str) -> str:
        """Put together anew each time: in a large call most of it would be kept a hundred times over."""
        if slot.state == "dead":
            formats = [str(codecs_of(slot.kind, self._caps)[0].payload_type)]
            return text_of(rejected_section(slot.kind, RTP_PROTOCOL, formats, slot.mid).lines())
        before, after = _alike(slot.kind, ById(self._caps))
        if slot.state != "active":
            return f"{before}a=mid:{slot.mid}\r\n{transport}a=inactive\r\n{after}"
        own = f"a=sendonly\r\n{msid_line(slot.stream_id, slot.track_id)}\r\n"
        sources = "" if slot.ssrc is None else source_text(slot.ssrc, slot.rtx_ssrc, slot.cname)
        return f"{before}a=mid:{slot.mid}\r\n{transport}{own}{after}{sources}"


def _in_line(value: str) -> str:
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f"a line break inside an SDP value: {value!r}")
    return value


@lru_cache(maxsize=8)
def _alike(kind: MediaKind, caps: ById[RtpCapabilities]) -> tuple[str, str]:
    """What every m-line of a kind says: in front of its mid, and between its direction and its SSRCs."""
    section = media_section(kind, "", codecs_of(kind, caps.value), extensions_of(kind, caps.value))
    section.extmap_allow_mixed = True
    before, after = text_of(section.lines()).split("a=mid:\r\na=inactive\r\n")
    return before, after


def _transport_text(ice: IceParameters, fingerprint: Fingerprint, *, candidates: bool) -> str:
    section = MediaSection("audio", setup="actpass")
    put_transport(section, ice, fingerprint)
    if candidates:
        put_candidates(section, ice)
    return text_of(section.transport_lines())


def _in_use(section: MediaSection, bundle: set[str]) -> bool:
    return not section.rejected and section.mid in bundle


def _role(sections: list[MediaSection]) -> DtlsRole:
    """The client's role; it had the choice (RFC 5763, section 5)."""
    setup = next((section.setup for section in sections if section.setup is not None), None)
    if setup == "active":
        return "client"
    if setup == "passive":
        return "server"
    raise NegotiationError("the answer's a=setup must be active or passive")
