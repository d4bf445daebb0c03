from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core.nack import GapTracker

EDGES = (0, 1, 127, 32767, 32768, 65535)
MS = 1000
WINDOW = 2048


def feed(start: int, steps: list[int], now: int = 0) -> tuple[GapTracker, list[str]]:
    tracker = GapTracker()
    return tracker, [tracker.packet((start + n) % 65536, now) for n in steps]


def wrap(start: int, steps: list[int]) -> list[int]:
    return [(start + n) % 65536 for n in steps]


@pytest.mark.parametrize("start", EDGES)
@pytest.mark.parametrize(
    ("steps", "verdicts", "missing"),
    [
        ([0, 1, 2], ["in_order"] * 3, []),
        ([0, 3], ["in_order", "gap"], [1, 2]),
        ([0, 3, 1], ["in_order", "gap", "recovered"], [2]),
        ([0, 3, 2, 1], ["in_order", "gap", "recovered", "recovered"], []),
        ([0, 0, 2, 2, 1, 1], ["in_order", "duplicate", "gap", "duplicate", "recovered", "duplicate"], []),
        ([0, -1, -1], ["in_order", "late", "duplicate"], []),
        ([0, 2, 5], ["in_order", "gap", "gap"], [1, 3, 4]),
        ([0, WINDOW + 1, WINDOW + 2], ["in_order", "reset", "in_order"], []),
        ([0, 32767, 32768], ["in_order", "reset", "in_order"], []),
        ([0, 513], ["in_order", "gap"], list(range(1, 513))),
        ([0, 514, 515, 1], ["in_order", "overflow", "in_order", "late"], []),
        ([0, 2, 515, 1], ["in_order", "gap", "overflow", "late"], []),
        ([0, 3, 4 - WINDOW, 4], ["in_order", "gap", "late", "in_order"], [1, 2]),
        ([0, -WINDOW, 1], ["in_order", "stray", "in_order"], []),
        ([0, -WINDOW, -WINDOW - 2, -WINDOW], ["in_order", "stray", "stray", "stray"], []),
        ([0, 3, -9000, -8999, -8998], ["in_order", "gap", "stray", "reset", "in_order"], []),
        ([0, -32768, -32767], ["in_order", "stray", "reset"], []),
        ([0, -9000, 1, -8999], ["in_order", "stray", "in_order", "stray"], []),
    ],
)
def test_verdicts(start: int, steps: list[int], verdicts: list[str], missing: list[int]) -> None:
    tracker, found = feed(start, steps)
    assert found == verdicts
    assert [seq % 65536 for seq in tracker.missing] == wrap(start, missing)


@pytest.mark.parametrize("start", EDGES)
def test_requests(start: int) -> None:
    tracker, _ = feed(start, [0, 3])
    assert tracker.deadline == 10 * MS
    assert tracker.due(10 * MS - 1) == []
    assert tracker.due(10 * MS, rtt=40 * MS) == wrap(start, [1, 2])
    assert tracker.deadline == 50 * MS
    assert tracker.due(49 * MS, rtt=40 * MS) == []
    tracker.packet((start + 1) % 65536, 49 * MS)
    assert tracker.due(50 * MS, rtt=40 * MS) == wrap(start, [2])
    tracker.packet((start + 2) % 65536, 60 * MS)
    assert tracker.deadline is None
    assert tracker.due(10_000 * MS) == []
    assert tracker.counters == (3, 2, 0)


def test_reordering_within_the_delay_asks_for_nothing() -> None:
    tracker, _ = feed(0, [0, 2])
    tracker.packet(1, 9 * MS)
    assert tracker.due(10 * MS) == []
    assert tracker.counters == (0, 1, 0)


@pytest.mark.parametrize(
    ("rtt", "repeat"),
    [(0, 100), (-5, 100), (1, 20), (20 * MS, 20), (150 * MS, 150), (250 * MS, 250), (9000 * MS, 250)],
)
def test_repeats_within_bounds(rtt: int, repeat: int) -> None:
    tracker, _ = feed(0, [0, 2])
    assert tracker.due(10 * MS, rtt) == [1]
    assert tracker.deadline == (10 + repeat) * MS
    assert tracker.due((10 + repeat) * MS - 1, rtt) == []
    assert tracker.due((10 + repeat) * MS, rtt) == [1]


def test_gives_up_after_ten_tries() -> None:
    tracker, _ = feed(0, [0, 2])
    asked = [now for now in range(0, 1000 * MS, MS) if tracker.due(now, 20 * MS)]
    assert asked == [(10 + 20 * n) * MS for n in range(10)]
    assert tracker.missing == []
    assert tracker.deadline is None
    assert tracker.counters == (10, 0, 1)
    assert tracker.packet(1, 300 * MS) == "late"


def test_gives_up_after_a_second() -> None:
    tracker, _ = feed(0, [0, 2])
    asked = [now for now in range(0, 2000 * MS, MS) if tracker.due(now, 250 * MS)]
    assert asked == [10 * MS, 260 * MS, 510 * MS, 760 * MS]
    assert tracker.missing == []
    assert tracker.counters == (4, 0, 1)


def test_what_does_not_fit_stays_due() -> None:
    tracker, _ = feed(65530, [0, 11])
    assert tracker.due(10 * MS, capacity=4) == [65531, 65532, 65533, 65534]
    assert tracker.deadline == 10 * MS
    assert tracker.due(11 * MS, capacity=100) == [65535, 0, 1, 2, 3, 4]
    assert tracker.deadline == 110 * MS


def test_key_frame_makes_what_came_before_it_useless() -> None:
    tracker, _ = feed(65530, [0, 4, 8])
    tracker.forget_before((65530 + 6) % 65536)
    assert tracker.due(10 * MS) == wrap(65530, [6, 7])
    tracker.forget_before((65530 + 6) % 65536)
    assert len(tracker.missing) == 2
    tracker.forget_before((65530 + 8) % 65536)
    assert tracker.missing == []
    assert tracker.deadline is None
    assert tracker.counters == (2, 0, 6)


def test_overflow_forgets_the_old_requests_too() -> None:
    tracker, verdicts = feed(0, [0, 300, 900])
    assert verdicts[-1] == "overflow"
    assert tracker.deadline is None
    assert tracker.counters == (0, 0, 299 + 599)
    assert tracker.packet(902, 0) == "gap"
    assert tracker.missing == [901]


@pytest.mark.parametrize("start", EDGES)
def test_arrivals_of_a_former_turn_are_forgotten(start: int) -> None:
    tracker, _ = feed(start, list(range(WINDOW)))
    assert tracker.packet((start + WINDOW + 3) % 65536, 0) == "gap"
    assert [tracker.packet((start + WINDOW + n) % 65536, 0) for n in range(3)] == ["recovered"] * 3


def test_extended_numbers_go_on_rising() -> None:
    tracker = GapTracker()
    for n in range(0, 200_000, 500):
        tracker.packet((65000 + n) % 65536, 0)
        assert tracker.extended((65000 + n) % 65536) == 65000 + n
        assert tracker.extended((65000 + n - 3) % 65536) == 65000 + n - 3


@given(
    start=st.sampled_from(EDGES),
    steps=st.lists(st.tuples(st.integers(-8, 12), st.integers(0, 30 * MS)), max_size=80),
)
def test_against_sets(start: int, steps: list[tuple[int, int]]) -> None:
    """Small steps: a dictionary of what is missing, and a set of what has been seen."""
    tracker = GapTracker()
    tracker.packet(start, 0)
    seen = {start}
    missing: dict[int, tuple[int, int, int]] = {}  # when missed, when due, tries
    highest = at = start
    now = 0
    for step, wait in steps:
        at = max(at + step, highest - 100)
        now += wait
        if at in seen:
            expected = "duplicate"
        elif at <= highest:
            expected = "recovered" if missing.pop(at, None) else "late"
        else:
            expected = "gap" if at > highest + 1 else "in_order"
            missing.update(dict.fromkeys(range(highest + 1, at), (now, now + 10 * MS, 0)))
            highest = at
        seen.add(at)
        assert tracker.packet(at % 65536, now) == expected
        due = []
        for n, (missed, when, tries) in sorted(missing.items()):
            if now - missed >= 1000 * MS or (tries >= 10 and now >= when):
                del missing[n]
            elif now >= when:
                due.append(n % 65536)
                missing[n] = (missed, now + 20 * MS, tries + 1)
        assert tracker.due(now, 20 * MS) == due
        assert tracker.missing == sorted(missing)


@pytest.mark.parametrize("lost", [15, 16, 17, 33, 256, 257, 511, 512])
def test_room_grows_with_what_is_missing(lost: int) -> None:
    tracker = GapTracker()
    tracker.packet(0, 0)
    tracker.packet(2, 0)  # the first of them is missing longer than the others
    tracker.packet(lost + 2, 5000)
    assert tracker.missing == [1, *range(3, lost + 2)]
    assert tracker.due(10_000) == [1]
    assert tracker.due(15_000) == list(range(3, lost + 2))
    assert tracker.packet(lost + 4, 16_000) == ("gap" if lost < 512 else "overflow")
