"""The client's send connection: it offers what it may send, the server answers (RFC 8829, section 5.3)."""

from __future__ import annotations

import secrets
from typing import NamedTuple, cast

import msgspec

from server.rtc.description import RTP_PROTOCOL, Description, Group, MediaSection, Setup
from server.rtc.parameters import (
    DtlsParameters,
    DtlsRole,
    Fingerprint,
    IceParameters,
    MediaKind,
    RtpCapabilities,
    RtpCodec,
    RtpParameters,
)
from server.rtc.sdp import parse_untrusted
from server.rtc.sections import (
    NegotiationError,
    common_codecs,
    common_extensions,
    encoding,
    media_section,
    put_candidates,
    put_transport,
    rejected_section,
    remote_fingerprints,
)

_PROTOCOLS = frozenset({RTP_PROTOCOL, "TCP/TLS/RTP/SAVPF", "RTP/SAVPF"})
_MAX_MID = 16  # characters: what a one-byte header extension can carry (RFC 8285, section 4.2)


class SendMedia(msgspec.Struct, frozen=True):
    """One m-line that the server accepted."""

    index: int  # of the m-line in the offer
    mid: str
    kind: MediaKind
    active: bool  # the client may send on it now
    rtp: RtpParameters  # in the client's own payload types and extension ids


class SendAnswer(msgspec.Struct, frozen=True):
    sdp: str
    dtls: DtlsParameters  # the client's: its role is "server" only if it insisted
    ice_ufrag: str  # the client's
    ice_pwd: str
    media: list[SendMedia]  # in the offer's order, without m-lines that were rejected


class _Agreed(msgspec.Struct, frozen=True):
    """What later offers of the same connection have to respect."""

    mids: list[str | None]  # of each m-line; None where it was rejected, so that its place may be reused
    dtls: DtlsParameters
    ufrag: str


class _Taken(NamedTuple):
    section: MediaSection
    codecs: list[RtpCodec]


_Accepted = dict[int, _Taken]  # by the m-line's index in the offer


class SendNegotiation:
    """Answers the offers of one connection. An offer that is refused changes nothing."""

    def __init__(self, caps: RtpCapabilities, *, session_id: int | None = None) -> None:
        self._caps = caps
        self._session_id = secrets.randbits(62) if session_id is None else session_id
        self._version = 0
        self._agreed: _Agreed | None = None
        self._looked_at: tuple[str, Description] | None = None  # by `restarts_ice_untrusted`

    def restarts_ice_untrusted(self, offer_sdp: str) -> bool:
        """Whether the offer has a new ufrag, so that the answer needs fresh ICE parameters of our own too.

        RFC 8839, section 4.4.1.1.1. Raises SdpError.
        """
        offer = parse_untrusted(offer_sdp)
        self._looked_at = offer_sdp, offer
        if self._agreed is None:
            return False
        accepted = self._accepted(offer)
        return bool(accepted) and _tagged(offer, accepted).ice_ufrag != self._agreed.ufrag

    def answer(self, offer_sdp_untrusted: str, *, ice: IceParameters, fingerprint: Fingerprint) -> SendAnswer:
        """Answer an offer with the server's `ice` and `fingerprint`.

        Raises SdpError for text that is no SDP and NegotiationError for an offer that cannot be accepted.
        """
        known, self._looked_at = self._looked_at, None
        if known is not None and known[0] == offer_sdp_untrusted:
            offer = known[1]
        else:
            offer = parse_untrusted(offer_sdp_untrusted)
        self._check_order(offer)
        accepted = self._accepted(offer)
        if not accepted:
            raise NegotiationError("the offer has no bundled audio or video m-line with a codec in common")
        _check_extension_ids(accepted)
        _check_ssrcs(accepted)
        tagged = _tagged(offer, accepted)
        ufrag, pwd = tagged.ice_ufrag, tagged.ice_pwd
        if ufrag is None or pwd is None:
            raise NegotiationError("the offer has no a=ice-ufrag and a=ice-pwd")
        setup, dtls = self._dtls(tagged)

        sections: list[MediaSection] = []
        media: list[SendMedia] = []
        for index, offered in enumerate(offer.media):
            if index not in accepted:
                sections.append(
                    rejected_section(offered.kind, offered.protocol, offered.formats, offered.mid)
                )
                continue
            item = self._media(index, offered, accepted[index].codecs)
            section = media_section(item.kind, item.mid, item.rtp.codecs, item.rtp.header_extensions)
            section.protocol = offered.protocol
            section.direction = "recvonly" if item.active else "inactive"
            section.rtcp_rsize = offered.rtcp_rsize
            section.extmap_allow_mixed = offered.extmap_allow_mixed
            section.setup = setup
            put_transport(section, ice, fingerprint)
            if offered is tagged:
                put_candidates(section, ice)
            sections.append(section)
            media.append(item)

        order = {_mid(item.section) for item in accepted.values()}
        text = Description(
            session_id=self._session_id,
            version=self._version,
            ice_lite=ice.ice_lite,
            groups=[Group("BUNDLE", [mid for mid in offer.bundle if mid in order])],
            extmap_allow_mixed=offer.extmap_allow_mixed,
            media=sections,
        ).to_text()
        self._version += 1
        self._agreed = _Agreed(
            [offered.mid if index in accepted else None for index, offered in enumerate(offer.media)],
            dtls,
            ufrag,
        )
        return SendAnswer(text, dtls, ufrag, pwd, media)

    def _check_order(self, offer: Description) -> None:
        """m-lines only grow in number and keep their places (RFC 3264, section 8)."""
        if self._agreed is None:
            return
        if len(offer.media) < len(self._agreed.mids):
            raise NegotiationError("the offer has fewer m-lines than the one before")
        for before, section in zip(self._agreed.mids, offer.media, strict=False):
            if before is not None and section.mid != before and not section.rejected:
                raise NegotiationError(f"the m-line of mid {before} has become that of another")

    def _accepted(self, offer: Description) -> _Accepted:
        """The offered sections that are taken; the others get port 0."""
        bundled = set(offer.bundle)
        out: _Accepted = {}
        for index, section in enumerate(offer.media):
            if (
                not section.rejected
                and section.kind in ("audio", "video")
                and section.protocol in _PROTOCOLS
                and section.mid in bundled
                and len(_mid(section)) <= _MAX_MID
                and section.rtcp_mux
            ):
                codecs = common_codecs(section, self._caps)
                if codecs:
                    out[index] = _Taken(section, codecs)
        return out

    def _dtls(self, tagged: MediaSection) -> tuple[Setup, DtlsParameters]:
        """Our a=setup and the client's parameters (RFC 5763, section 5; RFC 8842, section 5)."""
        agreed = None if self._agreed is None else self._agreed.dtls
        role: DtlsRole
        match tagged.setup:
            case "actpass" | None:
                role = "client" if agreed is None else agreed.role
            case "active":
                role = "client"
            case "passive":
                role = "server"
            case _:
                raise NegotiationError("a=setup:holdconn is not supported")
        dtls = DtlsParameters(remote_fingerprints([tagged]), role)
        if agreed is not None and agreed != dtls:
            raise NegotiationError("the certificate or DTLS role has changed: make a new connection")
        return ("passive" if role == "client" else "active"), dtls

    def _media(self, index: int, offered: MediaSection, codecs: list[RtpCodec]) -> SendMedia:
        kind = cast(MediaKind, offered.kind)  # `_accepted` lets nothing else through
        first, cname = encoding(offered)
        mid = _mid(offered)
        return SendMedia(
            index,
            mid,
            kind,
            offered.direction in ("sendonly", "sendrecv"),
            RtpParameters(mid, codecs, common_extensions(offered, kind, self._caps), [first], cname),
        )


def _mid(section: MediaSection) -> str:
    if section.mid is None:
        raise NegotiationError("an m-line has no a=mid")
    return section.mid


def _tagged(offer: Description, accepted: _Accepted) -> MediaSection:
    """The first of the bundle that is taken: it speaks for the transport (RFC 9143, section 7.3.1)."""
    place = {mid: number for number, mid in reversed(list(enumerate(offer.bundle)))}
    return min((item.section for item in accepted.values()), key=lambda section: place[_mid(section)])


def _check_extension_ids(accepted: _Accepted) -> None:
    """In a bundle one id means one extension (RFC 9143, section 9.1): the MID is read before all else."""
    meaning: dict[int, str] = {}
    for section, _ in accepted.values():
        for item in section.extensions:
            if meaning.setdefault(item.id, item.uri) != item.uri:
                raise NegotiationError(f"header extension id {item.id} means two things in one bundle")


def _check_ssrcs(accepted: _Accepted) -> None:
    """In a bundle an SSRC belongs to one m-line and has one use."""
    seen: set[int] = set()
    for section, _ in accepted.values():
        first, _ = encoding(section)
        for ssrc in (first.ssrc, first.rtx_ssrc):
            if ssrc is not None and ssrc in seen:
                raise NegotiationError(f"SSRC {ssrc} stands for two streams")
            if ssrc is not None:
                seen.add(ssrc)
