from __future__ import annotations

import pytest

from server.errors import ConfigError
from server.rtc.capabilities import (
    DEFAULT_CODECS,
    MID_URI,
    can_consume,
    codecs_of,
    extension_map,
    extensions_of,
    match,
    payload_map,
    router_capabilities,
)
from server.rtc.h264 import profile, same_profile
from server.rtc.parameters import HeaderExtension, RtcpFeedback, RtpCodec, RtpEncoding, RtpParameters

CAPS = router_capabilities()


def video(name: str, payload_type: int = 96, **parameters: str | int) -> RtpCodec:
    named = {key.replace("_", "-"): value for key, value in parameters.items()}
    return RtpCodec(f"video/{name}", payload_type, 90000, None, named)


def sends(*codecs: RtpCodec, extensions: list[HeaderExtension] | None = None) -> RtpParameters:
    return RtpParameters("0", list(codecs), extensions or [], [RtpEncoding()])


def test_payload_types_are_distinct_and_dynamic() -> None:
    numbers = [codec.payload_type for codec in CAPS.codecs]
    assert len(set(numbers)) == len(numbers)
    assert all(96 <= number <= 127 for number in numbers)


def test_every_video_codec_has_its_rtx_and_audio_has_none() -> None:
    rtx = {codec.parameters["apt"] for codec in CAPS.codecs if codec.is_rtx}
    assert rtx == {codec.payload_type for codec in codecs_of("video", CAPS) if not codec.is_rtx}
    assert [codec.mime_type for codec in codecs_of("audio", CAPS)] == ["audio/opus"]


def test_payload_types_do_not_depend_on_the_configuration() -> None:
    everything = {codec.payload_type: codec for codec in CAPS.codecs}
    for name in DEFAULT_CODECS:
        for codec in router_capabilities([name]).codecs:
            assert everything[codec.payload_type] == codec


def test_order_and_case_of_the_configuration() -> None:
    names = [c.mime_type for c in router_capabilities(["h264", "OPUS", "vp8"]).codecs if not c.is_rtx]
    assert list(dict.fromkeys(names)) == ["video/H264", "audio/opus", "video/VP8"]


@pytest.mark.parametrize(
    ("codecs", "reason"), [(["G722"], "unknown codec 'G722'"), (["VP8", "vp8"], "twice")]
)
def test_a_bad_configuration_is_named(codecs: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        router_capabilities(codecs)


def test_extensions_by_kind_fit_the_one_byte_form() -> None:
    assert all(1 <= item.id <= 14 for item in CAPS.header_extensions)
    audio = {item.uri for item in extensions_of("audio", CAPS)}
    assert MID_URI in audio
    assert "urn:ietf:params:rtp-hdrext:ssrc-audio-level" in audio
    assert "urn:3gpp:video-orientation" not in audio


def test_feedback_of_video() -> None:
    vp8 = next(codec for codec in CAPS.codecs if codec.mime_type == "video/VP8")
    assert RtcpFeedback("nack", "pli") in vp8.rtcp_feedback
    assert RtcpFeedback("transport-cc") in vp8.rtcp_feedback


def test_capabilities_as_the_database_keeps_them() -> None:
    stored = CAPS.to_json()
    assert stored["codecs"][0]["mimeType"] == "audio/opus"
    assert stored["codecs"][0]["payloadType"] == 111
    assert stored["headerExtensions"][0] == {"uri": MID_URI, "id": 1}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("42e01f", "constrained-baseline"),
        ("42E034", "constrained-baseline"),
        ("42c01f", "constrained-baseline"),
        ("4d801f", "constrained-baseline"),
        ("58f01f", "constrained-baseline"),
        ("42001f", "baseline"),
        ("58a01f", "baseline"),
        ("4d001f", "main"),
        ("64001f", "high"),
        ("640c1f", "constrained-high"),
        ("f4001f", "high-4:4:4"),
        ("", "constrained-baseline"),
        ("42e01", None),
        ("zz001f", None),
        ("99001f", None),
        ("42e11f", None),
    ],
)
def test_h264_profiles(text: str, name: str | None) -> None:
    assert profile(text) == name


def test_unknown_h264_profiles_match_nothing() -> None:
    assert not same_profile("99001f", "99001f")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (video("VP8"), video("vp8", 120), True),
        (video("VP8"), video("VP9"), False),
        (video("VP9"), video("VP9", profile_id=0), True),
        (video("VP9", profile_id=2), video("VP9"), False),
        (video("VP9", profile_id=2), video("VP9", profile_id="2"), True),
        (video("AV1"), video("AV1", profile=0), True),
        (video("AV1", profile=1), video("AV1", profile=0), False),
        (
            video("H264", packetization_mode=1, profile_level_id="42e01f"),
            video("H264", packetization_mode=1, profile_level_id="42e034"),
            True,
        ),
        (
            video("H264", packetization_mode=1, profile_level_id="42e01f"),
            video("H264", profile_level_id="42e01f"),
            False,
        ),
        (
            video("H264", packetization_mode=1, profile_level_id="42e01f"),
            video("H264", packetization_mode=1, profile_level_id="4d001f"),
            False,
        ),
        (video("rtx", apt=96), video("rtx", apt=96), False),
        (RtpCodec("audio/opus", 111, 48000, 2), RtpCodec("audio/opus", 109, 48000, 2), True),
        (RtpCodec("audio/opus", 111, 48000, 2), RtpCodec("audio/opus", 109, 48000), False),
        (RtpCodec("audio/opus", 111, 48000, 2), RtpCodec("audio/opus", 109, 16000, 2), False),
    ],
)
def test_match(a: RtpCodec, b: RtpCodec, same: bool) -> None:
    assert match(a, b) is same
    assert match(b, a) is same


def test_payload_map_takes_rtx_along() -> None:
    rtp = sends(
        video("VP8", 120),
        video("rtx", 124, apt=120),
        video("H264", 126, packetization_mode=1, profile_level_id="42e01f"),
        video("rtx", 127, apt=126),
        video("VP7", 50),
        video("rtx", 51, apt=50),
        video("rtx", 52, apt="x"),
    )
    assert payload_map(rtp, CAPS) == {120: 96, 124: 97, 126: 102, 127: 103}


def test_extension_map() -> None:
    rtp = sends(extensions=[HeaderExtension(MID_URI, 9), HeaderExtension("urn:unknown", 3)])
    assert extension_map(rtp, CAPS) == {9: 1}


def test_can_consume_goes_by_the_first_codec() -> None:
    vp9_first = sends(video("rtx", 99, apt=98), video("VP9", 98), video("VP8", 120))
    assert can_consume(vp9_first, CAPS, {98})
    assert not can_consume(vp9_first, CAPS, {96, 97})
    assert not can_consume(sends(video("VP7")), CAPS, {96, 98})
    assert not can_consume(sends(), CAPS, {96})
