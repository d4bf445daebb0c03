"""The parser against hostile text, against itself, and against aiortc's on what browsers really write."""

from __future__ import annotations

import pytest
from aiortc import sdp as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from server.rtc import sdp
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
    SdpFingerprint,
    SsrcAttribute,
    SsrcGroup,
)
from server.rtc.sdp import (
    MAX_FORMATS,
    MAX_GROUP_SSRCS,
    MAX_LINE,
    MAX_LINES,
    MAX_SECTIONS,
    MAX_TEXT,
    SdpError,
    parse_parameters,
    parse_untrusted,
)
from tests.rtc.conftest import FIXTURES, fixture

NAMES = sorted(path.stem for path in FIXTURES.glob("*.sdp"))
MINIMAL = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
AUDIO = MINIMAL + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"

FINGERPRINT = SdpFingerprint("sha-256", "0A:" * 31 + "FF")

tokens = st.text("abcXYZ019-._~+", min_size=1, max_size=12)
ssrcs = st.integers(0, 2**32 - 1)
payload_types = st.integers(0, 127)
parameters = st.dictionaries(st.text("abc-", min_size=1), st.text("xyz019/,", max_size=8), max_size=4)
credentials = st.text("abcdefghij0123456789+/", min_size=22, max_size=40)
candidates = st.builds(
    Candidate,
    foundation=tokens,
    component=st.integers(1, 256),
    protocol=st.sampled_from(["udp", "tcp"]),
    priority=ssrcs,
    address=st.sampled_from(["192.0.2.1", "2001:db8::1", "b0b4f3f0.local"]),
    port=st.integers(0, 65535),
    type=st.sampled_from(["host", "srflx", "prflx", "relay"]),
    tcp_type=st.none() | st.sampled_from(["passive", "active", "so"]),
    related_address=st.none() | st.just("198.51.100.7"),
    related_port=st.none() | st.integers(0, 65535),
)
extmaps = st.builds(
    ExtMap, st.integers(1, 255), tokens, st.none() | st.sampled_from(["sendonly", "recvonly"]), tokens
)
sections = st.builds(
    MediaSection,
    kind=st.sampled_from(["audio", "video", "application"]),
    port=st.integers(0, 65535),
    formats=st.lists(payload_types.map(str), min_size=1, max_size=5),
    direction=st.sampled_from(["sendrecv", "sendonly", "recvonly", "inactive"]),
    rtpmaps=st.lists(
        st.builds(RtpMap, payload_types, tokens, st.integers(1, 2**32 - 1), st.none() | st.integers(1, 255))
    ),
    fmtps=st.dictionaries(payload_types, parameters, max_size=3),
    feedback=st.lists(st.builds(Feedback, st.none() | payload_types, tokens, st.just("") | tokens)),
    extensions=st.lists(extmaps),
    msids=st.lists(st.builds(Msid, tokens, st.just("") | tokens), max_size=2),
    ssrcs=st.lists(st.builds(SsrcAttribute, ssrcs, tokens, st.none() | st.just("") | tokens)),
    ssrc_groups=st.lists(st.builds(SsrcGroup, tokens, st.lists(ssrcs, max_size=MAX_GROUP_SSRCS))),
    rids=st.lists(st.builds(Rid, tokens, st.sampled_from(["send", "recv"]), st.just("") | tokens)),
    simulcast=st.none() | st.just("send f;h;q"),
    ice_ufrag=credentials,
    ice_pwd=credentials,
    ice_options=st.lists(tokens, max_size=2),
    candidates=st.lists(candidates, max_size=3),
    end_of_candidates=st.booleans(),
    fingerprints=st.lists(st.just(FINGERPRINT), max_size=2),
    setup=st.sampled_from([None, "active", "passive", "actpass", "holdconn"]),
    rtcp_mux=st.booleans(),
    rtcp_mux_only=st.booleans(),
    rtcp_rsize=st.booleans(),
    bundle_only=st.booleans(),
    extmap_allow_mixed=st.just(True),
)
descriptions = st.builds(
    Description,
    session_id=st.integers(0, 2**64 - 1),
    version=st.integers(0, 2**64 - 1),
    ice_lite=st.booleans(),
    ice_options=st.lists(tokens, max_size=2),
    groups=st.lists(st.builds(Group, tokens, st.lists(tokens, max_size=4)), max_size=2),
    extmap_allow_mixed=st.booleans(),
    media=st.lists(sections, max_size=3),
)


@settings(deadline=None)
@given(descriptions)
def test_what_is_written_is_read_back(description: Description) -> None:
    for index, section in enumerate(description.media):
        section.mid = str(index)
    assert parse_untrusted(description.to_text()) == description


@pytest.mark.parametrize("name", NAMES)
def test_browsers_descriptions_survive_the_way_through(name: str) -> None:
    first = parse_untrusted(fixture(name))
    assert parse_untrusted(first.to_text()) == first
    assert parse_untrusted(fixture(name).replace("\r\n", "\n")) == first


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_another_parser(name: str) -> None:
    ours, theirs = parse_untrusted(fixture(name)), oracle.SessionDescription.parse(fixture(name))
    bundle = [group.items for group in theirs.group if group.semantic == "BUNDLE"]
    assert [ours.bundle] == bundle
    assert len(ours.media) == len(theirs.media)
    for mine, other in zip(ours.media, theirs.media, strict=True):
        assert (mine.kind, mine.port, mine.protocol) == (other.kind, other.port, other.profile)
        assert mine.mid == other.rtp.muxId
        assert mine.direction == other.direction
        assert mine.formats == [str(number) for number in other.fmt]
        assert other.ice is not None
        assert (mine.ice_ufrag, mine.ice_pwd) == (other.ice.usernameFragment, other.ice.password)
        assert mine.rtcp_mux == other.rtcp_mux
        codecs = {(c.payloadType, c.name, c.clockRate, c.channels) for c in other.rtp.codecs}
        audio = mine.kind == "audio"
        assert {
            (c.payload_type, c.encoding, c.clock_rate, (c.channels or 1) if audio else None)
            for c in mine.rtpmaps
        } == codecs
        assert [(x.id, x.uri) for x in mine.extensions] == [(x.id, x.uri) for x in other.rtp.headerExtensions]
        assert [(group.semantics, group.ssrcs) for group in mine.ssrc_groups] == [
            (group.semantic, group.items) for group in other.ssrc_group
        ]
        assert {item.ssrc for item in mine.ssrcs} == {item.ssrc for item in other.ssrc}
        assert {item.value for item in mine.ssrcs if item.name == "cname"} == {x.cname for x in other.ssrc}
        assert [(f.algorithm, f.value) for f in mine.fingerprints] == [
            (f.algorithm, f.value.upper()) for f in (other.dtls.fingerprints if other.dtls else [])
        ]
        assert [(c.foundation, c.address, c.port, c.priority) for c in mine.candidates] == [
            (c.foundation, c.ip, c.port, c.priority) for c in other.ice_candidates
        ]
        feedback = {
            (c.payloadType, f.type, f.parameter or "") for c in other.rtp.codecs for f in c.rtcpFeedback
        }
        assert {(f.payload_type, f.type, f.parameter) for f in mine.feedback} == feedback


def test_a_browsers_offer_in_detail() -> None:
    description = parse_untrusted(fixture("chromium_send_restart"))
    audio, camera, screen = description.media
    assert (audio.kind, camera.kind, screen.kind) == ("audio", "video", "video")
    assert audio.direction == "sendonly"
    assert audio.setup == "actpass"
    assert audio.rtpmaps[0] == RtpMap(111, "opus", 48000, 2)
    assert audio.fmtps[111] == {"minptime": "10", "useinbandfec": "1"}
    assert camera.ssrc_groups[0].semantics == "FID"
    assert description.extmap_allow_mixed
    assert camera.extmap_allow_mixed


def test_session_level_attributes_are_handed_down() -> None:
    text = (
        MINIMAL
        + "a=fingerprint:SHA-256 "
        + "0a:" * 31
        + "ff\r\na=ice-ufrag:abcd\r\na=ice-pwd:"
        + "p" * 22
        + "\r\na=setup:active\r\na=recvonly\r\n"
        + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"
        + "m=video 9 UDP/TLS/RTP/SAVPF 1\r\na=sendonly\r\na=setup:passive\r\n"
    )
    audio, video = parse_untrusted(text).media
    assert (audio.direction, video.direction) == ("recvonly", "sendonly")
    assert (audio.setup, video.setup) == ("active", "passive")
    assert audio.ice_ufrag == video.ice_ufrag == "abcd"
    assert audio.fingerprints == video.fingerprints == [FINGERPRINT]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a=rtpmap:128 VP8/90000", "payload type"),
        ("a=rtpmap:96 VP8", "clock rate"),
        ("a=rtpmap:96 VP8/0", "clock rate"),
        ("a=rtpmap:96", "fields"),
        ("a=rtpmap:96 VP8/90000/1/2", "clock rate"),
        ("a=fmtp:x a=1", "payload type"),
        ("a=rtcp-fb:200 nack", "payload type"),
        ("a=extmap:0 urn:x", "extension id"),
        ("a=extmap:1/sideways urn:x", "direction"),
        ("a=ice-ufrag:abc", "ice-ufrag"),
        ("a=ice-ufrag:ab cd", "ice-ufrag"),
        ("a=ice-pwd:short", "ice-pwd"),
        ("a=ice-pwd:" + "p" * 257, "ice-pwd"),
        ("a=fingerprint:sha-256", "fields"),
        ("a=fingerprint:sha-256 0A:0", "hex"),
        ("a=setup:both", "setup"),
        ("a=mid:a b", "token"),
        ("a=ssrc:4294967296 cname:x", "SSRC"),
        ("a=ssrc:1", "attribute"),
        ("a=ssrc-group:FID " + "1 " * (MAX_GROUP_SSRCS + 1), "more than"),
        ("a=ssrc-group:FID -1", "SSRC"),
        ("a=rid:f up", "send or recv"),
        ("a=candidate:1 1 udp 1 192.0.2.1 99999 typ host", "port"),
        ("a=candidate:1 1 udp 1 192.0.2.1 9 tip host", "typ"),
        ("a=candidate:1 1 udp", "fields"),
        ("m=audio 9 UDP/TLS/RTP/SAVPF", "formats"),
        ("m=audio 65536 UDP/TLS/RTP/SAVPF 0", "port"),
        ("m=audio 9 UDP/TLS/RTP/SAVPF" + " 0" * (MAX_FORMATS + 1), "formats"),
        ("v=0", "second"),
        ("o=- x 1 IN IP4 127.0.0.1", "session id"),
        ("o=-", "six"),
        ("nonsense", "x=value"),
        ("a=mid:\x00", "control"),
        ("s=" + "x" * MAX_LINE, "longer"),
    ],
)
def test_a_bad_line_is_named(line: str, reason: str) -> None:
    with pytest.raises(SdpError) as caught:
        parse_untrusted(AUDIO + line + "\r\n")
    assert caught.value.line == 6
    assert reason in caught.value.reason
    assert caught.value.code == "bad_sdp"
    assert caught.value.field == "sdp"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("\r\n\r\n", "empty"),
        ("s=-\r\n", "v=0"),
        ("v=1\r\n", "v=0"),
        ("x" * (MAX_TEXT + 1), "longer"),
        ("\n" * MAX_LINES, "lines"),
        (MINIMAL + "m=audio 9 RTP 0\r\n" * (MAX_SECTIONS + 1), "sections"),
        (AUDIO + "a=mid:0\r\nm=video 9 X 0\r\na=mid:0\r\n", "same mid"),
    ],
)
def test_bad_texts_are_refused(text: str, reason: str) -> None:
    with pytest.raises(SdpError, match=reason):
        parse_untrusted(text)


def test_unknown_lines_and_attributes_mean_nothing() -> None:
    before, after = "v=0\r\nb=AS:500\r\nz=0\r\na=what:ever\r\n", "a=new-in-2030\r\nk=clear:x\r\ni=title\r\n"
    text = before + AUDIO.removeprefix("v=0\r\n") + after
    assert parse_untrusted(text) == parse_untrusted(AUDIO)


@settings(deadline=None)
@given(st.text(max_size=300) | st.text("mavo=: 0123456789/udiacnetr-\r\n", max_size=400).map(AUDIO.__add__))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        description = parse_untrusted(text)
    except SdpError:
        return
    description.to_text()


def test_nothing_can_be_smuggled_into_a_line() -> None:
    section = MediaSection("audio", formats=["0"], msids=[Msid("stream\r\na=candidate:evil", "track")])
    with pytest.raises(ValueError, match="line break"):
        Description(media=[section]).to_text()


def test_parameters() -> None:
    assert parse_parameters("a=1; b=x=y==;;c ; =no") == {"a": "1", "b": "x=y==", "c": ""}
    assert parse_parameters("111/111") == {"111/111": ""}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_remembered_of_a_line_is_nobodys_to_change(name: str) -> None:
    before = parse_untrusted(fixture(name)).to_text()
    changed = parse_untrusted(fixture(name))
    for section in changed.media:
        for parameters in section.fmtps.values():
            parameters["of-another-client"] = "1"
        section.rtpmaps.clear()
        section.feedback.clear()
        section.extensions.clear()
    assert parse_untrusted(fixture(name)).to_text() == before


def test_a_long_line_is_read_but_not_remembered() -> None:
    long = "x" * 300
    text = AUDIO + "a=rtpmap:111 opus/48000\r\n" + f"a=fmtp:111 key={long}\r\na=rtcp-fb:111 ack {long}\r\n"
    remembered = sdp._fmtp.cache_info().currsize, sdp._rtcp_fb.cache_info().currsize
    section = parse_untrusted(text).media[0]
    assert section.fmtps == {111: {"key": long}}
    assert section.feedback == [Feedback(111, "ack", long)]
    assert (sdp._fmtp.cache_info().currsize, sdp._rtcp_fb.cache_info().currsize) == remembered


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_codec_lines_says_what_its_lines_say(name: str) -> None:
    """Parted by lines that mean nothing, no two of them are read together."""
    lines = fixture(name).split("\r\n")
    apart = "\r\na=of-no-use\r\n".join(lines[3:])
    assert parse_untrusted("\r\n".join([*lines[:3], apart])) == parse_untrusted(fixture(name))


def test_a_run_that_was_read_before_counts_its_lines() -> None:
    run = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n" * 3
    good = AUDIO + run + "a=mid:0\r\n" + run
    assert len(parse_untrusted(good).media[0].rtpmaps) == 6
    for bad in ("a=ice-pwd:short\r\n", "a=rtpmap:1111 opus/48000\r\n", "a=rtpmap:111 \u2028\r\n"):
        with pytest.raises(SdpError) as caught:
            parse_untrusted(good + bad + run)
        assert caught.value.line == good.count("\n") + 1


def test_runs_are_remembered_within_bounds() -> None:
    before = sdp._codec_run.cache_info()
    long = "".join(f"a=rtpmap:111 x{number}/48000\r\n" for number in range(400))
    assert len(parse_untrusted(AUDIO + long).media[0].rtpmaps) == 400
    assert sdp._codec_run.cache_info().currsize == before.currsize
    assert before.maxsize == 128
    with pytest.raises(SdpError, match="longer than"):
        parse_untrusted(AUDIO + f"a=rtpmap:111 opus/48000\r\na=fmtp:111 {'x' * 5000}\r\n")


def test_before_the_first_section_codec_lines_mean_nothing() -> None:
    assert parse_untrusted(MINIMAL + "a=rtpmap:1 a/1\r\na=rtcp-fb:* nack\r\n").media == []
    with pytest.raises(SdpError, match="v=0 expected"):
        parse_untrusted("a=rtpmap:1 a/1\r\n" + AUDIO)


def test_every_control_character_is_found() -> None:
    for code in {*range(0x20), 0x7F} - {ord("\t"), ord("\n")}:
        text = AUDIO + f"a=x:{chr(code)}y\r\n"
        with pytest.raises(SdpError) as caught:
            parse_untrusted(text)
        assert (caught.value.line, caught.value.reason) == (6, "contains a control character")
    assert parse_untrusted(AUDIO + "a=x:\t\ud800\u0085é\r\n").media[0].kind == "audio"


def test_control_characters_are_refused_where_they_stand() -> None:
    for bad in ("\x00", "\x0b", "\r", "\x7f"):
        with pytest.raises(SdpError) as caught:
            parse_untrusted(AUDIO + f"a=rtpmap:111 op{bad}us/48000\r\n")
        assert (caught.value.line, caught.value.reason) == (6, "contains a control character")
