from __future__ import annotations

from typing import Any

import pytest

from bench.signaling_latency import RATIO, compare


def _rounds(near: list[list[float]], far: list[list[float]]) -> list[dict[str, Any]]:
    return [
        {"server": server, "samples": {"join": samples}}
        for server, rounds in enumerate((near, far))
        for samples in rounds
    ]


def test_all_rounds_of_a_server_count_together() -> None:
    near, far = compare("join", _rounds([[3.0, 1.0], [2.0]], [[5.0], [4.0]]))
    assert (near["samples"], near["p50"], near["max"], near["met"]) == (3, 2.0, 3.0, None)
    assert (far["samples"], far["max"], far["database_ms"]) == (2, 5.0, 500)
    assert far["ratio"] == pytest.approx(5 / 3)


@pytest.mark.parametrize(("factor", "met"), [(0.5, True), (RATIO, True), (RATIO + 0.01, False)])
def test_the_slower_database_may_cost_a_tenth(factor: float, met: bool) -> None:
    assert compare("join", _rounds([[1.0] * 50], [[factor] * 50]))[1]["met"] is met
