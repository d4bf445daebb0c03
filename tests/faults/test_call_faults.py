"""Seeded faults in calls with traffic: a real server, real clients, media through the SFU, a real PostgreSQL.

The fault of a case is chosen by its seed, in turn. While it lasts media must not stall and answers must not
be late (where the server lives on); afterwards all that a client was told is in the rows once and in order.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.faults.settings import seeds
from tests.faults.stage import Stage
from tests.harness import mortal_server
from tests.harness.database_proxy import CommitFault, DatabaseProxy
from tests.harness.postgres import TestCluster, kill

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(200)]


async def commits_cut(stage: Stage) -> None:
    """Nobody knows whether they came about."""
    for _ in range(6):
        fault: CommitFault = stage.chance.choice(("not_sent", "unanswered", "half_answered"))
        stage.proxy.cut_at_commit(stage.chance.randrange(1, 4), fault)
        await _struck(stage, fault)
        await trio.sleep(stage.chance.random() * 0.1)


async def transactions_cut(stage: Stage) -> None:
    for _ in range(6):
        stage.proxy.cut_at_message(stage.chance.randrange(1, 40))
        await _struck(stage, "cut_at_message")
        await trio.sleep(stage.chance.random() * 0.1)


async def _struck(stage: Stage, fault: str) -> None:
    """Returns when the fault has happened."""
    before = stage.proxy.faults[fault]
    with trio.fail_after(20):
        while stage.proxy.faults[fault] == before:  # noqa: ASYNC110 - whenever the server talks
            await trio.sleep(0.01)


async def refused(stage: Stage) -> None:
    stage.proxy.refuse()
    await trio.sleep(0.5 + stage.chance.random())
    stage.proxy.heal()


async def black_hole(stage: Stage) -> None:
    stage.proxy.black_hole()
    await trio.sleep(0.5 + stage.chance.random())
    stage.proxy.heal()


async def slow(stage: Stage) -> None:
    stage.proxy.delay(stage.chance.random() * 0.1)
    await trio.sleep(0.5 + stage.chance.random())
    stage.proxy.heal()


async def postgres_killed(stage: Stage) -> None:
    await kill(stage.cluster.postgres)
    await trio.sleep(stage.chance.random())
    await stage.cluster.postgres.start()


async def server_killed(stage: Stage) -> None:
    for _ in range(stage.chance.randrange(1, 3)):
        await trio.sleep(stage.chance.random() * 0.5)
        await stage.kill_server()
        await stage.back_in_call()


async def server_killed_in_an_outage(stage: Stage) -> None:
    """The database comes back before the next server gives up waiting for it, or after."""
    stage.proxy.refuse()
    await trio.sleep(stage.chance.random())

    async def meanwhile() -> None:
        if stage.chance.random() < 0.5:
            stage.proxy.heal()

    await stage.kill_server(meanwhile)
    await trio.sleep(stage.chance.random())
    stage.proxy.heal()
    await stage.back_in_call(resumed=False)  # a server that begins without the database knows of no call


async def dies_at_a_point(stage: Stage) -> None:
    """Inside a write to the spool, between spool and client, around a commit, between files."""
    os.kill(stage.server.pid, signal.SIGUSR1)
    with trio.fail_after(20):
        while not stage.server.dead():  # noqa: ASYNC110 - a process
            await trio.sleep(0.02)
    stage.server.module = "server"
    await stage.server_died()
    await stage.back_in_call()


async def both_killed(stage: Stage) -> None:
    await trio.sleep(stage.chance.random() * 0.3)
    await kill(stage.cluster.postgres)
    await trio.sleep(stage.chance.random() * 0.3)
    await stage.kill_server(stage.cluster.postgres.start)
    await stage.back_in_call()


FAULTS: tuple[Callable[[Stage], Awaitable[None]], ...] = (
    commits_cut,
    dies_at_a_point,
    server_killed,
    server_killed_in_an_outage,
    postgres_killed,
    both_killed,
    transactions_cut,
    black_hole,
    refused,
    slow,
)


@pytest.mark.parametrize("seed", seeds(short=3, share=0.4))
async def test_a_fault_among_calls(
    cluster: TestCluster, proxy: DatabaseProxy, data_dir: Path, seed: int
) -> None:
    fault = FAULTS[seed % len(FAULTS)]
    await play(cluster, proxy, data_dir, seed, fault)


async def play(
    cluster: TestCluster,
    proxy: DatabaseProxy,
    data_dir: Path,
    seed: int,
    fault: Callable[[Stage], Awaitable[None]],
    plant: str = "",
) -> None:
    """One case; `plant` names a bug of `tests.faults.planted`."""
    url = await cluster.fresh()
    through = proxy.url(url.split("@/")[1].split("?")[0])
    stage = Stage(data_dir, url, through, proxy, random.Random(seed))
    stage.cluster = cluster
    if fault is dies_at_a_point:
        point = mortal_server.POINTS[seed // len(FAULTS) % len(mortal_server.POINTS)]
        count = stage.chance.randrange(1, 4 if point == "dropped" else 40)
        stage.will_die(f"{point}:{count}:{stage.chance.randrange(300)}")
    if plant:
        stage.server.module = "tests.harness.mortal_server"
        stage.server.environment["TANDEM_TEST_PLANT"] = plant
    await stage.run(fault)
