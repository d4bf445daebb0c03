from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core.keyframe import CODECS, Throttle, flags, spare

MS = 1000
NOTHING, START, KEY = (False, False), (True, False), (True, True)

CASES = [
    # RFC 7741: descriptor, then the frame tag, whose lowest bit is 0 in a key frame
    ("VP8", "10 00", KEY, "S"),
    ("VP8", "10 01", START, "S, interframe"),
    ("VP8", "00 00", NOTHING, "continuation"),
    ("VP8", "11 00", NOTHING, "second partition"),
    ("VP8", "30 00", KEY, "non-reference bit"),
    ("VP8", "90 80 11 00", KEY, "7-bit picture id"),
    ("VP8", "90 80 91 22 00", KEY, "15-bit picture id"),
    ("VP8", "90 e0 91 22 33 44 01", START, "I, L, T"),
    ("VP8", "90 e0 91 22 33 44 00", KEY, "I, L, T"),
    ("VP8", "90 f0 11 22 33 00", KEY, "T and K share a byte"),
    ("VP8", "90 10 45 00", KEY, "K"),
    ("VP8", "90 00 00", KEY, "X with nothing in it"),
    ("VP8", "10", NOTHING, "descriptor alone"),
    ("VP8", "90", NOTHING, "extension cut"),
    ("VP8", "90 80", NOTHING, "picture id cut"),
    ("VP8", "90 80 91", NOTHING, "long picture id cut"),
    ("VP8", "90 80 91 22", NOTHING, "no payload"),
    ("VP8", "90 e0 91 22 33 44", NOTHING, "no payload"),
    # RFC 9628: I P L F B E V Z
    ("VP9", "08 00", KEY, "B"),
    ("VP9", "0c 00", KEY, "B and E"),
    ("VP9", "48 00", START, "P"),
    ("VP9", "04 00", NOTHING, "no B"),
    ("VP9", "88 11 00", KEY, "7-bit picture id"),
    ("VP9", "88 91 22 00", KEY, "15-bit picture id"),
    ("VP9", "a8 91 22 00 05 00", KEY, "layers, non-flexible"),
    ("VP9", "a8 91 22 02 05 00", START, "spatial layer 1 is not the key frame's start"),
    ("VP9", "b8 91 22 00 00", KEY, "layers, flexible"),
    ("VP9", "d8 11 02 00", START, "flexible, one reference"),
    ("VP9", "d8 11 03 03 02 00", START, "flexible, three references"),
    ("VP9", "d8 11 03 03 03 00", NOTHING, "a fourth reference"),
    ("VP9", "d8 11 03", NOTHING, "references cut"),
    ("VP9", "8a 11 18 00", KEY, "scalability structure"),
    ("VP9", "08", NOTHING, "descriptor alone"),
    ("VP9", "88", NOTHING, "picture id cut"),
    ("VP9", "a8 11", NOTHING, "layers cut"),
    ("VP9", "a8 11 00 05", NOTHING, "no payload"),
    # RFC 6184
    ("H264", "65 88", KEY, "IDR, first slice"),
    ("H264", "65 48", NOTHING, "IDR, a further slice"),
    ("H264", "41 9a", START, "slice, first"),
    ("H264", "41 5a", NOTHING, "slice, a further one"),
    ("H264", "67 42", KEY, "SPS"),
    ("H264", "68 ce", NOTHING, "PPS"),
    ("H264", "09 f0", START, "delimiter"),
    ("H264", "78 0002 6742 0002 68ce 0002 6588", KEY, "STAP-A of SPS, PPS, IDR"),
    ("H264", "78 0002 09f0 0002 419a", START, "STAP-A of delimiter, slice"),
    ("H264", "78 0002 68ce", NOTHING, "STAP-A of PPS"),
    ("H264", "78 0001 67", KEY, "STAP-A of one byte"),
    ("H264", "78 0002 6742 0000", NOTHING, "STAP-A with an empty unit"),
    ("H264", "78 0002 6742 0003 68ce", NOTHING, "STAP-A with a unit cut"),
    ("H264", "78 0002 6742 00", NOTHING, "STAP-A with a length cut"),
    ("H264", "78 00", NOTHING, "STAP-A of nothing"),
    ("H264", "7c 85 88", KEY, "FU-A, start of an IDR"),
    ("H264", "7c 05 88", NOTHING, "FU-A, middle of an IDR"),
    ("H264", "7c 45 88", NOTHING, "FU-A, end of an IDR"),
    ("H264", "5c 81 9a", START, "FU-A, start of a slice"),
    ("H264", "5c 87 42", KEY, "FU-A, start of an SPS"),
    ("H264", "7c 85", NOTHING, "FU-A of nothing"),
    ("H264", "65", NOTHING, "one byte"),
    ("H264", "79 0001 67", NOTHING, "STAP-B is not used"),
    # AV1: Z Y W W N, then OBU elements
    ("AV1", "18 0a 01", KEY, "N, W 1, sequence header"),
    ("AV1", "28 02 0a01 32 10", KEY, "N, W 2"),
    ("AV1", "08 02 0a01", KEY, "N, W 0"),
    ("AV1", "10 0a 01", KEY, "sequence header without N"),
    ("AV1", "10 32 01", START, "frame"),
    ("AV1", "10 1a 01", START, "frame header"),
    ("AV1", "10 12", START, "temporal delimiter"),
    ("AV1", "10 22 01", NOTHING, "tile group"),
    ("AV1", "10 2a 01", NOTHING, "metadata"),
    ("AV1", "98 0a 01", NOTHING, "continuation"),
    ("AV1", "90 32 01", NOTHING, "continuation"),
    ("AV1", "10 8a 01", NOTHING, "forbidden bit"),
    ("AV1", "00 8100 32", START, "a length in two bytes"),
    ("AV1", "00 02 32", NOTHING, "element cut"),
    ("AV1", "00 00 32", NOTHING, "empty element"),
    ("AV1", "00 80", NOTHING, "length cut"),
    ("AV1", "00 8080808001 32", NOTHING, "length without end"),
    ("AV1", "18", NOTHING, "one byte"),
    ("OPUS", "10 00", NOTHING, "not video"),
]


@pytest.mark.parametrize(
    ("codec", "payload", "expected"), [pytest.param(*c[:3], id=f"{c[0]} {c[3]}") for c in CASES]
)
def test_flags(codec: str, payload: str, expected: tuple[bool, bool]) -> None:
    assert flags(codec, bytes.fromhex(payload)) == expected


@pytest.mark.parametrize("codec", [*CODECS, "OPUS"])
def test_nothing(codec: str) -> None:
    assert flags(codec, b"") == NOTHING


@given(codec=st.sampled_from(sorted(CODECS)), payload=st.binary(max_size=24))
def test_a_key_frame_always_starts_a_frame(codec: str, payload: bytes) -> None:
    start, key = flags(codec, payload)
    assert start or not key


def test_first_request_goes_at_once_and_the_next_waits() -> None:
    throttle = Throttle()
    assert throttle.deadline is None
    assert throttle.request(0)
    assert not throttle.request(1)
    assert throttle.deadline == 500 * MS
    throttle.arrived()
    assert throttle.deadline is None
    assert not throttle.request(499 * MS)
    assert throttle.deadline == 500 * MS
    assert not throttle.due(499 * MS)
    assert throttle.due(500 * MS)
    throttle.arrived()
    assert throttle.request(1000 * MS)


def test_repeats_until_a_key_frame_comes() -> None:
    throttle = Throttle()
    throttle.request(0)
    assert [now for now in range(0, 2000 * MS, MS) if throttle.due(now)] == [500 * MS, 1000 * MS, 1500 * MS]
    throttle.arrived()
    assert not throttle.due(5000 * MS)


def test_gives_up_and_begins_anew_when_wanted_again() -> None:
    throttle = Throttle()
    throttle.request(0)
    sent = [now for now in range(0, 20_000 * MS, 10 * MS) if throttle.due(now)]
    assert len(sent) == 19
    assert throttle.deadline is None
    assert throttle.request(20_000 * MS)
    assert throttle.deadline == 20_500 * MS


def test_a_newcomer_does_not_wait_for_the_whole_interval() -> None:
    throttle = Throttle()
    assert throttle.request(0)
    throttle.arrived()
    assert not throttle.request(30 * MS, new=True)
    assert throttle.deadline == 100 * MS
    assert throttle.due(100 * MS)
    assert throttle.deadline == 600 * MS, "a repetition waits for the whole of it"
    throttle.arrived()
    assert throttle.request(250 * MS, new=True), "its time is over already"


def test_a_newcomer_takes_what_is_on_its_way() -> None:
    throttle = Throttle()
    throttle.request(0)
    assert not throttle.request(50 * MS, new=True)
    assert throttle.deadline == 500 * MS


def test_a_newcomer_hastens_what_is_still_to_be_asked() -> None:
    throttle = Throttle()
    throttle.request(0)
    throttle.arrived()
    assert not throttle.request(10 * MS)
    assert throttle.deadline == 500 * MS
    assert not throttle.request(20 * MS, new=True)
    assert throttle.deadline == 100 * MS


def test_newcomers_in_a_row_are_few() -> None:
    """Someone new each 10 ms for a minute, each key frame there at once: five soon, then two a second."""
    throttle, sent = Throttle(), []
    for now in range(0, 60_000 * MS, 10 * MS):
        if throttle.request(now, new=True) or throttle.due(now):
            sent.append(now)
            throttle.arrived()
    assert [b - a for a, b in pairwise(sent[:6])] == [100 * MS] * 5
    assert len([one for one in sent if one >= 10_000 * MS]) <= 101 + 25
    assert all(b - a >= 100 * MS for a, b in pairwise(sent))


SPARE = [
    ("VP8", "30 00", True, "N, start of a frame"),
    ("VP8", "20 00", True, "N, inside of a frame"),
    ("VP8", "10 00", False, "a frame that others refer to"),
    ("H264", "01 9a", True, "slice with nal_ref_idc 0"),
    ("H264", "41 9a", False, "slice with nal_ref_idc 2"),
    ("H264", "1c 81 9a", True, "FU-A of such a slice"),
    ("H264", "5c 81 9a", False, "FU-A of one that is referred to"),
    ("H264", "18 00 02 01 9a", True, "STAP-A of such slices: its nal_ref_idc is their highest"),
    ("H264", "06 05", False, "SEI has nal_ref_idc 0 and is no frame"),
    ("H264", "09 10", False, "a delimiter neither"),
    ("VP9", "28 00", False, "not told by one packet"),
    ("AV1", "20 32", False, "nor here"),
]


@pytest.mark.parametrize(
    ("codec", "payload", "expected"), [pytest.param(*c[:3], id=f"{c[0]} {c[3]}") for c in SPARE]
)
def test_frames_that_no_other_needs(codec: str, payload: str, expected: bool) -> None:
    assert spare(codec, bytes.fromhex(payload)) is expected


def test_nothing_is_not_spare() -> None:
    assert not any(spare(codec, b"") for codec in CODECS)


@given(
    st.lists(
        st.tuples(st.sampled_from(["request", "due", "arrived"]), st.integers(0, 300 * MS)), max_size=100
    )
)
def test_never_twice_within_the_interval(events: list[tuple[str, int]]) -> None:
    throttle = Throttle()
    now, sent = 0, []
    for event, wait in events:
        now += wait
        if event == "arrived":
            throttle.arrived()
        elif throttle.request(now) if event == "request" else throttle.due(now):
            sent.append(now)
    assert all(b - a >= 500 * MS for a, b in pairwise(sent))
