"""The suite's own test: each of the planted bugs is found by the short set of cases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.faults import lives, test_call_faults, test_power_failures
from tests.faults.planted import BETWEEN, POWER, Plant, planted
from tests.harness.database_proxy import DatabaseProxy
from tests.harness.postgres import TestCluster

TRIES = 30  # most are found by every second case

pytestmark = pytest.mark.timeout(300)  # a busy machine's


def _name(plant: Any) -> str:
    return str(getattr(plant, "__name__", plant))


def _slow(plants: tuple[Any, ...], *, but: int) -> list[Any]:
    """All but the first ones are looked for in the whole suite only."""
    return [*plants[:but], *(pytest.param(*_row(one), marks=pytest.mark.slow) for one in plants[but:])]


def _row(one: Any) -> tuple[Any, ...]:
    return one if isinstance(one, tuple) else (one,)


@pytest.mark.parametrize("plant", _slow(BETWEEN, but=6), ids=_name)
async def test_a_planted_bug_is_found(
    cluster: TestCluster, proxy: DatabaseProxy, tmp_path: Path, plant: Plant
) -> None:
    for seed in range(TRIES):
        with planted(plant):
            if await _fails(lambda seed=seed: lives.play(cluster, proxy, tmp_path / str(seed), seed)):
                return
    pytest.fail("no case found it")


@pytest.mark.parametrize("plant", _slow(POWER, but=1), ids=_name)
async def test_a_forgotten_flush_is_found(
    cluster: TestCluster, proxy: DatabaseProxy, tmp_path: Path, plant: Plant
) -> None:
    for seed in range(TRIES):
        with planted(plant), pytest.MonkeyPatch.context() as patch:
            (tmp_path / str(seed)).mkdir()
            if await _fails(
                lambda seed=seed, patch=patch: test_power_failures.play(
                    cluster, proxy, tmp_path / str(seed), seed, patch
                )
            ):
                return
    pytest.fail("no case found it")


AMONG_CALLS = (
    ("doubles_after_an_unknown_commit", test_call_faults.commits_cut),
    ("swaps_two_changes", test_call_faults.refused),
    ("forgets_the_last_change_before_a_crash", test_call_faults.server_killed_in_an_outage),
)


@pytest.mark.parametrize(("plant", "fault"), _slow(AMONG_CALLS, but=0))
async def test_a_planted_bug_is_found_among_calls(
    cluster: TestCluster, proxy: DatabaseProxy, tmp_path: Path, data_dir: Path, plant: str, fault: Any
) -> None:
    """By what clients were told: nobody lists the changes there."""
    for seed in range(3):
        folder = data_dir / str(seed)
        folder.mkdir()
        if await _fails(
            lambda seed=seed, folder=folder: test_call_faults.play(
                cluster, proxy, folder, seed, fault, plant
            ),
            limit_s=60,
        ):
            return
    pytest.fail("no case found it")


async def _fails(case: Callable[[], Awaitable[None]], limit_s: float = 20) -> bool:
    """Whether the case says that something is wrong, and not that it could not be played."""
    try:
        with trio.fail_after(limit_s):
            await case()
    except Exception as error:
        return _blames(error)
    return False


def _blames(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_blames(one) for one in error.exceptions)
    if not isinstance(error, AssertionError | trio.TooSlowError | KeyError | IndexError):
        raise error
    return True
