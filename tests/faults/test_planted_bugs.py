"""The suite's own test: each of the planted bugs is found by the short set of cases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.faults import lives, test_power_failures
from tests.faults.planted import BETWEEN, POWER, Plant, planted
from tests.harness.database_proxy import DatabaseProxy
from tests.harness.postgres import TestCluster

SHORT, SHORT_POWER = 12, 4


@pytest.mark.parametrize("plant", BETWEEN, ids=lambda plant: plant.__name__)
async def test_a_planted_bug_is_found(
    cluster: TestCluster, proxy: DatabaseProxy, tmp_path: Path, plant: Plant
) -> None:
    for seed in range(SHORT):
        with planted(plant):
            if await _fails(lambda seed=seed: lives.play(cluster, proxy, tmp_path / str(seed), seed)):
                return
    pytest.fail("no case found it")


@pytest.mark.parametrize("plant", POWER, ids=lambda plant: plant.__name__)
async def test_a_forgotten_flush_is_found(
    cluster: TestCluster, proxy: DatabaseProxy, tmp_path: Path, plant: Plant
) -> None:
    for seed in range(SHORT_POWER):
        with planted(plant), pytest.MonkeyPatch.context() as patch:
            (tmp_path / str(seed)).mkdir()
            if await _fails(
                lambda seed=seed, patch=patch: test_power_failures.play(
                    cluster, proxy, tmp_path / str(seed), seed, patch
                )
            ):
                return
    pytest.fail("no case found it")


async def _fails(case: Callable[[], Awaitable[None]]) -> bool:
    try:
        with trio.fail_after(20):
            await case()
    except Exception:
        return True
    return False
