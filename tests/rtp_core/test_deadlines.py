"""The heap of deadlines against the model that anybody would write: a dictionary and `min`."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtp_core.deadlines import DeadlineHeap

SIZE = 40
operations = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "hasten", "never", "take"]),
        st.integers(0, SIZE - 1),
        st.integers(0, 60),
    ),
    max_size=400,
)


@settings(max_examples=300, deadline=None)
@given(operations)
def test_it_is_the_model(steps: list[tuple[str, int, int]]) -> None:
    heap, model = DeadlineHeap(SIZE), dict[int, int]()
    for what, who, when in steps:
        if what == "set":
            heap.set(who, when)
            model[who] = when
        elif what == "hasten":
            heap.hasten(who, when)
            model[who] = min(when, model.get(who, when))
        elif what == "never":
            heap.set(who, None)
            model.pop(who, None)
        else:
            first = heap.due(when)
            if first is None:
                assert all(due > when for due in model.values())
            else:
                assert model[first] == min(model.values()) <= when
                heap.set(first, None)
                del model[first]
        assert len(heap) == len(model)
        assert heap.next == min(model.values(), default=None)


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 21, 22, 1000])
def test_all_come_out_in_order(size: int) -> None:
    rng = random.Random(size)
    heap = DeadlineHeap(size)
    due = [rng.randrange(size) for _ in range(size)]
    for who in rng.sample(range(size), size):
        heap.set(who, due[who])
    out = []
    while (first := heap.due(size)) is not None:
        out.append(due[first])
        heap.set(first, None)
    assert out == sorted(due)
    assert heap.next is None


@pytest.mark.parametrize("seed", range(3))
def test_many_move_about(seed: int) -> None:
    """Deep enough that the last entry, in the place of one that goes, may have to rise in another branch."""
    rng = random.Random(seed)
    heap, model = DeadlineHeap(300), dict[int, int]()
    for _ in range(100):
        for who in rng.sample(range(300), 200):
            if rng.random() < 0.45:
                heap.set(who, None)
                model.pop(who, None)
            else:
                model[who] = rng.randrange(1_000_000)
                heap.set(who, model[who])
        for left in range(len(model), 50, -1):
            assert len(heap) == left
            first = heap.due(1_000_000)
            assert first is not None
            assert model[first] == min(model.values()) == heap.next
            heap.set(first, None)
            del model[first]


def test_more_than_it_holds_is_refused() -> None:
    heap = DeadlineHeap(2)
    with pytest.raises(IndexError):
        heap.set(2, 1)
    with pytest.raises(IndexError):
        heap.hasten(2, 1)
