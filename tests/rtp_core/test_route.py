"""The map against a dict, and the rationing of answers."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from rtp_core.route import AnswerLimiter, Map
from tests.rtp_core.world import address

SECOND = 1_000_000


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 2**32 - 1)), max_size=300))
def test_map_is_a_dict(actions: list[tuple[bool, int, int]]) -> None:
    mine = Map()
    model: dict[int, int] = {}
    for put, key, value in actions:
        key *= 0x0123456789ABCDE  # spread over the 64 bits
        if put:
            mine.set(key, value)
            model[key] = value
        else:
            mine.remove(key)
            model.pop(key, None)
        assert len(mine) == len(model)
        assert mine.get(key) == model.get(key)
    assert all(mine.get(key) == value for key, value in model.items())


def test_map_grows_and_shrinks() -> None:
    rng = random.Random(5)
    mine, model = Map(), {}
    for _ in range(5000):
        key = rng.getrandbits(64)
        model[key] = rng.getrandbits(32)
        mine.set(key, model[key])
    for key in rng.sample(sorted(model), 4000):
        mine.remove(key)
        del model[key]
    assert len(mine) == 1000
    assert all(mine.get(key) == value for key, value in model.items())


def test_burst_then_rate() -> None:
    limiter = AnswerLimiter(10, 5)
    ip = address("198.51.100.7", 0)[0]
    now = 77 * SECOND
    assert sum(limiter.allow(ip, now) for _ in range(20)) == 5
    assert sum(limiter.allow(ip, now + i * 10_000) for i in range(1, 101)) == 10
    assert sum(limiter.allow(ip, now + 3600 * SECOND) for _ in range(20)) == 5


def test_sources_do_not_share_unless_one_ipv6_network() -> None:
    limiter = AnswerLimiter(1, 1)
    assert limiter.allow(address("198.51.100.7", 0)[0], SECOND)
    assert limiter.allow(address("198.51.100.8", 0)[0], SECOND)
    assert limiter.allow(address("2001:db8::1", 0)[0], SECOND)
    assert not limiter.allow(address("2001:db8::2", 0)[0], SECOND)
    assert limiter.allow(address("2001:db8:0:1::2", 0)[0], SECOND)
