from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core.cache import Guard, RetransmissionCache

EDGES = (0, 1, 127, 32767, 32768, 65535)
MS = 1000
AGE = 2000 * MS


def packet(seq: int, size: int) -> bytes:
    return random.Random(seq).randbytes(size)


@pytest.mark.parametrize("start", EDGES)
def test_keeps_and_finds(start: int) -> None:
    cache = RetransmissionCache(16, 65536, AGE)
    for n in range(8):
        assert cache.put(start + n, packet(n, 100 + n), now=n, tag=n * 3)
    for n in range(8):
        assert cache.get((start + n) % 65536, 10) == (packet(n, 100 + n), start + n, n, n * 3)
    assert cache.get((start + 8) % 65536, 10) is None
    assert cache.get((start - 1) % 65536, 10) is None
    assert cache.get((start + 16) % 65536, 10) is None, "same slot, another packet"
    assert cache.counters == (8, 8, 3)


def test_evicts_by_count() -> None:
    cache = RetransmissionCache(16, 65536, AGE)
    for n in range(20):
        cache.put(n, packet(n, 10), 0)
    assert [n for n in range(20) if cache.get(n, 0)] == list(range(4, 20))


def test_evicts_by_age() -> None:
    cache = RetransmissionCache(16, 65536, AGE)
    cache.put(1, b"packet", now=5)
    assert cache.get(1, 5 + AGE) is not None
    assert cache.get(1, 6 + AGE) is None


def test_evicts_by_bytes() -> None:
    cache = RetransmissionCache(1024, 2048, AGE)
    for n in range(5):
        cache.put(n, packet(n, 500), 0)
    assert [n for n in range(5) if cache.get(n, 0)] == [1, 2, 3, 4], "the fifth took the place of the first"
    assert cache.get(4, 0) == (packet(4, 500), 4, 0, 0)


def test_same_number_again_replaces() -> None:
    cache = RetransmissionCache(16, 2048, AGE)
    cache.put(3, b"old", 0)
    cache.put(3, b"new", 1)
    assert cache.get(3, 1) == (b"new", 3, 1, 0)


def test_sizes() -> None:
    cache = RetransmissionCache(16, 2048, AGE)
    assert not cache.put(1, b"", 0)
    assert not cache.put(1, bytes(2049), 0)
    assert not cache.put(1, bytes(70_000), 0)
    assert cache.put(1, packet(1, 2048), 0)
    assert cache.get(1, 0) == (packet(1, 2048), 1, 0, 0)
    assert cache.put(2, packet(2, 1), 0)
    assert cache.get(1, 0) is None
    assert cache.get(2, 0) == (packet(2, 1), 2, 0, 0)


@pytest.mark.parametrize(
    ("slots", "capacity"), [(0, 4096), (3, 4096), (65536, 4096), (16, 2047), (16, 0x40000001)]
)
def test_settings_out_of_range(slots: int, capacity: int) -> None:
    with pytest.raises(ValueError, match="slots"):
        RetransmissionCache(slots, capacity, AGE)


def test_number_zero_of_an_empty_cache() -> None:
    cache = RetransmissionCache(16, 2048, AGE)
    assert [cache.get(n, 0) for n in (0, 15, 65535)] == [None] * 3


def test_numbers_below_zero() -> None:
    """A packet from before the first one, just below a wrap, has a negative extended number."""
    cache = RetransmissionCache(16, 2048, AGE)
    cache.put(-1, b"early", 0)
    assert cache.get(65535, 0) == (b"early", -1, 0, 0)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 700), st.integers(1, 3), st.integers(0, 90 * MS)), max_size=80),
    start=st.sampled_from(EDGES),
)
def test_never_a_wrong_packet(sizes: list[tuple[int, int, int]], start: int) -> None:
    """What it gives is what was put there; and what it must still hold, it gives."""
    cache = RetransmissionCache(16, 4096, 500 * MS)
    put: dict[int, tuple[bytes, int]] = {}
    seq, now = start, 0
    for size, step, wait in sizes:
        seq += step
        now += wait
        put[seq] = (packet(seq, size), now)
        assert cache.put(seq, *put[seq])
        total = 0
        for n in sorted(put, reverse=True):
            data, when = put[n]
            found = cache.get(n % 65536, now)
            total += len(data)
            if found is not None:
                assert found == (data, n, when, 0)
                assert now - when <= 500 * MS
                assert not any(m % 16 == n % 16 for m in put if m > n)
            elif seq - n < 16 and now - when <= 500 * MS:
                assert total > 4096 - 700, "let go although there was room"


def test_guard() -> None:
    guard = Guard()
    assert guard.allow(0, now=0, rtt=50 * MS)
    assert not guard.allow(0, now=49 * MS, rtt=50 * MS)
    assert guard.allow(1, now=49 * MS, rtt=50 * MS)
    assert guard.allow(0, now=50 * MS, rtt=50 * MS)
    assert not guard.allow(0, now=99 * MS, rtt=50 * MS), "counted from the last answer"


@pytest.mark.parametrize(("rtt", "wait"), [(-1, 10), (0, 10), (10_000 * MS, 250)])
def test_guard_is_bounded(rtt: int, wait: int) -> None:
    guard = Guard()
    assert guard.allow(65535, 0, rtt)
    assert not guard.allow(65535, wait * MS - 1, rtt)
    assert guard.allow(65535, wait * MS, rtt)


def test_guard_errs_towards_sending() -> None:
    guard = Guard()
    assert guard.allow(1, 0, 50 * MS)
    assert guard.allow(1 + 128, 1, 50 * MS)
    assert guard.allow(1, 2, 50 * MS)
