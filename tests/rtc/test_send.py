"""Offers of the client's send connection: real ones, odd ones and hostile ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from server.rtc.capabilities import extension_map, payload_map, router_capabilities
from server.rtc.certificate import Certificate
from server.rtc.description import Description, ExtMap, Group, MediaSection, SsrcAttribute, SsrcGroup
from server.rtc.negotiation import NegotiationError, SendAnswer, SendNegotiation
from server.rtc.parameters import IceParameters, RtcpFeedback, RtpEncoding
from server.rtc.sdp import SdpError, parse_untrusted
from tests.harness import sdp_client
from tests.harness.sdp_client import Track, remote_side, send_offer
from tests.rtc.conftest import fixture

CAPS = router_capabilities()
PEER = Certificate.generate(1_800_000_000.0)
UFRAG, PWD = "peerufrag", "peer-password-of-some-length"
BROWSERS = ["chromium", "firefox"]


@pytest.fixture
def answer(ice: IceParameters, certificate: Certificate) -> Callable[..., SendAnswer]:
    def run(offer: str, negotiation: SendNegotiation | None = None) -> SendAnswer:
        chosen = negotiation or SendNegotiation(CAPS)
        return chosen.answer(offer, ice=ice, fingerprint=certificate.fingerprint())

    return run


def offer(**options: object) -> str:
    return send_offer(ufrag=UFRAG, pwd=PWD, fingerprint=PEER.fingerprint(), **options)  # type: ignore[arg-type]


def changed(change: Callable[[Description], None], text: str | None = None) -> str:
    description = parse_untrusted(text or offer())
    change(description)
    return description.to_text()


Answer = Callable[..., SendAnswer]


@pytest.mark.parametrize("kind", ["null", "media"])
@pytest.mark.parametrize("browser", BROWSERS)
def test_a_browsers_three_m_lines(
    answer: Answer, ice: IceParameters, certificate: Certificate, browser: str, kind: str
) -> None:
    offered = parse_untrusted(fixture(f"{browser}_send_{kind}"))
    result = answer(fixture(f"{browser}_send_{kind}"))
    assert [(m.index, m.mid, m.kind, m.active) for m in result.media] == [
        (0, "0", "audio", True),
        (1, "1", "video", True),
        (2, "2", "video", True),
    ]
    assert result.dtls.role == "client"
    assert result.dtls.fingerprints[0].value == offered.media[0].fingerprints[0].value
    assert (result.ice_ufrag, result.ice_pwd) == (offered.media[0].ice_ufrag, offered.media[0].ice_pwd)

    text = parse_untrusted(result.sdp)
    assert text.ice_lite
    assert text.bundle == ["0", "1", "2"]
    for section, original in zip(text.media, offered.media, strict=True):
        assert section.direction == "recvonly"
        assert section.setup == "passive"
        assert section.rtcp_mux
        assert (section.ice_ufrag, section.ice_pwd) == (ice.username_fragment, ice.password)
        assert section.fingerprints[0].value == certificate.fingerprint().value
        # The client's numbers in the client's order, less what the router does not know.
        kept = [number for number in original.formats if number in section.formats]
        assert section.formats == kept
        known = {item.payload_type: item for item in original.rtpmaps}
        assert all(known[item.payload_type] == item for item in section.rtpmaps)
        assert {item.encoding for item in section.rtpmaps} <= {"opus", "VP8", "VP9", "H264", "AV1", "rtx"}
        assert {(x.id, x.uri) for x in section.extensions} <= {(x.id, x.uri) for x in original.extensions}
        assert not section.ssrcs
    assert [bool(section.candidates) for section in text.media] == [True, False, False]
    assert text.media[0].end_of_candidates
    assert remote_side(result.sdp) == (ice, certificate.fingerprint(), "client")

    for item, original in zip(result.media, offered.media, strict=True):
        ssrcs = {attribute.ssrc for attribute in original.ssrcs}
        assert item.rtp.encodings[0].ssrc in ssrcs
        assert item.rtp.cname == original.ssrcs[0].value
        assert 1 in extension_map(item.rtp, CAPS).values()  # the MID is always among them
        mapped = payload_map(item.rtp, CAPS)
        assert set(mapped) == {codec.payload_type for codec in item.rtp.codecs}
        if item.kind == "video":
            assert item.rtp.encodings[0].rtx_ssrc in ssrcs - {item.rtp.encodings[0].ssrc}
            assert mapped[item.rtp.codecs[0].payload_type] == 96
            feedback = item.rtp.codecs[0].rtcp_feedback
            assert RtcpFeedback("nack", "pli") in feedback
            assert RtcpFeedback("transport-cc") in feedback
            assert RtcpFeedback("goog-remb") not in feedback


@pytest.mark.parametrize("browser", BROWSERS)
def test_a_browsers_ice_restart(answer: Answer, browser: str) -> None:
    negotiation = SendNegotiation(CAPS)
    first, second = fixture(f"{browser}_send_media"), fixture(f"{browser}_send_restart")
    assert not negotiation.restarts_ice_untrusted(first)
    before = answer(first, negotiation)
    assert not negotiation.restarts_ice_untrusted(first)
    assert negotiation.restarts_ice_untrusted(second)
    after = answer(second, negotiation)
    assert after.ice_ufrag != before.ice_ufrag
    assert after.dtls == before.dtls
    assert [item.rtp for item in after.media] == [item.rtp for item in before.media]
    one, two = parse_untrusted(before.sdp), parse_untrusted(after.sdp)
    assert (two.session_id, two.version) == (one.session_id, one.version + 1)


def test_the_tagged_m_line_speaks_for_ice(answer: Answer) -> None:
    def split(description: Description) -> None:
        description.media[0].port = 0
        description.media[0].ice_ufrag = "others"

    negotiation = SendNegotiation(CAPS)
    assert answer(changed(split), negotiation).ice_ufrag == UFRAG
    assert not negotiation.restarts_ice_untrusted(changed(split))


def test_without_ssrc_lines_the_mid_has_to_do(answer: Answer) -> None:
    result = answer(offer(tracks=[Track("audio", "a")]))
    assert result.media[0].rtp.encodings == [RtpEncoding()]
    assert result.media[0].rtp.cname == ""


def test_an_inactive_m_line_is_kept_for_later(answer: Answer) -> None:
    negotiation = SendNegotiation(CAPS)
    result = answer(offer(tracks=[Track("audio", "a", active=False)]), negotiation)
    assert [item.active for item in result.media] == [False]
    assert parse_untrusted(result.sdp).media[0].direction == "inactive"
    result = answer(offer(tracks=[Track("audio", "a")]), negotiation)
    assert [item.active for item in result.media] == [True]


def test_what_we_cannot_do_gets_port_0(answer: Answer) -> None:
    def add(description: Description) -> None:
        data = MediaSection("application", 9, "UDP/DTLS/SCTP", ["webrtc-datachannel"], "d")
        description.media.insert(0, data)
        description.media.append(MediaSection("video", formats=["50"], mid="x", rtcp_mux=True))
        description.groups = [Group("BUNDLE", ["d", "0", "1", "2", "x"])]

    result = answer(changed(add))
    text = parse_untrusted(result.sdp)
    assert [section.port for section in text.media] == [0, 9, 9, 9, 0]
    assert text.media[0].formats == ["webrtc-datachannel"]
    assert text.bundle == ["0", "1", "2"]
    assert [item.index for item in result.media] == [1, 2, 3]
    assert text.media[1].candidates  # the tag moves to the first that is left


@pytest.mark.parametrize(
    ("setup", "ours", "theirs"),
    [("actpass", "passive", "client"), ("active", "passive", "client"), ("passive", "active", "server")],
)
def test_dtls_roles(answer: Answer, setup: str, ours: str, theirs: str) -> None:
    result = answer(offer(setup=setup))
    assert parse_untrusted(result.sdp).media[0].setup == ours
    assert result.dtls.role == theirs


def test_a_role_once_taken_stays(answer: Answer) -> None:
    negotiation = SendNegotiation(CAPS)
    answer(offer(setup="passive"), negotiation)
    result = answer(offer(setup="actpass"), negotiation)
    assert result.dtls.role == "server"
    assert parse_untrusted(result.sdp).media[0].setup == "active"
    with pytest.raises(NegotiationError, match="role has changed"):
        answer(offer(setup="active"), negotiation)


def test_another_certificate_needs_another_connection(answer: Answer) -> None:
    negotiation = SendNegotiation(CAPS)
    answer(offer(), negotiation)
    other = Certificate.generate(1_800_000_000.0)
    with pytest.raises(NegotiationError, match="certificate"):
        answer(send_offer(ufrag=UFRAG, pwd=PWD, fingerprint=other.fingerprint()), negotiation)
    assert answer(offer(), negotiation).media  # a refusal changes nothing


def test_m_lines_keep_their_places(answer: Answer) -> None:
    negotiation = SendNegotiation(CAPS)
    answer(offer(), negotiation)
    with pytest.raises(NegotiationError, match="fewer"):
        answer(offer(tracks=sdp_client.DEFAULT_TRACKS[:2]), negotiation)
    swapped = [Track("audio", "0"), Track("video", "2"), Track("video", "1")]
    with pytest.raises(NegotiationError, match="has become"):
        answer(offer(tracks=swapped), negotiation)
    more = [*sdp_client.DEFAULT_TRACKS, Track("video", "3", 4001)]
    assert len(answer(offer(tracks=more), negotiation).media) == 4


def test_a_rejected_place_may_be_used_again(answer: Answer) -> None:
    def stop(description: Description) -> None:
        description.media[1].port = 0
        description.groups = [Group("BUNDLE", ["0", "2"])]

    negotiation = SendNegotiation(CAPS)
    answer(offer(), negotiation)
    assert [item.mid for item in answer(changed(stop), negotiation).media] == ["0", "2"]
    again = [Track("audio", "0"), Track("video", "9"), Track("video", "2")]
    assert [item.mid for item in answer(offer(tracks=again), negotiation).media] == ["0", "9", "2"]


def test_of_simulcast_only_the_first_encoding(answer: Answer) -> None:
    def simulcast(description: Description) -> None:
        section = description.media[1]
        section.ssrcs = [SsrcAttribute(number, "cname", "c") for number in (1, 2, 3, 11, 12, 13)]
        pairs = [SsrcGroup("FID", [3, 13]), SsrcGroup("FID", [1, 11])]
        section.ssrc_groups = [pairs[0], SsrcGroup("SIM", [1, 2, 3]), pairs[1]]
        section.simulcast = "send f;h"

    result = answer(changed(simulcast))
    assert result.media[1].rtp.encodings == [RtpEncoding(1, 11)]
    assert "simulcast" not in result.sdp
    assert "a=rid" not in result.sdp


def test_extensions_beyond_the_one_byte_form_need_leave(answer: Answer) -> None:
    def big_id(description: Description) -> None:
        description.extmap_allow_mixed = False
        for section in description.media:
            section.extmap_allow_mixed = False
            section.extensions = [
                structs.replace(item, id=200) if "sdes:mid" in item.uri else item
                for item in section.extensions
            ]

    result = answer(changed(big_id))
    assert all(item.id != 200 for item in result.media[0].rtp.header_extensions)

    def allowed(description: Description) -> None:
        description.extmap_allow_mixed = True

    result = answer(changed(allowed, changed(big_id)))
    assert any(item.id == 200 for item in result.media[0].rtp.header_extensions)


def test_remb_where_transport_feedback_cannot_work(answer: Answer) -> None:
    def without(description: Description) -> None:
        for section in description.media:
            section.extensions = [item for item in section.extensions if "transport-wide" not in item.uri]

    feedback = answer(changed(without)).media[1].rtp.codecs[0].rtcp_feedback
    assert RtcpFeedback("goog-remb") in feedback
    assert RtcpFeedback("transport-cc") not in feedback


def _no_bundle(description: Description) -> None:
    description.groups = []


def _no_mux(description: Description) -> None:
    for section in description.media:
        section.rtcp_mux = False


def _no_ice(description: Description) -> None:
    for section in description.media:
        section.ice_ufrag = None


def _no_fingerprint(description: Description) -> None:
    for section in description.media:
        section.fingerprints = []


def _md5(description: Description) -> None:
    for section in description.media:
        section.fingerprints[0].algorithm = "md5"


def _many_fingerprints(description: Description) -> None:
    description.media[0].fingerprints *= 9


def _holdconn(description: Description) -> None:
    description.media[0].setup = "holdconn"


def _id_conflict(description: Description) -> None:
    description.media[1].extensions.append(ExtMap(description.media[0].extensions[0].id, "urn:other"))


def _ssrc_conflict(description: Description) -> None:
    description.media[2].ssrcs = description.media[1].ssrcs
    description.media[2].ssrc_groups = []


def _long_mid(description: Description) -> None:
    description.media = description.media[:1]
    description.media[0].mid = "m" * 17
    description.groups = [Group("BUNDLE", ["m" * 17])]


def _only_stopped(description: Description) -> None:
    for section in description.media:
        section.port = 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_no_bundle, "no bundled"),
        (_no_mux, "no bundled"),
        (_only_stopped, "no bundled"),
        (_long_mid, "no bundled"),
        (_no_ice, "ice-ufrag"),
        (_no_fingerprint, "fingerprint"),
        (_md5, "fingerprint"),
        (_many_fingerprints, "more than"),
        (_holdconn, "holdconn"),
        (_id_conflict, "means two things"),
        (_ssrc_conflict, "two streams"),
    ],
)
def test_offers_that_are_refused(answer: Answer, change: Callable[[Description], None], reason: str) -> None:
    with pytest.raises(NegotiationError, match=reason) as caught:
        answer(changed(change))
    assert caught.value.code == "bad_sdp"


def test_what_is_no_sdp_is_refused(answer: Answer) -> None:
    with pytest.raises(SdpError):
        answer("hello")


def test_bundle_only_is_no_rejection(answer: Answer) -> None:
    def only(description: Description) -> None:
        for section in description.media[1:]:
            section.port, section.bundle_only = 0, True

    result = answer(changed(only))
    assert len(result.media) == 3
    assert [section.port for section in parse_untrusted(result.sdp).media] == [9, 9, 9]
