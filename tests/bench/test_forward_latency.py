"""How rounds become a row: pooled points, and ratios of neighbours."""

from __future__ import annotations

from array import array

import pytest

from bench.forward_latency import Round, ratio, together


def _round(*latencies_us: int, busy: float = 0.5, kept: float = 1.0, **wrong: float) -> Round:
    return Round(array("q", [one * 1000 for one in latencies_us]), wrong, busy, kept)


def test_a_row_is_of_all_rounds_together() -> None:
    row = together(
        [_round(1, 2, 3, busy=0.2, kept=0.5, missing=1), _round(2, 9, busy=0.4, missing=2, twice=1)]
    )
    assert (row["p50"], row["max"]) == (2, 9)
    assert row["busy"] == pytest.approx(0.3)
    assert row["kept"] == pytest.approx(0.75)
    assert row["faults"] == {"missing": 3, "twice": 1}


def test_rounds_are_held_against_their_neighbours() -> None:
    """So that a machine that changes its speed meanwhile changes nothing."""
    rounds = [_round(11), _round(240), _round(36)]
    limits = [_round(10), _round(200), _round(30)]
    assert ratio(rounds, limits, "p50") == pytest.approx(1.2)
    with pytest.raises(ValueError, match="zip"):
        ratio(rounds, limits[:2], "p50")
