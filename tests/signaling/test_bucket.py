from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.signaling.bucket import TokenBucket


def test_burst_then_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3, now=0)
    assert [bucket.take(1, 0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait_s(1) == pytest.approx(0.1)
    assert not bucket.take(1, 0.05)
    assert bucket.take(1, 0.1)
    assert not bucket.take(1, 0.1)
    assert [bucket.take(1, 1000) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=10, burst=1, now=100)
    assert bucket.take(1, 100)
    assert not bucket.take(1, 50)
    assert bucket.take(1, 50.1)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 5)), max_size=50))
def test_never_more_than_burst_and_rate(steps: list[tuple[float, float]]) -> None:
    bucket = TokenBucket(rate=2, burst=5, now=0)
    now = taken = 0.0
    for pause, count in steps:
        now += pause
        if bucket.take(count, now):
            taken += count
    assert taken <= 5 + 2 * now + 1e-6
