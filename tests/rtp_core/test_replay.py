"""The window against a model, and the guess of the index from every edge of RFC 3711 section 3.3.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core.replay import Window

WINDOW = 1024


@given(
    st.lists(
        st.one_of(st.integers(0, 3000), st.integers(0, 1 << 20), st.sampled_from([0, 1023, 1024, 65535])),
        max_size=300,
    )
)
def test_every_index_is_taken_once_and_only_while_it_is_near(indices: list[int]) -> None:
    window, seen, highest = Window(), set[int](), 0
    for index in indices:
        expected = index not in seen and index > highest - WINDOW
        assert window.take(index) is expected
        if expected:
            seen.add(index)
            highest = max(highest, index)


@given(st.integers(0, 2000), st.integers(1, 5000))
def test_moving_on_forgets_what_lay_before(start: int, step: int) -> None:
    window = Window()
    assert all(window.take(index) for index in range(start, start + 100))
    assert window.take(start + 99 + step)
    for index in range(max(0, start + 99 + step - WINDOW + 1), start + 99 + step):
        assert window.take(index) is (index > start + 99 or index < start)


@pytest.mark.parametrize(
    ("highest", "sequence", "index"),
    [
        (0, 0, 0),
        (0, 65535, 65535),  # before the first rollover nothing is behind
        (100, 60000, 60000),
        (0x8000, 0, 0),
        (0x8001, 0, 0x10000),
        (65535, 0, 65536),
        (65535, 0x7FFE, 0x7FFE + 65536),
        (65535, 0x7FFF, 0x7FFF),
        (65536, 65535, 65535),
        (65536 + 100, 100 + 0x8000, 65536 + 100 + 0x8000),
        (65536 + 100, 101 + 0x8000, 101 + 0x8000),
        ((1 << 48) - 1, 0, 1 << 48),
    ],
)
def test_index_of_a_sequence_number(highest: int, sequence: int, index: int) -> None:
    window = Window()
    window.take(highest)
    assert window.index(sequence) == index
