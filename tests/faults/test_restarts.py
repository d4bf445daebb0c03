"""Deaths of the server, apart from the seeded ones: who does not come back, and a spool that is full."""

from __future__ import annotations

import random
import time
from datetime import datetime
from pathlib import Path

import pytest
import trio

from server.db.pool import open_database
from server.db.spool import MAGIC, segments
from server.db.upkeep import verify
from tests.faults import witness
from tests.faults.stage import Stage
from tests.harness.database_proxy import DatabaseProxy
from tests.harness.postgres import TestCluster, psql

pytestmark = pytest.mark.postgres
HEARTBEAT_S = 2.0


async def _stage(cluster: TestCluster, proxy: DatabaseProxy, data_dir: Path) -> Stage:
    url = await cluster.fresh()
    stage = Stage(data_dir, url, proxy.url(url.split("@/")[1].split("?")[0]), proxy, random.Random(0))
    stage.cluster = cluster
    return stage


async def test_a_call_to_which_nobody_comes_back(
    cluster: TestCluster, proxy: DatabaseProxy, data_dir: Path
) -> None:
    """It ended with `server_restart` when its server was last known to live, and nobody is in it."""
    stage = await _stage(cluster, proxy, data_dir)
    await trio.to_thread.run_sync(stage.server.start)
    async with trio.open_nursery() as nursery:
        ann = stage.person("ann", "r", speaks=False)
        await ann.join(nursery)
        await ann.toggle("audio")
        await trio.sleep(HEARTBEAT_S * 1.2)
        died = time.time()
        await trio.to_thread.run_sync(stage.server.kill)
    await trio.to_thread.run_sync(stage.server.start)
    row = psql(stage.url, 'SELECT status, "endReason", "endedAt", duration FROM call_sessions').split("|")
    assert row[:2] == ["ENDED", "server_restart"]
    ended = datetime.fromisoformat(row[2]).timestamp()
    assert died - HEARTBEAT_S - 0.5 < ended <= died
    left = psql(stage.url, 'SELECT "leftReason", status, "leftAt", "audioEnabled" FROM call_participants')
    assert left.split("|") == ["server_restart", "left", row[2], "f"]
    async with open_database(stage.url, size=1) as db:
        assert await verify(db) == []
    await trio.to_thread.run_sync(stage.server.stop)


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_a_spool_without_room_is_told(
    cluster: TestCluster, proxy: DatabaseProxy, data_dir: Path
) -> None:
    """First changes are in memory only, then they are lost: each is told and counted, and calls go on."""
    told: list[str] = []

    async def flood(stage: Stage) -> None:
        stage.proxy.refuse()
        ann = stage.person("ann", "third", speaks=False)
        await ann.join(stage.nursery)
        device = {"padding": "x" * 4000}
        for n in range(100_000):
            await ann.ask("participant.update", device=device | {"n": n})
            if n % 20 == 0:
                health = await trio.to_thread.run_sync(stage.server.health)
                if health["spool"] not in told:
                    told.append(health["spool"])
                if len(told) == 3:
                    break
        stage.expect_loss()
        figures = await trio.to_thread.run_sync(stage.metrics)
        assert figures["tandem_recorder_spool_bytes"] <= 1 << 20
        assert figures["tandem_recorder_lost"] > 0
        assert figures["tandem_recorder_unspooled"] > 100
        stage.proxy.heal()
        await stage.caught_up()
        with trio.fail_after(10):
            while (await trio.to_thread.run_sync(stage.server.health))["status"] != "ok":  # noqa: ASYNC110
                await trio.sleep(0.05)
        await ann.ask("call.end")

    stage = await _stage(cluster, proxy, data_dir)
    stage.server.module = "tests.harness.mortal_server"
    stage.server.environment["TANDEM_TEST_MEMORY"] = "1800000"
    stage.server.arguments += ("--set", "database.spool_mb=1")
    await stage.run(flood)
    assert told == ["ok", "full, changes are in memory only", "full, changes are lost"]
    log = stage.server.log.read_text()
    assert "changes are in memory only, and die with the server" in log
    assert "the spool is full: changes are being lost" in log


@pytest.mark.slow
async def test_a_spool_that_ends_anywhere(cluster: TestCluster, proxy: DatabaseProxy, data_dir: Path) -> None:
    """The first server never reaches the database; its spool is cut at random places, as a torn write of the
    machine's death would. What is before the cut is written, once, and the next start takes it over."""
    stage = await _stage(cluster, proxy, data_dir)
    proxy.refuse()
    await trio.to_thread.run_sync(stage.server.start)
    async with trio.open_nursery() as nursery:
        ann = stage.person("ann", "r", speaks=False)
        await ann.join(nursery)
        for _ in range(20):
            await ann.toggle("audio")
        await trio.to_thread.run_sync(stage.server.kill)
    [(_, path)] = segments(data_dir / "spool").popitem()[1]
    whole = path.read_bytes()
    length = random.Random(1).randrange(len(MAGIC) + 600, len(whole))
    path.write_bytes(whole[:length])
    proxy.heal()
    await trio.to_thread.run_sync(stage.server.start)
    entries = await trio.to_thread.run_sync(witness.testimony, stage.url)
    witness.assert_nothing_twice(entries)
    *states, left = [one.now for one in entries if one.table == "call_participants"]
    assert [one["audioEnabled"] for one in states] == [n % 2 == 0 for n in range(len(states))]
    assert left["leftReason"] == "server_restart"
    async with open_database(stage.url, size=1) as db:
        assert await verify(db) == []
    await trio.to_thread.run_sync(stage.server.stop)
