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


@pytest.mark.parametrize(
    ("slots", "slot_size", "limit", "batch"),
    [(1, 8, 0, 1), (2, 8, 0, 2), (16, 2048, 0, 16), (16, 64, 12, 5), (1024, 2120, 0, 64)],
)
def test_two_threads_without_the_gil_see_whole_slots(
    slots: int, slot_size: int, limit: int, batch: int
) -> None:
    """They run at the same time: an order that is too weak shows as a word that is not the slot's number."""
    ring = ByteRing(slots, slot_size)
    total = 2_000 * max(2, slots.bit_length()) + 7
    writer = threading.Thread(target=ring.write_numbers, args=(total, limit))
    writer.start()
    assert ring.read_numbers(total, batch) == 0
    writer.join()
    assert ring.used == 0


def test_a_limit_leaves_room_for_others() -> None:
    ring = ByteRing(16, 16)
    assert [ring.push(b"video", 12) for _ in range(13)] == [True] * 12 + [False]
    assert [ring.push(b"audio", 15) for _ in range(4)] == [True] * 3 + [False]
    assert [ring.push(b"request") for _ in range(2)] == [True, False]
    for _ in range(4):
        ring.pop()
    assert [ring.push(b"video", 12), ring.push(b"audio", 15)] == [False, True]
    for _ in range(5):
        ring.pop()
    assert ring.push(b"video", 12)
    assert ring.dropped == 4
