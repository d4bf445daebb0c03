from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core import rtp
from rtp_core.rtp import Kind, RtpError

EDGES = (0, 1, 127, 32767, 32768, 65535)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)


def packet(
    *, payload: bytes = b"payload", csrcs: int = 0, extension: bytes | None = None, padding: int = 0
) -> bytes:
    """A packet built by hand, so that the parser isn't tested with its own builder."""
    first = 0x80 | csrcs | (0x10 if extension is not None else 0) | (0x20 if padding else 0)
    out = bytes((first, 0x80 | 96)) + bytes.fromhex("1234 89abcdef 01020304") + bytes(range(4 * csrcs))
    if extension is not None:
        out += b"\xbe\xde" + (len(extension) // 4).to_bytes(2, "big") + extension
    return out + payload + (bytes(padding - 1) + bytes((padding,)) if padding else b"")


def expected_kind(first: int, second: int) -> Kind:
    """RFC 9443 section 2, figure 1, and RFC 5761 section 4."""
    for low, high, kind in (
        (0, 3, Kind.STUN),
        (16, 19, Kind.ZRTP),
        (20, 63, Kind.DTLS),
        (64, 79, Kind.TURN_CHANNEL),
        (80, 127, Kind.QUIC),
        (192, 255, Kind.QUIC),
    ):
        if low <= first <= high:
            return kind
    if first < 128:
        return Kind.UNKNOWN
    return Kind.RTCP if 192 <= second <= 223 else Kind.RTP


def test_every_pair_of_first_bytes_has_its_protocol() -> None:
    for first in range(256):
        for second in range(256):
            assert rtp.kind_of(bytes((first, second))) is expected_kind(first, second)


def test_a_datagram_too_short_to_tell_is_unknown() -> None:
    assert rtp.kind_of(b"") is Kind.UNKNOWN
    assert rtp.kind_of(b"\x80") is Kind.UNKNOWN
    assert rtp.kind_of(b"\x00") is Kind.STUN


def test_marker_and_payload_type_of_rtp_stay_clear_of_rtcp() -> None:
    """Payload types 64..95 with a marker look like RTCP: RFC 5761 forbids them for that reason."""
    assert rtp.kind_of(bytes((0x80, 0x80 | 111))) is Kind.RTP
    assert rtp.kind_of(bytes((0x80, 200))) is Kind.RTCP


def test_fields_of_a_full_header() -> None:
    data = packet(csrcs=3, extension=bytes(8), padding=5)
    header = rtp.parse_untrusted(data)
    assert header == rtp.Header(
        payload_type=96,
        marker=True,
        sequence=0x1234,
        timestamp=0x89ABCDEF,
        ssrc=0x01020304,
        csrc_count=3,
        has_extension=True,
        extension_profile=0xBEDE,
        extension_offset=28,
        extension_len=8,
        header_len=36,
        payload_len=7,
        padding=5,
    )
    assert data[header.header_len : header.header_len + header.payload_len] == b"payload"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (packet()[:11], "truncated"),
        (b"\x40" + packet()[1:], "version"),
        (b"\xc0" + packet()[1:], "version"),
        (packet(csrcs=15, payload=b"")[:-1], "truncated"),
        (packet(extension=b"", payload=b"")[:-1], "truncated"),
        (packet(extension=bytes(4), payload=b"")[:-1], "truncated"),
        (packet(extension=b"", payload=b"")[:-2] + b"\xff\xff", "truncated"),
        (b"\xa0" + packet(payload=b"")[1:], "padding"),
        (b"\xa0" + packet(payload=b"\x00")[1:], "padding"),
        (b"\xa0" + packet(payload=b"\x02")[1:], "padding"),
        (b"\xa0" + packet(payload=b"\xff" * 254)[1:], "padding"),
    ],
)
def test_malformed_packets_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(RtpError, match=why):
        rtp.parse_untrusted(data)


def test_a_payload_may_be_all_padding() -> None:
    header = rtp.parse_untrusted(packet(payload=b"", padding=255))
    assert (header.payload_len, header.padding) == (0, 255)


def test_an_encrypted_packets_last_byte_is_not_read_as_padding() -> None:
    data = b"\xa0" + packet(payload=b"\xff")[1:]
    header = rtp.parse_untrusted(data, encrypted=True)
    assert (header.payload_len, header.padding) == (1, 0)


@given(st.integers(0, 15), st.none() | st.integers(0, 20), st.binary(max_size=40), st.integers(0, 30))
def test_every_cut_of_a_packet_is_parsed_or_refused(
    csrcs: int, words: int | None, payload: bytes, padding: int
) -> None:
    extension = None if words is None else bytes(4 * words)
    data = packet(csrcs=csrcs, extension=extension, payload=payload, padding=padding)
    header_len = 12 + 4 * csrcs + (0 if words is None else 4 + 4 * words)
    whole = rtp.parse_untrusted(data)
    assert (whole.header_len, whole.payload_len, whole.padding) == (header_len, len(payload), padding)
    for cut in range(len(data)):
        if cut < header_len:
            with pytest.raises(RtpError, match="truncated"):
                rtp.parse_untrusted(data[:cut], encrypted=True)
        else:
            assert rtp.parse_untrusted(data[:cut], encrypted=True).payload_len == cut - header_len


@given(st.integers(0, 127), st.booleans(), u16, u32, u32, st.binary(max_size=30))
def test_what_is_built_is_parsed(
    payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int, payload: bytes
) -> None:
    for extension in (b"", b"\xbe\xde\x00\x01abcd"):
        data = rtp.build(
            payload_type=payload_type,
            marker=marker,
            sequence=sequence,
            timestamp=timestamp,
            ssrc=ssrc,
            payload=payload,
            extension=extension,
        )
        header = rtp.parse_untrusted(data)
        assert header[:5] == (payload_type, marker, sequence, timestamp, ssrc)
        assert header.has_extension is bool(extension)
        assert data[header.header_len :] == payload


@given(st.binary(min_size=8, max_size=12))
def test_byte_order_is_the_networks_at_any_alignment(data: bytes) -> None:
    sizes = (2, 3, 4, 8)
    *numbers, written = rtp.byte_order(memoryview(data)[len(data) - 8 :])
    tail = data[len(data) - 8 :]
    assert numbers == [int.from_bytes(tail[:size], "big") for size in sizes]
    assert written == b"".join(tail[:size] for size in sizes)


@given(u16, u16)
def test_sequence_difference_is_the_short_way_round(a: int, b: int) -> None:
    diff = rtp.sequence_diff(a, b)
    assert -32768 <= diff <= 32767
    assert (b + diff) % 65536 == a
    assert rtp.sequence_newer(a, b) == (diff > 0)


@given(u32, u32)
def test_timestamp_difference_is_the_short_way_round(a: int, b: int) -> None:
    diff = rtp.timestamp_diff(a, b)
    assert -(2**31) <= diff < 2**31
    assert (b + diff) % 2**32 == a
    assert rtp.timestamp_newer(a, b) == (diff > 0)


@pytest.mark.parametrize("edge", EDGES)
def test_neighbours_are_ordered_at_every_edge(edge: int) -> None:
    after = (edge + 1) % 65536
    assert rtp.sequence_newer(after, edge)
    assert not rtp.sequence_newer(edge, after)
    assert not rtp.sequence_newer(edge, edge)
    opposite = (edge + 32768) % 65536
    assert not rtp.sequence_newer(edge, opposite), "exactly half the circle is older, both ways"
    assert not rtp.sequence_newer(opposite, edge)


@given(u16, st.lists(st.integers(-32768, 32767), max_size=50))
def test_unwrapping_follows_a_walk_of_any_length(start: int, steps: list[int]) -> None:
    """A model that knows the true index: each step is taken from the highest one so far."""
    unwrapper = rtp.SequenceUnwrapper()
    assert unwrapper.unwrap(start) == start
    highest = start
    for step in steps:
        index = highest + step
        assert unwrapper.unwrap(index % 65536) == index
        highest = max(highest, index)


@given(u32, st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20))
def test_timestamps_unwrap_in_the_same_way(start: int, steps: list[int]) -> None:
    unwrapper = rtp.TimestampUnwrapper()
    assert unwrapper.unwrap(start) == start
    highest = start
    for step in steps:
        assert unwrapper.unwrap((highest + step) % 2**32) == highest + step
        highest = max(highest, highest + step)


def test_many_wraps_are_counted() -> None:
    unwrapper = rtp.SequenceUnwrapper()
    for index in range(0, 5 * 65536, 1000):
        assert unwrapper.unwrap(index % 65536) == index


@given(st.integers(0, 15), st.none() | st.integers(0, 5), st.binary(max_size=30), st.integers(0, 9), u16, u32)
def test_rtx_there_and_back(
    csrcs: int, words: int | None, payload: bytes, padding: int, sequence: int, ssrc: int
) -> None:
    data = packet(
        csrcs=csrcs, extension=None if words is None else bytes(4 * words), payload=payload, padding=padding
    )
    wrapped = rtp.wrap_rtx(data, payload_type=97, ssrc=ssrc, sequence=sequence)
    header = rtp.parse_untrusted(wrapped)
    assert (header.payload_type, header.ssrc, header.sequence) == (97, ssrc, sequence)
    assert (header.timestamp, header.marker) == (0x89ABCDEF, True)
    assert wrapped[header.header_len :][:2] == b"\x12\x34", "RFC 4588 section 4: the original number is first"
    assert rtp.unwrap_rtx_untrusted(wrapped, payload_type=96, ssrc=0x01020304) == data


@pytest.mark.parametrize("payload", [b"", b"\x01"])
@pytest.mark.parametrize("padding", [0, 200])
def test_rtx_without_an_original_is_refused(payload: bytes, padding: int) -> None:
    """Senders probe for bandwidth with padding on the RTX stream."""
    with pytest.raises(RtpError, match="original"):
        rtp.unwrap_rtx_untrusted(packet(payload=payload, padding=padding), payload_type=96, ssrc=1)


def test_rtx_needs_two_bytes_more() -> None:
    data = packet()
    assert (
        len(rtp.wrap_rtx(data, payload_type=97, ssrc=1, sequence=1, capacity=len(data) + 2)) == len(data) + 2
    )
    with pytest.raises(RtpError, match="room"):
        rtp.wrap_rtx(data, payload_type=97, ssrc=1, sequence=1, capacity=len(data) + 1)
