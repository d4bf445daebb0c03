"""RTCP read from bytes written by hand after the RFCs' figures; `test_rtcp_write` takes the way round."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core import rtcp

U32 = st.integers(0, 2**32 - 1)
BLOCK = "0000000b 40 fffffe 00010203 00000090 11223344 00008000"
BLOCK_READ = (0x0B, 0x40, -2, 0x10203, 0x90, 0x11223344, 0x8000)
SENDER = "e1c5a7f0 80000000 00015f90 00000064 0000c350"
SENDER_READ = (0xE1C5A7F080000000, 90000, 100, 50000)

CASES = [
    ("sr", "80c80006 0000000a" + SENDER, ("sr", 10, 0, (SENDER_READ, []))),
    ("sr with a block", "81c8000c 0000000a" + SENDER + BLOCK, ("sr", 10, 0, (SENDER_READ, [BLOCK_READ]))),
    ("sr with profile words", "80c80007 0000000a" + SENDER + "ffffffff", ("sr", 10, 0, (SENDER_READ, []))),
    ("rr", "80c90001 0000000a", ("rr", 10, 0, [])),
    ("rr with blocks", "82c9000d 0000000a" + BLOCK + BLOCK, ("rr", 10, 0, [BLOCK_READ, BLOCK_READ])),
    ("sdes", "81ca0003 0000000a 0103616263 000000", ("sdes", 0, 0, [(10, b"abc")])),
    ("sdes without cname", "81ca0002 0000000a 02004100", ("sdes", 0, 0, [])),
    ("sdes, name first", "81ca0003 0000000a 0201780102616200", ("sdes", 0, 0, [(10, b"ab")])),
    ("sdes of nobody", "80ca0000", ("sdes", 0, 0, [])),
    (
        "sdes, two chunks",
        "82ca0006 0000000a 010161 00 0000000b 010462636465 0000 00000000",
        ("sdes", 0, 0, [(10, b"a"), (11, b"bcde")]),
    ),
    ("sdes, item too long", "81ca0002 0000000a 01036162", ("sdes", 0, 0, [])),
    ("sdes, no end", "81ca0002 0000000a 01026162", ("sdes", 0, 0, [])),
    ("bye", "82cb0002 0000000a 0000000b", ("bye", 0, 0, [10, 11])),
    ("bye with reason", "81cb0003 0000000a 03627965 00000000", ("bye", 0, 0, [10])),
    ("nack", "81cd0003 0000000a 0000000b fffe8005", ("nack", 10, 11, [0xFFFE, 0xFFFF, 1, 14])),
    ("nack of one", "81cd0003 0000000a 0000000b 00070000", ("nack", 10, 11, [7])),
    ("twcc", "8fcd0004 0000000a 0000000b 0001000000000000", ("twcc", 10, 11, b"\0\1" + bytes(6))),
    ("pli", "81ce0002 0000000a 0000000b", ("pli", 10, 11, [])),
    ("fir", "84ce0004 0000000a 00000000 0000000b 07000000", ("fir", 10, 0, [(11, 7)])),
    (
        "remb",
        "8fce0005 0000000a 00000000 52454d42 01 0bffff 0000000b",
        ("remb", 10, 0, (0x3FFFF << 2, [11])),
    ),
    (
        "remb beyond 64 bits",
        "8fce0005 0000000a 00000000 52454d42 01 fffffe 0000000b",
        ("remb", 10, 0, (2**64 - 1, [11])),
    ),
    (
        "remb, 0 at a great exponent",
        "8fce0005 0000000a 00000000 52454d42 01 fc0000 0000000b",
        ("remb", 10, 0, (0, [11])),
    ),
    ("xr rrtr", "80cf0004 0000000a 04000002 e1c5a7f080000000", ("xr", 10, 0, [(4, 0xE1C5A7F080000000, [])])),
    (
        "xr dlrr after another block",
        "80cf0006 0000000a 07000000 05000003 0000000b 00000002 00000003",
        ("xr", 10, 0, [(7, 0, []), (5, 0, [(11, 2, 3)])]),
    ),
    ("xr, block too long", "80cf0002 0000000a 04000002", ("xr", 10, 0, [])),
    ("xr, rrtr too short", "80cf0003 0000000a 04000001 00000000", ("xr", 10, 0, [])),
    ("padded", "a1ce0003 0000000a 0000000b 00000004", ("pli", 10, 11, [])),
    ("app", "80cc0002 0000000a 41424344", ("unknown", 0, 0, [])),
    ("other feedback", "83cd0002 0000000a 0000000b", ("unknown", 10, 11, [])),
    ("application feedback", "8fce0004 0000000a 0000000b 58585858 00000000", ("unknown", 10, 11, [])),
]
BROKEN = [
    ("sr without info", "80c80005 0000000a" + SENDER[:-9]),
    ("sr without its block", "81c80006 0000000a" + SENDER),
    ("rr without ssrc", "80c90000"),
    ("rr without its second block", "82c90007 0000000a" + BLOCK),
    ("bye of more than there are", "82cb0001 0000000a"),
    ("feedback without media", "81cd0001 0000000a"),
    ("nack of nothing", "81cd0002 0000000a 0000000b"),
    ("fir of nobody", "84ce0002 0000000a 0000000b"),
    ("remb of more than there are", "8fce0004 0000000a 00000000 52454d42 01 0bffff"),
    ("padding of 0", "a1ce0003 0000000a 0000000b 00000000"),
    ("padding of 3", "a1ce0003 0000000a 0000000b 00000003"),
    ("padding over the header", "a1ce0003 0000000a 0000000b 00000010"),
    ("padding of no body", "a0c90000"),
]


@pytest.mark.parametrize(("data", "expected"), [pytest.param(d, e, id=n) for n, d, e in CASES])
def test_reads(data: str, expected: object) -> None:
    assert rtcp.read(bytes.fromhex(data)) == ([expected], True)


@pytest.mark.parametrize("data", [pytest.param(d, id=n) for n, d in BROKEN])
def test_a_broken_packet_costs_itself_only(data: str) -> None:
    packets, intact = rtcp.read(bytes.fromhex(data) + bytes.fromhex("81ce0002 0000000a 0000000b"))
    assert [kind for kind, *_ in packets] == ["malformed", "pli"]
    assert intact


@pytest.mark.parametrize(
    "tail",
    ["80", "80c900", "00c90000", "40c90001 0000000a", "80c90002 0000000a", "80c9ffff 0000000a"],
    ids=["a byte", "three bytes", "version 0", "version 1", "a word too few", "much too few"],
)
def test_a_broken_header_ends_it(tail: str) -> None:
    packets, intact = rtcp.read(bytes.fromhex("81ce0002 0000000a 0000000b" + tail))
    assert [kind for kind, *_ in packets] == ["pli"]
    assert not intact


def test_nothing_is_no_packet() -> None:
    assert rtcp.read(b"") == ([], True)


def test_compound() -> None:
    data = "".join(data for _, data, _ in CASES)
    packets, intact = rtcp.read(bytes.fromhex(data))
    assert packets == [expected for *_, expected in CASES]
    assert intact


@given(st.binary(max_size=80))
def test_any_body_under_a_sound_header(body: bytes) -> None:
    body += bytes(-len(body) % 4)
    for packet_type in range(200, 208):
        for first in (0x80, 0x81, 0x84, 0x8F, 0x9F, 0xA1):
            head = bytes((first, packet_type)) + (len(body) // 4).to_bytes(2)
            packets, intact = rtcp.read(head + body)
            assert len(packets) == 1
            assert intact


def test_ntp_time() -> None:
    assert rtcp.ntp(0) == 2208988800 << 32
    assert rtcp.ntp(500_000) == (2208988800 << 32) + (1 << 31)
    assert rtcp.compact(0x11112222_33334444) == 0x22223333


@given(st.integers(0, 2**52))
def test_ntp_time_is_exact_to_its_last_bit(us: int) -> None:
    """And goes round with its era, in 2036."""
    assert rtcp.ntp(us) == ((2208988800 << 32) + (us << 32) // 1_000_000) % 2**64


def test_round_trip() -> None:
    """The example of RFC 3550 section 6.4.1, figure 2: 6.125 s."""
    assert rtcp.round_trip_us(0xB7108000, 0xB7052000, 0x00054000) == 6_125_000


@pytest.mark.parametrize(
    ("now", "lsr", "dlsr", "expected"),
    [
        (5, 0, 0, -1),  # no SR seen
        (100, 50, 51, 0),  # rounding
        (100, 50, 1000, -1),  # the peer claims to have held it longer than it has existed
        (0x10000, 0xFFFF0000, 0x10000, 1_000_000),  # across the wrap
        (0x7FFFFFFF, 1, 0, -1),  # hours
    ],
)
def test_round_trip_of_strange_reports(now: int, lsr: int, dlsr: int, expected: int) -> None:
    assert rtcp.round_trip_us(now, lsr, dlsr) == expected


@given(lsr=st.integers(1, 2**32 - 1), held=st.integers(0, 10_000_000), trip=st.integers(0, 30_000_000))
def test_round_trip_is_what_went_by(lsr: int, held: int, trip: int) -> None:
    dlsr = rtcp.compact_duration(held)
    now = (lsr + dlsr + rtcp.compact_duration(trip)) % 2**32
    assert abs(rtcp.round_trip_us(now, lsr, dlsr) - trip) <= 16


def test_no_duration_is_negative() -> None:
    assert rtcp.compact_duration(-1) == 0
    assert rtcp.compact_duration(1_500_000) == 0x18000
