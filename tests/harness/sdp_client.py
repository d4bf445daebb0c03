"""SDP as a browser without media would write it: the offer of a send connection, the answer of a receive one.

offer = send_offer(ufrag=peer.ufrag, pwd=peer.pwd, fingerprint=peer.certificate.fingerprint())
... the server answers ...
ice, fingerprint, role = remote_side(answer)      # what RtcPeer wants
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from server.rtc.description import (
    Description,
    ExtMap,
    Feedback,
    Group,
    MediaSection,
    RtpMap,
    SdpFingerprint,
    Setup,
    SsrcAttribute,
    SsrcGroup,
)
from server.rtc.dtls import LocalRole
from server.rtc.parameters import Fingerprint, IceCandidate, IceParameters, MediaKind
from server.rtc.sdp import parse_untrusted
from server.rtc.sections import rejected_section

# Payload types and extension ids unlike the router's, so that a missing translation shows.
OPUS, VP8, VP8_RTX, H264, H264_RTX = 109, 120, 124, 126, 127
AUDIO_LEVEL_ID, ABS_SEND_TIME_ID, TRANSPORT_CC_ID, MID_ID, ORIENTATION_ID = 11, 12, 13, 14, 9

_BOTH = [
    ExtMap(ABS_SEND_TIME_ID, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
    ExtMap(TRANSPORT_CC_ID, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"),
    ExtMap(MID_ID, "urn:ietf:params:rtp-hdrext:sdes:mid"),
]
_AUDIO = [ExtMap(AUDIO_LEVEL_ID, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"), *_BOTH]
_VIDEO = [*_BOTH, ExtMap(ORIENTATION_ID, "urn:3gpp:video-orientation")]


@dataclass
class Track:
    kind: MediaKind
    mid: str
    ssrc: int | None = None  # None: no ssrc lines, so the server learns it by the MID
    rtx_ssrc: int | None = None
    active: bool = True


# Microphone, camera, screen: the order that docs/protocol.md asks for.
DEFAULT_TRACKS = (
    Track("audio", "0", 1001),
    Track("video", "1", 2001, 2002),
    Track("video", "2", 3001, 3002),
)


def send_offer(
    *,
    ufrag: str,
    pwd: str,
    fingerprint: Fingerprint,
    tracks: Sequence[Track] = DEFAULT_TRACKS,
    setup: Setup = "actpass",
) -> str:
    sections = []
    for track in tracks:
        section = MediaSection(track.kind, mid=track.mid)
        section.direction = "sendonly" if track.active else "inactive"
        if track.kind == "audio":
            section.formats = [str(OPUS)]
            section.rtpmaps = [RtpMap(OPUS, "opus", 48000, 2)]
            section.fmtps = {OPUS: {"minptime": "10", "useinbandfec": "1"}}
            section.feedback = [Feedback(OPUS, "transport-cc")]
            section.extensions = list(_AUDIO)
        else:
            _put_video(section)
        _put_transport(section, ufrag, pwd, fingerprint, setup)
        if track.ssrc is not None:
            section.ssrcs = [SsrcAttribute(track.ssrc, "cname", "test")]
            if track.rtx_ssrc is not None:
                section.ssrcs.append(SsrcAttribute(track.rtx_ssrc, "cname", "test"))
                section.ssrc_groups = [SsrcGroup("FID", [track.ssrc, track.rtx_ssrc])]
        sections.append(section)
    group = Group("BUNDLE", [track.mid for track in tracks])
    return Description(1, 1, groups=[group], extmap_allow_mixed=True, media=sections).to_text()


def recv_answer(
    offer: str,
    *,
    ufrag: str,
    pwd: str,
    fingerprint: Fingerprint,
    setup: Setup = "active",
    without: Sequence[str] = (),
    reject: Sequence[str] = (),
) -> str:
    """Accept what is offered, save codecs named in `without` (with their RTX) and mids in `reject`."""
    offered = parse_untrusted(offer)
    refused = {name.lower() for name in without}
    sections = []
    for item in offered.media:
        if item.rejected or item.mid in reject:
            sections.append(rejected_section(item.kind, item.protocol, item.formats, item.mid))
            continue
        dropped = {entry.payload_type for entry in item.rtpmaps if entry.encoding.lower() in refused}
        for number, parameters in item.fmtps.items():
            if parameters.get("apt", "").isdigit() and int(parameters["apt"]) in dropped:
                dropped.add(number)
        section = MediaSection(item.kind, mid=item.mid, extensions=item.extensions, extmap_allow_mixed=True)
        section.formats = [text for text in item.formats if int(text) not in dropped]
        section.rtpmaps = [entry for entry in item.rtpmaps if entry.payload_type not in dropped]
        section.fmtps = {number: entry for number, entry in item.fmtps.items() if number not in dropped}
        section.feedback = [entry for entry in item.feedback if entry.payload_type not in dropped]
        section.direction = "recvonly" if item.direction == "sendonly" else "inactive"
        _put_transport(section, ufrag, pwd, fingerprint, setup)
        sections.append(section)
    mids = [section.mid for section in sections if section.mid is not None and not section.rejected]
    return Description(2, 1, groups=[Group("BUNDLE", mids)], media=sections).to_text()


def remote_side(sdp: str) -> tuple[IceParameters, Fingerprint, LocalRole]:
    """The server's ICE parameters and fingerprint, and the DTLS role left to us, by its offer or answer."""
    description = parse_untrusted(sdp)
    section = next(item for item in description.media if item.candidates)
    assert section.ice_ufrag is not None
    assert section.ice_pwd is not None
    candidates = []
    for item in section.candidates:
        protocol: Literal["udp", "tcp"] = "tcp" if item.protocol == "tcp" else "udp"
        candidates.append(
            IceCandidate(
                item.foundation,
                item.priority,
                item.address,
                item.port,
                protocol,
                tcp_type="passive" if protocol == "tcp" else None,
            )
        )
    ice = IceParameters(section.ice_ufrag, section.ice_pwd, candidates, description.ice_lite)
    fingerprint = section.fingerprints[0]
    role: LocalRole = "server" if section.setup == "active" else "client"
    return ice, Fingerprint(fingerprint.algorithm, fingerprint.value), role


def _put_video(section: MediaSection) -> None:
    codecs = ((VP8, VP8_RTX, "VP8"), (H264, H264_RTX, "H264"))
    for number, rtx, name in codecs:
        section.formats += [str(number), str(rtx)]
        section.rtpmaps += [RtpMap(number, name, 90000), RtpMap(rtx, "rtx", 90000)]
        section.fmtps[rtx] = {"apt": str(number)}
        for kind, parameter in (
            ("goog-remb", ""), ("transport-cc", ""), ("ccm", "fir"), ("nack", ""), ("nack", "pli"),
        ):  # fmt: skip
            section.feedback.append(Feedback(number, kind, parameter))
    section.fmtps[H264] = {
        "level-asymmetry-allowed": "1",
        "packetization-mode": "1",
        "profile-level-id": "42e01f",
    }
    section.extensions = list(_VIDEO)


def _put_transport(
    section: MediaSection, ufrag: str, pwd: str, fingerprint: Fingerprint, setup: Setup
) -> None:
    section.ice_ufrag, section.ice_pwd = ufrag, pwd
    section.ice_options = ["trickle"]
    section.fingerprints = [SdpFingerprint(fingerprint.algorithm, fingerprint.value)]
    section.setup = setup
    section.rtcp_mux = section.rtcp_rsize = True
    section.extmap_allow_mixed = True
