"""The judge of received streams: each kind of wrong is told apart, from every edge of the numbers."""

from __future__ import annotations

import pytest
from bench.native.incoming import Witness
from hypothesis import given
from hypothesis import strategies as st

NEW, REPAIRED, REORDERED, TWICE, SPARE, STRANGE, EARLY = range(7)
TAG = 7
EDGES = (0, 1, 127, 32767, 32768, 65534, 65535)


class Stream:
    """What a sender and a server make of packet n: its numbers, rewritten by a fixed offset."""

    def __init__(self, sequence: int = 0, timestamp: int = 0) -> None:
        self.witness = Witness(tag=TAG)
        self.sequence, self.timestamp = sequence, timestamp

    def packet(self, n: int, *, repeated: bool = False, now: int = 0, skew: int = 0, tag: int = TAG) -> tuple:
        source = n // 4 * 3000 & 0xFFFFFFFF
        return self.witness.packet(
            self.sequence + n & 0xFFFF, self.timestamp + source + skew & 0xFFFFFFFF, tag, 1000 + n, source,
            repeated=repeated, now=now,
        )  # fmt: skip


@pytest.mark.parametrize("sequence", EDGES)
@pytest.mark.parametrize("timestamp", [0, 2**31 - 1, 2**32 - 1])
def test_a_whole_stream_is_clean_from_every_edge(sequence: int, timestamp: int) -> None:
    stream = Stream(sequence, timestamp)
    assert {stream.packet(n)[0] for n in range(5000)} == {NEW}
    counters = stream.witness.counters
    assert counters.pop("packets") == 5000
    assert not any(counters.values())
    assert stream.witness.missing == 0


def test_a_hole_is_missing_until_it_is_repaired_and_the_delay_is_told() -> None:
    stream = Stream(65530)
    stream.packet(0, now=0)
    assert stream.packet(3, now=10_000)[0] == NEW
    assert stream.witness.missing == 2
    assert stream.packet(1, repeated=True, now=25_000) == (REPAIRED, 15_000)
    assert stream.packet(2, now=11_000)[0] == REORDERED
    assert stream.witness.missing == 0
    assert stream.witness.counters["gaps"] == 2


def test_the_same_packet_again_is_one_too_many() -> None:
    stream = Stream()
    for n in range(3):
        stream.packet(n)
    assert stream.packet(1)[0] == TWICE
    assert stream.witness.counters["packets"] == 3


def test_an_original_and_its_repair_are_no_duplicate_but_a_third_is() -> None:
    late = Stream()
    late.packet(0)
    late.packet(2)
    assert late.packet(1, repeated=True)[0] == REPAIRED
    assert late.packet(1)[0] == SPARE
    assert late.packet(1)[0] == TWICE
    early = Stream()
    early.packet(0)
    assert early.packet(0, repeated=True)[0] == SPARE


def test_somebody_elses_media_is_strange() -> None:
    stream = Stream()
    stream.packet(0)
    assert stream.packet(1, tag=TAG + 1)[0] == STRANGE
    assert stream.witness.counters["strange"] == 1
    assert stream.witness.missing == 0


def test_numbers_that_jump_are_told() -> None:
    stream = Stream()
    stream.packet(0)
    stream.sequence += 1
    stream.packet(1)
    assert stream.witness.counters["broken"] == 1
    stream = Stream()
    stream.packet(0)
    stream.packet(1, skew=1)
    assert stream.witness.counters["broken"] == 1


def test_what_came_before_the_beginning_is_no_fault() -> None:
    stream = Stream()
    stream.packet(5)
    assert stream.packet(4)[0] == EARLY
    assert stream.witness.missing == 0


def test_a_gap_beyond_the_window_is_counted_whole() -> None:
    stream = Stream()
    stream.packet(0)
    stream.packet(5001)
    assert stream.witness.missing == 5000
    assert stream.packet(10)[0] == EARLY  # too old to tell whether it was there
    assert stream.packet(5000, repeated=True)[0] == REPAIRED


def test_a_restart_counts_anew() -> None:
    stream = Stream()
    stream.packet(0)
    stream.packet(9)
    stream.witness.restart()
    stream.packet(20)
    assert stream.witness.missing == 0
    assert stream.witness.counters["packets"] == 1


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=300), st.sampled_from(EDGES), st.integers(0, 2**32 - 1)
)
def test_any_order_of_arrival_is_reckoned_right(order: list[int], sequence: int, timestamp: int) -> None:
    stream = Stream(sequence, timestamp)
    seen: set[int] = set()
    twice = 0
    for n in order:
        if n < order[0]:
            assert stream.packet(n)[0] == EARLY
            continue
        twice += n in seen
        seen.add(n)
        stream.packet(n)
    assert stream.witness.missing == max(seen) - order[0] + 1 - len(seen)
    assert stream.witness.counters["twice"] == twice
    assert stream.witness.counters["broken"] == 0
