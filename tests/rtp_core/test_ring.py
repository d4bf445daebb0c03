"""Rings between two threads: order, fullness, wraparound."""

from __future__ import annotations

import sys
import threading
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core.ring import ByteRing


def test_empty_ring_gives_none() -> None:
    assert ByteRing(4, 16).pop() is None


def test_full_ring_refuses_and_counts() -> None:
    ring = ByteRing(4, 16)
    assert [ring.push(bytes([i])) for i in range(6)] == [True] * 4 + [False] * 2
    assert ring.dropped == 2
    assert [ring.pop() for _ in range(5)] == [b"\0", b"\1", b"\2", b"\3", None]


def test_more_than_a_slot_is_refused() -> None:
    ring = ByteRing(2, 16)
    assert ring.push(bytes(14))
    with pytest.raises(ValueError, match="slot"):
        ring.push(bytes(15))


@given(st.lists(st.one_of(st.none(), st.binary(max_size=14)), max_size=200), st.integers(1, 9))
def test_like_a_bounded_queue(actions: list[bytes | None], slots: int) -> None:
    ring = ByteRing(slots, 16)
    size = 1 << (slots - 1).bit_length()
    model: deque[bytes] = deque()
    for action in actions:
        if action is None:
            assert ring.pop() == (model.popleft() if model else None)
        else:
            fits = len(model) < size
            assert ring.push(action) is fits
            if fits:
                model.append(action)
        assert ring.used == len(model)


def test_two_threads_keep_the_order() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # the two take turns within the ring, not after it is full
    ring = ByteRing(8, 16)
    total = 5_000

    def write() -> None:
        sent = 0
        while sent < total:
            sent += ring.push(sent.to_bytes(4, "big"))

    writer = threading.Thread(target=write)
    writer.start()
    got = 0
    while got < total:
        data = ring.pop()
        if data is not None:
            assert int.from_bytes(data, "big") == got
            got += 1
    writer.join()
    sys.setswitchinterval(interval)
