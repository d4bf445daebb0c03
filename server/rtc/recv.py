"""The client's receive connection: the server offers what it sends, the client answers (RFC 8829).

m-lines are slots. They only grow in number; one whose media is gone turns inactive and is used again for
media of the same kind, so that the description stays as long as the busiest moment of the call was.
"""

from __future__ import annotations

import secrets
from typing import Literal

import msgspec

from server.rtc.capabilities import codecs_of, extensions_of
from server.rtc.description import RTP_PROTOCOL, Description, Group, MediaSection, Msid, section_text
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
    put_ssrcs,
    put_transport,
    rejected_section,
    remote_fingerprints,
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
    written: tuple[tuple[object, ...], str] | None = None  # what its text says, and the text

    def says(self) -> tuple[object, ...]:
        return self.state, self.stream_id, self.track_id, self.ssrc, self.rtx_ssrc, self.cname


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
        track, so a client tells media apart by the mid. ValueError if the router has no codec of that kind.
        """
        if not codecs_of(kind, self._caps):
            raise ValueError(f"the router has no {kind} codec")
        slot = next((slot for slot in self._slots if slot.kind == kind and slot.state == "idle"), None)
        if slot is None:
            slot = _Slot(str(len(self._slots)), kind)
            self._slots.append(slot)
        slot.state = "active"
        slot.stream_id, slot.track_id = stream_id, track_id
        return slot.mid

    def set_ssrc(self, mid: str, ssrc: int, rtx_ssrc: int | None, cname: str) -> None:
        """Name the SSRCs of a slot in use. KeyError for a mid that is not in use."""
        slot = self._active(mid)
        slot.ssrc, slot.rtx_ssrc, slot.cname = ssrc, rtx_ssrc, cname

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
        text = Description(
            session_id=self._session_id,
            version=self._version,
            ice_lite=ice.ice_lite,
            groups=[Group("BUNDLE", live)],
            extmap_allow_mixed=True,
        ).to_text([self._text(slot, ice, fingerprint, tag=slot is tag) for slot in self._slots])
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

    def _text(self, slot: _Slot, ice: IceParameters, fingerprint: Fingerprint, *, tag: bool) -> str:
        """Written anew only when something in it has changed: in a large call one of many has."""
        says = (*slot.says(), ice.username_fragment, fingerprint.value, tag)
        if slot.written is None or slot.written[0] != says:
            section = self._section(slot, ice, fingerprint)
            if tag:
                put_candidates(section, ice)
            slot.written = (says, section_text(section))
        return slot.written[1]

    def _section(self, slot: _Slot, ice: IceParameters, fingerprint: Fingerprint) -> MediaSection:
        codecs = codecs_of(slot.kind, self._caps)
        if slot.state == "dead":
            return rejected_section(slot.kind, RTP_PROTOCOL, [str(codecs[0].payload_type)], slot.mid)
        section = media_section(slot.kind, slot.mid, codecs, extensions_of(slot.kind, self._caps))
        section.setup = "actpass"
        section.extmap_allow_mixed = True
        put_transport(section, ice, fingerprint)
        if slot.state == "active":
            section.direction = "sendonly"
            section.msids = [Msid(slot.stream_id, slot.track_id)]
            if slot.ssrc is not None:
                put_ssrcs(section, slot.ssrc, slot.rtx_ssrc, slot.cname)
        return section


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
