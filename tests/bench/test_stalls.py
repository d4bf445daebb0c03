"""What the machine alone makes a thread wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.stalls import awake, wait_of, woken
from bench.native.jitter import wakings
from bench.report import POINTS


@pytest.mark.parametrize(
    ("gaps", "total", "part", "wait"),
    [
        ([], 1000, 0.999, 0),
        ([1000], 100_000, 0.999, 900),  # one moment in a thousand falls into its first 100
        ([1000], 100_000, 0.99, 0),
        ([1000], 1000, 0.5, 500),
        ([100, 100], 1000, 0.9, 50),
        ([100, 10], 1000, 0.9, 10 / 2),
        ([100, 10], 1000, 0.95, 50),  # the short one ends before
    ],
)
def test_a_moment_waits_for_the_rest_of_its_gap(
    gaps: list[int], total: int, part: float, wait: float
) -> None:
    assert wait_of(gaps, total, part) == pytest.approx(wait, abs=1e-6)


@given(st.lists(st.integers(1, 1000), max_size=20), st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_as_many_moments_wait_longer_as_are_allowed(gaps: list[int], part: float) -> None:
    total = sum(gaps) + 5000
    wait = wait_of(gaps, total, part)
    longer = sum(max(0, gap - wait) for gap in gaps)
    assert longer <= (1 - part) * total + 1e-6
    if wait:
        assert longer == pytest.approx((1 - part) * total)


def test_of_this_machine() -> None:
    for found in (awake(0.02), woken(0.02, 0.001)):
        assert set(found) == {*POINTS, "max"}
        values = [found[name] for name in POINTS]
        assert values[0] >= 0
        assert values == sorted(values)
        assert values[-1] <= found["max"]


def test_an_interval_is_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        wakings(0.01, 0)
