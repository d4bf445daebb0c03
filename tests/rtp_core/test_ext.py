from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core import ext
from rtp_core.ext import ExtError, Kind

ONE, TWO = 0xBEDE, 0x1000
KEPT = {
    Kind.AUDIO_LEVEL,
    Kind.CSRC_AUDIO_LEVEL,
    Kind.ORIENTATION,
    Kind.PLAYOUT_DELAY,
    Kind.CONTENT_TYPE,
    Kind.VIDEO_TIMING,
    Kind.COLOR_SPACE,
    Kind.DEPENDENCY_DESCRIPTOR,
    Kind.ABS_CAPTURE_TIME,
    Kind.FRAME_MARKING,
}
FILLED_LATE = {Kind.MID, Kind.ABS_SEND_TIME, Kind.TRANSPORT_CC}


def read_back(block: bytes, map: ext.Map) -> dict[Kind, bytes]:
    assert len(block) % 4 == 0
    assert int.from_bytes(block[2:4], "big") * 4 == len(block) - 4
    return ext.parse_untrusted(block[4:], int.from_bytes(block[:2], "big"), map)


def test_each_uri_has_a_kind_and_each_kind_a_uri() -> None:
    assert set(ext.KIND_OF_URI.values()) == set(Kind)
    assert len(ext.KIND_OF_URI) == len(Kind)


def test_a_map_is_one_to_one() -> None:
    map = ext.Map({3: Kind.MID, 5: Kind.AUDIO_LEVEL})
    map.set(Kind.ORIENTATION, 3)
    assert map.as_dict() == {3: Kind.ORIENTATION, 5: Kind.AUDIO_LEVEL}
    map.set(Kind.ORIENTATION, 5)
    assert map.as_dict() == {5: Kind.ORIENTATION}
    assert map.ids() == {Kind.ORIENTATION: 5}
    map.set(Kind.ORIENTATION, 5)
    assert map.as_dict() == {5: Kind.ORIENTATION}


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.integers(1, 255)), max_size=40))
def test_both_directions_of_a_map_agree(pairs: list[tuple[Kind, int]]) -> None:
    map = ext.Map()
    model: dict[int, Kind] = {}
    for kind, id in pairs:
        map.set(kind, id)
        model = {i: k for i, k in model.items() if k is not kind and i != id} | {id: kind}
    assert map.as_dict() == model
    assert map.ids() == {kind: id for id, kind in model.items()}


@pytest.mark.parametrize(("kind", "id"), [(Kind.MID, 0), (Kind.MID, 256), (Kind.MID, -1), (0, 1), (18, 1)])
def test_a_map_refuses_what_cannot_be(kind: int, id: int) -> None:
    map = ext.Map({1: Kind.RID})
    with pytest.raises(ExtError):
        map.set(kind, id)
    assert map.as_dict() == {1: Kind.RID}


MAP = ext.Map({1: Kind.MID, 2: Kind.AUDIO_LEVEL, 14: Kind.ORIENTATION, 15: Kind.RID, 200: Kind.CONTENT_TYPE})


@pytest.mark.parametrize(
    ("hex", "profile", "expected"),
    [
        pytest.param("", ONE, {}, id="empty"),
        pytest.param("10 61 20 85", ONE, {Kind.MID: b"a", Kind.AUDIO_LEVEL: b"\x85"}, id="two elements"),
        pytest.param("00 10 61 00 20 85 00 00", ONE, {Kind.MID: b"a", Kind.AUDIO_LEVEL: b"\x85"}, id="pads"),
        pytest.param("30 99 10 61", ONE, {Kind.MID: b"a"}, id="unknown id skipped"),
        pytest.param("10 61 f0 62 20 85", ONE, {Kind.MID: b"a"}, id="15 ends the block"),
        pytest.param("10 61 01 00 00 20 85", ONE, {Kind.MID: b"a"}, id="0 with a length ends the block"),
        pytest.param("10 61 10 62", ONE, {Kind.MID: b"b"}, id="the last of two counts"),
        pytest.param("1f" + "41" * 16, ONE, {Kind.MID: b"A" * 16}, id="longest one-byte element"),
        pytest.param("01 01 61 02 01 85", TWO, {Kind.MID: b"a", Kind.AUDIO_LEVEL: b"\x85"}, id="two-byte"),
        pytest.param("00 01 00 00 c8 01 07", TWO, {Kind.MID: b"", Kind.CONTENT_TYPE: b"\x07"}, id="len 0"),
        pytest.param("0f 01 72", 0x100F, {Kind.RID: b"r"}, id="15 is an id; application bits"),
        pytest.param("01 ff" + "41" * 255, TWO, {Kind.MID: b"A" * 255}, id="longest two-byte element"),
    ],
)
def test_blocks_are_read(hex: str, profile: int, expected: dict[Kind, bytes]) -> None:
    assert ext.parse_untrusted(bytes.fromhex(hex), profile, MAP) == expected


@pytest.mark.parametrize(
    ("hex", "profile"),
    [("10 61 21 85", ONE), ("10 61 20", ONE), ("01 01 61 02", TWO), ("01 01 61 02 02 85", TWO)],
)
def test_of_a_truncated_block_the_beginning_counts(hex: str, profile: int) -> None:
    block = bytes.fromhex(hex)
    with pytest.raises(ExtError, match="truncated"):
        ext.parse_untrusted(block, profile, MAP)
    assert ext.parse_untrusted(block, profile, MAP, partial=True) == {Kind.MID: b"a"}


@pytest.mark.parametrize("profile", [0, 0xBEDF, 0x2000, 0x1010, 0xFFFF])
def test_other_profiles_are_left_alone(profile: int) -> None:
    with pytest.raises(ExtError, match="8285"):
        ext.parse_untrusted(b"\x10\x61\x00\x00", profile, MAP)
    assert ext.parse_untrusted(b"\x10\x61\x00\x00", profile, MAP, partial=True) == {}


def test_a_block_is_written_byte_for_byte() -> None:
    out = ext.Map({4: Kind.MID, 1: Kind.AUDIO_LEVEL, 2: Kind.ABS_SEND_TIME, 3: Kind.TRANSPORT_CC})
    block, send_time, sequence = ext.write(
        {Kind.AUDIO_LEVEL: b"\x9e", Kind.MID: b"producer"},
        out,
        mid=b"7",
        now_us=1_500_000,
        transport_sequence=0xABCD,
    )
    # MID, then the level, then 1.5 s as 6.18 (0x060000), then the number, then one byte of padding
    assert block.hex(" ") == "be de 00 03 40 37 10 9e 22 06 00 00 31 ab cd 00"
    assert (send_time, sequence) == (9, 13)


def test_two_byte_form_for_a_high_id_a_long_or_an_empty_element() -> None:
    assert ext.write({}, ext.Map({15: Kind.MID}), mid=b"a")[0].hex() == "10000001" + "0f016100"
    long = ext.write({Kind.DEPENDENCY_DESCRIPTOR: b"d" * 17}, ext.Map({1: Kind.DEPENDENCY_DESCRIPTOR}))[0]
    assert long[:6].hex() == "100000050111"
    empty = ext.write({Kind.COLOR_SPACE: b""}, ext.Map({1: Kind.COLOR_SPACE}))[0]
    assert empty.hex() == "10000001" + "01000000"


def test_nothing_negotiated_writes_nothing() -> None:
    assert ext.write({Kind.AUDIO_LEVEL: b"\x01"}, ext.Map(), mid=b"0") == (b"", -1, -1)
    assert ext.write({}, ext.Map({1: Kind.MID, 2: Kind.AUDIO_LEVEL})) == (b"", -1, -1)


elements = st.dictionaries(st.sampled_from(list(Kind)), st.binary(max_size=255))
maps = st.dictionaries(st.sampled_from(list(Kind)), st.integers(1, 255)).map(
    lambda kinds: ext.Map({id: kind for kind, id in kinds.items()})
)


@given(elements, maps, st.binary(max_size=255))
def test_what_is_written_is_read(values: dict[Kind, bytes], map: ext.Map, mid: bytes) -> None:
    block, send_time, sequence = ext.write(
        values, map, mid=mid, capacity=8000, now_us=0, transport_sequence=1
    )
    negotiated = set(map.ids())
    expected = {k: v for k, v in values.items() if k in negotiated & KEPT}
    if mid and Kind.MID in negotiated:
        expected[Kind.MID] = mid
    if Kind.ABS_SEND_TIME in negotiated:
        expected[Kind.ABS_SEND_TIME] = bytes(3)
        assert block[send_time : send_time + 3] == bytes(3)
    if Kind.TRANSPORT_CC in negotiated:
        expected[Kind.TRANSPORT_CC] = b"\x00\x01"
        assert block[sequence : sequence + 2] == b"\x00\x01"
    if not expected:
        assert block == b""
    else:
        assert read_back(block, map) == expected
        assert len(ext.write(values, map, mid=mid, capacity=len(block))[0]) == len(block)
        with pytest.raises(ExtError, match="room"):
            ext.write(values, map, mid=mid, capacity=len(block) - 1)


def test_what_speaks_of_the_sender_alone_is_not_forwarded() -> None:
    every = ext.Map(dict(enumerate(Kind, 1)))
    block, _, _ = ext.write(dict.fromkeys(Kind, b"\x01"), every, mid=b"m", capacity=500)
    assert set(read_back(block, every)) == KEPT | FILLED_LATE


@pytest.mark.parametrize(
    ("element", "expected"),
    [(b"\x00", (0, False)), (b"\xff", (127, True)), (b"\x85\x99", (5, True)), (b"", None)],
)
def test_audio_level(element: bytes, expected: tuple[int, bool] | None) -> None:
    assert ext.audio_level(element) == expected


@given(st.integers(0, 2**63 - 1))
def test_abs_send_time_is_six_dot_eighteen_seconds(now_us: int) -> None:
    assert ext.abs_send_time_at(now_us) == (now_us * 2**18 // 1_000_000) % 2**24
