from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core import rtcp
from rtp_core.rtcp_write import RtcpWriter

U8 = st.integers(0, 255)
U16 = st.integers(0, 65535)
U32 = st.integers(0, 2**32 - 1)
BLOCKS = st.lists(st.tuples(U32, U8, st.integers(-(2**23), 2**23 - 1), U32, U32, U32, U32), max_size=31)


def read_one(writer: RtcpWriter, size: int) -> tuple[str, int, int, object]:
    assert size == len(writer.data)
    assert size % 4 == 0
    packets, intact = rtcp.read(writer.data)
    assert intact
    assert len(packets) == 1
    return packets[0]


@given(ssrc=U32, info=st.tuples(st.integers(0, 2**64 - 1), U32, U32, U32), blocks=BLOCKS)
def test_reports(
    ssrc: int, info: tuple[int, int, int, int], blocks: list[tuple[int, int, int, int, int, int, int]]
) -> None:
    writer = RtcpWriter()
    assert read_one(writer, writer.sr(ssrc, info, blocks)) == ("sr", ssrc, 0, (info, blocks))
    writer = RtcpWriter()
    assert read_one(writer, writer.rr(ssrc, blocks)) == ("rr", ssrc, 0, blocks)


@pytest.mark.parametrize(("lost", "told"), [(2**23, 2**23 - 1), (2**30, 2**23 - 1), (-(2**30), -(2**23))])
def test_cumulative_loss_stays_within_its_field(lost: int, told: int) -> None:
    writer = RtcpWriter()
    writer.rr(1, [(2, 3, lost, 4, 5, 6, 7)])
    assert rtcp.read(writer.data)[0][0][3] == [(2, 3, told, 4, 5, 6, 7)]


@given(ssrc=U32, cname=st.binary(max_size=255))
def test_cname(ssrc: int, cname: bytes) -> None:
    writer = RtcpWriter()
    assert read_one(writer, writer.sdes(ssrc, cname)) == ("sdes", 0, 0, [(ssrc, cname)])


@given(st.lists(U32, min_size=1, max_size=31))
def test_bye(ssrcs: list[int]) -> None:
    writer = RtcpWriter()
    assert read_one(writer, writer.bye(ssrcs)) == ("bye", 0, 0, ssrcs)


def test_bytes_of_small_packets() -> None:
    writer = RtcpWriter()
    writer.pli(10, 11)
    writer.fir(10, 11, 7)
    writer.nack(10, 11, [0xFFFE, 0xFFFF, 1, 14, 15])
    writer.remb(10, 0x3FFFF << 2, [11])
    writer.xr_dlrr(10, [(11, 2, 3)])
    assert writer.data == bytes.fromhex(
        "81ce0002 0000000a 0000000b"
        "84ce0004 0000000a 00000000 0000000b 07000000"
        "81cd0004 0000000a 0000000b fffe8005 000f0000"
        "8fce0005 0000000a 00000000 52454d42 01 0bffff 0000000b"
        "80cf0005 0000000a 05000003 0000000b 00000002 00000003"
    )


@given(start=U16, steps=st.lists(st.integers(1, 40), max_size=200))
def test_nack_of_ascending_numbers(start: int, steps: list[int]) -> None:
    seqs = [start]
    for step in steps:
        seqs.append((seqs[-1] + step) % 65536)
    writer = RtcpWriter()
    size, used = writer.nack(1, 2, seqs)
    assert used == len(seqs)
    assert read_one(writer, size) == ("nack", 1, 2, seqs)
    entries = (size - 12) // 4
    assert entries <= 1 + sum(steps) // 17, "an entry must hold all that fits into it"


@given(st.lists(U16, min_size=1, max_size=100))
def test_nack_of_anything(seqs: list[int]) -> None:
    writer = RtcpWriter()
    size, used = writer.nack(1, 2, seqs)
    assert used == len(seqs)
    assert set(read_one(writer, size)[3]) == set(seqs)  # type: ignore[call-overload]


def test_nack_takes_what_fits() -> None:
    writer = RtcpWriter(capacity=22)
    assert writer.nack(1, 2, [0, 100, 200, 300]) == (20, 2)
    assert rtcp.read(writer.data)[0][0][3] == [0, 100]
    assert RtcpWriter(capacity=15).nack(1, 2, [0]) == (0, 0)
    assert RtcpWriter(capacity=2).nack(1, 2, [0]) == (0, 0)
    assert RtcpWriter().nack(1, 2, []) == (0, 0)


@given(bitrate=st.integers(0, 2**64 - 1), ssrcs=st.lists(U32, max_size=255))
def test_remb(bitrate: int, ssrcs: list[int]) -> None:
    writer = RtcpWriter()
    kind, sender, media, (told, about) = read_one(writer, writer.remb(9, bitrate, ssrcs))  # type: ignore[misc]
    assert (kind, sender, media, about) == ("remb", 9, 0, ssrcs)
    assert 0 <= bitrate - told <= bitrate >> 17


@given(st.lists(st.tuples(U32, U32, U32), min_size=1, max_size=90))
def test_dlrr(entries: list[tuple[int, int, int]]) -> None:
    writer = RtcpWriter()
    assert read_one(writer, writer.xr_dlrr(9, entries)) == ("xr", 9, 0, [(5, 0, entries)])


BLOCK = (1, 2, 3, 4, 5, 6, 7)


@pytest.mark.parametrize("short", [1, 4, 10_000])
def test_what_does_not_fit_is_refused(short: int) -> None:
    """With a byte too few nothing is written; with room enough each succeeds."""
    writes = [
        lambda w: w.sr(1, (1, 2, 3, 4), [BLOCK]),
        lambda w: w.rr(1, [BLOCK, BLOCK]),
        lambda w: w.sdes(1, b"name"),
        lambda w: w.bye([1, 2]),
        lambda w: w.pli(1, 2),
        lambda w: w.fir(1, 2, 3),
        lambda w: w.remb(1, 1000, [2]),
        lambda w: w.xr_dlrr(1, [(1, 2, 3)]),
    ]
    for write in writes:
        exact = write(RtcpWriter())
        assert write(RtcpWriter(capacity=exact)) == exact
        assert write(RtcpWriter(capacity=max(exact - short, 0))) == 0


def test_counts_out_of_range_are_refused() -> None:
    assert RtcpWriter(4000).rr(1, [BLOCK] * 32) == 0
    assert RtcpWriter(4000).sr(1, (1, 2, 3, 4), [BLOCK] * 32) == 0
    assert RtcpWriter().bye([]) == 0
    assert RtcpWriter().bye([1] * 32) == 0
    assert RtcpWriter().sdes(1, bytes(256)) == 0
    assert RtcpWriter(4000).remb(1, 1, [1] * 256) == 0
    assert RtcpWriter().xr_dlrr(1, []) == 0
    assert RtcpWriter(4000).xr_dlrr(1, [(1, 2, 3)] * 101) == 0


def test_compound() -> None:
    writer = RtcpWriter()
    writer.rr(1, [BLOCK])
    writer.sdes(1, b"a@b")
    writer.pli(1, 2)
    packets, intact = rtcp.read(writer.data)
    assert [kind for kind, *_ in packets] == ["rr", "sdes", "pli"]
    assert intact
