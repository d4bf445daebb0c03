"""Offers of the client's receive connection, answered by real browsers and by the harness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from server.rtc.capabilities import (
    can_consume,
    codecs_of,
    extensions_of,
    payload_map,
    router_capabilities,
)
from server.rtc.certificate import Certificate
from server.rtc.description import RTP_PROTOCOL, Description, Msid, SsrcAttribute, SsrcGroup
from server.rtc.negotiation import NegotiationError, RecvNegotiation, SendNegotiation
from server.rtc.parameters import IceCandidate, IceParameters
from server.rtc.sdp import SdpError, parse_untrusted
from server.rtc.sections import media_section, put_candidates, put_transport, rejected_section
from tests.harness.sdp_client import recv_answer, remote_side
from tests.rtc.conftest import fixture

CAPS = router_capabilities()
PEER = Certificate.generate(1_800_000_000.0)
AUDIO = {codec.payload_type for codec in codecs_of("audio", CAPS)}
VIDEO = {codec.payload_type for codec in codecs_of("video", CAPS)}


class Connection:
    def __init__(self, ice: IceParameters, certificate: Certificate) -> None:
        self.negotiation = RecvNegotiation(CAPS)
        self.ice, self.certificate = ice, certificate

    def offer(self) -> str:
        return self.negotiation.offer(ice=self.ice, fingerprint=self.certificate.fingerprint())

    def add(self, kind: str, name: str, ssrc: int) -> str:
        mid = self.negotiation.add(kind, stream_id=name, track_id=f"{name}-{kind}")  # type: ignore[arg-type]
        self.negotiation.set_ssrc(mid, ssrc, ssrc + 1 if kind == "video" else None, name)
        return mid

    def settle(self, **options: object) -> None:
        self.negotiation.accept_untrusted(answer(self.offer(), **options))


def answer(offer: str, **options: object) -> str:
    return recv_answer(
        offer,
        ufrag="peerufrag",
        pwd="peer-password-of-some-length",
        fingerprint=PEER.fingerprint(),
        **options,  # type: ignore[arg-type]
    )


def changed(text: str, change: Callable[[Description], None]) -> str:
    description = parse_untrusted(text)
    change(description)
    return description.to_text()


@pytest.fixture
def connection(ice: IceParameters, certificate: Certificate) -> Connection:
    return Connection(ice, certificate)


def test_standby_has_one_idle_m_line(connection: Connection) -> None:
    text = connection.offer()
    (section,) = parse_untrusted(text).media
    assert (section.kind, section.direction, section.setup) == ("audio", "inactive", "actpass")
    assert section.candidates
    assert section.end_of_candidates
    assert remote_side(text) == (connection.ice, connection.certificate.fingerprint(), "client")
    result = connection.negotiation.accept_untrusted(answer(text))
    assert result.accepted == {}
    assert result.rejected == []
    assert result.dtls.role == "client"
    assert result.ice_ufrag == "peerufrag"


def test_media_takes_the_idle_m_line_and_then_new_ones(connection: Connection) -> None:
    assert [connection.add("audio", "ann", 1), connection.add("video", "ann", 10)] == ["0", "1"]
    text = connection.offer()
    audio, video = parse_untrusted(text).media
    assert audio.direction == video.direction == "sendonly"
    assert audio.msids == [Msid("ann", "ann-audio")]
    assert [(item.ssrc, item.name, item.value) for item in video.ssrcs] == [
        (10, "cname", "ann"),
        (11, "cname", "ann"),
    ]
    assert video.ssrc_groups[0].ssrcs == [10, 11]
    assert video.ssrc_groups[0].semantics == "FID"
    assert audio.ssrc_groups == []
    assert (len(audio.candidates), len(video.candidates)) == (3, 0)
    result = connection.negotiation.accept_untrusted(answer(text))
    assert result.accepted == {"0": AUDIO, "1": VIDEO}


@pytest.mark.parametrize(
    ("browser", "video"),
    [
        ("chromium", VIDEO - {108, 109}),
        ("firefox", {96, 97, 98, 99, 114, 115}),
    ],
)
def test_browsers_answers(connection: Connection, browser: str, video: set[int]) -> None:
    negotiation = connection.negotiation
    connection.offer()
    assert negotiation.accept_untrusted(fixture(f"{browser}_recv_idle")).accepted == {}
    connection.add("audio", "p1", 1111)
    connection.add("video", "p1", 2222)
    connection.offer()
    result = negotiation.accept_untrusted(fixture(f"{browser}_recv_active"))
    assert result.accepted == {"0": AUDIO, "1": video}
    assert result.rejected == []
    assert result.dtls.role == "client"


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_what_one_browser_sends_another_may_not_play(connection: Connection, browser: str) -> None:
    offer = fixture("chromium_send_media")
    sent = SendNegotiation(CAPS).answer(
        offer, ice=connection.ice, fingerprint=connection.certificate.fingerprint()
    )
    rtp = sent.media[1].rtp
    connection.add("audio", "p1", 1)
    connection.add("video", "p1", 10)
    connection.offer()
    accepted = connection.negotiation.accept_untrusted(fixture(f"{browser}_recv_active")).accepted["1"]
    assert can_consume(rtp, CAPS, accepted)  # VP8 comes first
    h264 = [codec for codec in rtp.codecs if codec.mime_type == "video/H264"]
    only = type(rtp)(rtp.mid, h264, rtp.header_extensions, rtp.encodings)
    assert can_consume(only, CAPS, accepted) is (browser == "chromium")
    assert set(payload_map(only, CAPS).values()) <= VIDEO


def test_a_slot_is_used_again_only_after_it_was_seen_inactive(connection: Connection) -> None:
    connection.add("audio", "ann", 1)
    ann = connection.add("video", "ann", 10)
    connection.settle()
    connection.negotiation.remove(ann)
    assert connection.add("video", "bob", 20) != ann  # too early
    text = connection.offer()
    _, removed, added = parse_untrusted(text).media
    assert (removed.direction, added.direction) == ("inactive", "sendonly")
    assert removed.msids == []
    assert removed.ssrcs == []
    result = connection.negotiation.accept_untrusted(answer(text))
    assert set(result.accepted) == {"0", "2"}
    assert connection.add("video", "cid", 30) == ann
    assert len(parse_untrusted(connection.offer()).media) == 3


def test_a_removal_after_the_offer_waits_for_the_next_one(connection: Connection) -> None:
    mid = connection.add("video", "ann", 10)
    text = connection.offer()
    connection.negotiation.remove(mid)
    result = connection.negotiation.accept_untrusted(answer(text))
    assert mid in result.accepted
    assert connection.add("video", "bob", 20) != mid


def test_slots_are_of_one_kind(connection: Connection) -> None:
    connection.settle()
    assert connection.add("video", "ann", 10) == "1"
    assert connection.add("audio", "ann", 1) == "0"


def test_unknown_and_idle_mids(connection: Connection) -> None:
    for mid in ("0", "7"):
        with pytest.raises(KeyError):
            connection.negotiation.remove(mid)
        with pytest.raises(KeyError):
            connection.negotiation.set_ssrc(mid, 1, None, "")


def test_a_newer_offer_supersedes(connection: Connection) -> None:
    old = connection.offer()
    connection.add("audio", "ann", 1)
    connection.add("video", "ann", 10)
    new = connection.offer()
    assert parse_untrusted(new).version == parse_untrusted(old).version + 1
    with pytest.raises(NegotiationError, match="m-lines"):
        connection.negotiation.accept_untrusted(answer(old))
    assert connection.negotiation.accept_untrusted(answer(new)).accepted


def test_an_answer_counts_once(connection: Connection) -> None:
    text = answer(connection.offer())
    connection.negotiation.accept_untrusted(text)
    with pytest.raises(NegotiationError, match="no offer"):
        connection.negotiation.accept_untrusted(text)


def test_a_refused_m_line_is_reported_and_never_used_again(connection: Connection) -> None:
    connection.add("audio", "ann", 1)
    refused = connection.add("video", "ann", 10)
    text = connection.offer()
    result = connection.negotiation.accept_untrusted(answer(text, reject=[refused]))
    assert set(result.accepted) == {"0"}
    assert result.rejected == [refused]
    assert connection.add("video", "bob", 20) == "2"
    sections = parse_untrusted(connection.offer()).media
    assert [section.port for section in sections] == [9, 0, 9]
    connection.settle()
    with pytest.raises(KeyError):
        connection.negotiation.remove(refused)


def test_a_new_tag_when_the_first_m_line_was_refused(connection: Connection) -> None:
    connection.add("audio", "ann", 1)
    connection.add("video", "ann", 10)
    connection.settle(reject=["0"])
    description = parse_untrusted(connection.offer())
    assert description.bundle == ["1"]
    assert [bool(section.candidates) for section in description.media] == [False, True]


def test_a_receiver_without_the_codecs(connection: Connection) -> None:
    connection.add("audio", "ann", 1)
    connection.add("video", "ann", 10)
    text = connection.offer()
    result = connection.negotiation.accept_untrusted(answer(text, without=["H264", "AV1", "VP9"]))
    assert result.accepted["1"] == {96, 97}


def test_declining_by_direction(connection: Connection) -> None:
    def decline(description: Description) -> None:
        description.media[0].direction = "inactive"

    connection.add("audio", "ann", 1)
    text = changed(answer(connection.offer()), decline)
    result = connection.negotiation.accept_untrusted(text)
    assert result.accepted == {}
    assert result.rejected == ["0"]


def test_payload_types_of_other_meaning_are_not_accepted(connection: Connection) -> None:
    def confuse(description: Description) -> None:
        section = description.media[1]
        section.rtpmaps = [
            structs.replace(item, encoding="VP9") if item.payload_type == 96 else item
            for item in section.rtpmaps
        ]

    connection.add("audio", "ann", 1)
    connection.add("video", "ann", 10)
    text = changed(answer(connection.offer()), confuse)
    accepted = connection.negotiation.accept_untrusted(text).accepted["1"]
    assert accepted == VIDEO - {96, 97}


def test_the_client_may_be_the_dtls_server(connection: Connection) -> None:
    result = connection.negotiation.accept_untrusted(answer(connection.offer(), setup="passive"))
    assert result.dtls.role == "server"
    with pytest.raises(NegotiationError, match="role has changed"):
        connection.settle(setup="active")


def _kinds(description: Description) -> None:
    description.media[0].kind = "video"


def _mid(description: Description) -> None:
    description.media[0].mid = "9"


def _no_mid(description: Description) -> None:
    description.media[0].mid = None


def _no_bundle(description: Description) -> None:
    description.groups = []


def _no_mux(description: Description) -> None:
    description.media[0].rtcp_mux = False


def _no_pwd(description: Description) -> None:
    description.media[0].ice_pwd = None


def _no_fingerprint(description: Description) -> None:
    description.media[0].fingerprints = []


def _actpass(description: Description) -> None:
    description.media[0].setup = "actpass"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_kinds, "another kind or mid"),
        (_mid, "another kind or mid"),
        (_no_mid, "no a=mid"),
        (_no_bundle, "no m-line of the bundle"),
        (_no_mux, "rtcp-mux"),
        (_no_pwd, "ice-ufrag"),
        (_no_fingerprint, "fingerprint"),
        (_actpass, "setup"),
    ],
)
def test_answers_that_are_refused(
    connection: Connection, change: Callable[[Description], None], reason: str
) -> None:
    good = answer(connection.offer())
    with pytest.raises(NegotiationError, match=reason):
        connection.negotiation.accept_untrusted(changed(good, change))
    with pytest.raises(SdpError):
        connection.negotiation.accept_untrusted("nonsense")
    assert connection.negotiation.accept_untrusted(good)  # a refusal changes nothing


def test_a_router_without_audio_idles_on_video(ice: IceParameters, certificate: Certificate) -> None:
    negotiation = RecvNegotiation(router_capabilities(["VP8"]))
    (section,) = parse_untrusted(negotiation.offer(ice=ice, fingerprint=certificate.fingerprint())).media
    assert section.kind == "video"
    with pytest.raises(ValueError, match="no audio codec"):
        negotiation.add("audio", stream_id="a", track_id="b")


def test_an_answer_without_any_m_line_is_refused(connection: Connection) -> None:
    connection.add("audio", "ann", 1)
    connection.add("video", "ann", 10)
    connection.settle(reject=["0"])
    text = connection.offer()
    with pytest.raises(NegotiationError, match="no m-line"):
        connection.negotiation.accept_untrusted(answer(text, reject=["1"]))
    assert connection.negotiation.accept_untrusted(answer(text)).accepted == {"1": VIDEO}


slots = st.lists(
    st.tuples(st.sampled_from(["add audio", "add video", "remove", "settle", "restart"]), st.integers(0, 5)),
    max_size=20,
)


@given(slots)
def test_an_offer_says_of_each_m_line_what_its_slot_is(steps: list[tuple[str, int]]) -> None:
    """It is put together of texts that many have in common; here, each section is written for itself."""
    ices = [
        IceParameters(f"ufrag{n}", "password-of-some-length", [IceCandidate("1", 9, "192.0.2.1", 5, "udp")])
        for n in range(2)
    ]
    connection = Connection(ices[0], PEER)
    used: list[str] = []
    for number, (step, which) in enumerate(steps):
        if step.startswith("add"):
            used.append(connection.add(step.removeprefix("add "), "ann", 10 * number + 1))
        elif step == "remove" and used:
            connection.negotiation.remove(used.pop(which % len(used)))
        elif step == "settle":
            connection.settle(reject=[used.pop(0)] if which == 5 and len(used) > 1 else ())
        elif step == "restart":
            connection.ice = ices[which % 2]
        slots = connection.negotiation._slots
        text = connection.offer()
        tag = next(slot for slot in slots if slot.state != "dead")
        sections = ["m=" + part for part in text.rstrip("\r\n").split("\r\nm=")[1:]]
        assert sections == ["\r\n".join(written(slot, connection, tag=slot is tag)) for slot in slots]


def written(slot: Any, connection: Connection, *, tag: bool) -> list[str]:
    codecs = codecs_of(slot.kind, CAPS)
    if slot.state == "dead":
        return rejected_section(slot.kind, RTP_PROTOCOL, [str(codecs[0].payload_type)], slot.mid).lines()
    section = media_section(slot.kind, slot.mid, codecs, extensions_of(slot.kind, CAPS))
    section.setup = "actpass"
    section.extmap_allow_mixed = True
    put_transport(section, connection.ice, connection.certificate.fingerprint())
    if tag:
        put_candidates(section, connection.ice)
    if slot.state == "active":
        section.direction = "sendonly"
        section.msids = [Msid(slot.stream_id, slot.track_id)]
        section.ssrcs = [SsrcAttribute(slot.ssrc, "cname", slot.cname)]
        if slot.rtx_ssrc is not None:
            section.ssrcs.append(SsrcAttribute(slot.rtx_ssrc, "cname", slot.cname))
            section.ssrc_groups = [SsrcGroup("FID", [slot.ssrc, slot.rtx_ssrc])]
    return section.lines()


@pytest.mark.parametrize("field", ["stream_id", "track_id", "cname"])
def test_nothing_is_smuggled_in(connection: Connection, field: str) -> None:
    names = {"stream_id": "stream", "track_id": "track", "cname": "name"} | {field: "a\r\na=sendrecv"}
    cname = names.pop("cname")
    before = connection.offer()
    with pytest.raises(ValueError, match="line break"):
        connection.negotiation.set_ssrc(connection.negotiation.add("audio", **names), 1, None, cname)
    if field != "cname":
        assert parse_untrusted(connection.offer()).media == parse_untrusted(before).media
