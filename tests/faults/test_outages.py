"""Outages with a test of their own, in calls with traffic: a long one, a silent one, a full disk, the death
of the server's own PostgreSQL. Each looks at what an admin is told, too."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from server.db.embedded import EmbeddedPostgres
from server.db.migrations import migrate
from server.db.pool import open_database
from tests.faults import witness
from tests.faults.settings import WHOLE
from tests.faults.stage import Stage
from tests.harness.database_proxy import DatabaseProxy, database_proxy
from tests.harness.postgres import TestCluster, public_dir

OUTAGE_S = 60.0 if WHOLE else 3.0
DISK_MB = 128

pytestmark = pytest.mark.postgres


def _stage(cluster: TestCluster, proxy: DatabaseProxy, data_dir: Path, url: str) -> Stage:
    stage = Stage(data_dir, url, proxy.url(url.split("@/")[1].split("?")[0]), proxy, random.Random(0))
    stage.cluster = cluster
    return stage


@pytest.mark.timeout(300)
async def test_postgres_is_stopped_and_comes_back(
    cluster: TestCluster, proxy: DatabaseProxy, data_dir: Path
) -> None:
    """For a minute, in the whole suite."""
    told: list[str] = []

    async def outage(stage: Stage) -> None:
        await cluster.postgres.stop()
        with trio.move_on_after(OUTAGE_S):
            while True:
                told.append((await trio.to_thread.run_sync(stage.server.health))["status"])
                await trio.sleep(0.5)
        figures = await trio.to_thread.run_sync(stage.metrics)
        assert figures["tandem_recorder_pending"] > 10
        assert figures["tandem_recorder_waited"] > OUTAGE_S / 2
        assert figures["tandem_recorder_unspooled"] == 0
        assert figures["tandem_recorder_spool_bytes"] > 0
        await cluster.postgres.start()

    stage = _stage(cluster, proxy, data_dir, await cluster.fresh())
    await stage.run(outage)
    assert set(told[len(told) // 2 :]) == {"degraded"}
    log = stage.server.log.read_text()
    assert log.count("the database is away; changes wait in the spool") == 1
    assert log.count("the database is back") == 1


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_a_network_that_swallows_everything_is_noticed(
    cluster: TestCluster, proxy: DatabaseProxy, data_dir: Path
) -> None:
    """Nothing breaks and nothing answers: statements run into their time limit of 30 s only much later."""

    async def silence(stage: Stage) -> None:
        stage.proxy.black_hole()
        await trio.sleep(3)
        assert (await trio.to_thread.run_sync(stage.server.health))["status"] == "degraded"
        assert os.stat(data_dir / "last-seen").st_mtime > stage.began_at + 0.5
        stage.proxy.heal()

    await _stage(cluster, proxy, data_dir, await cluster.fresh()).run(silence)


# ---- a full disk


class SmallDisk:
    """A tmpfs of `DISK_MB`. Mounting one takes root; a test that cannot do it fails, and says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """To the last byte, and on: what PostgreSQL frees meanwhile goes too."""
        with open(self._filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                for size in (1 << 16, 1 << 12, 1):
                    with contextlib.suppress(OSError):
                        while file.write(b"x" * size):
                            pass
                raise OSError

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    with public_dir() as path:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=755", "tandem", str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if mounted.returncode != 0:
            pytest.fail(f"a full disk needs a tmpfs, and mounting one needs root: {mounted.stderr.strip()}")
        try:
            yield SmallDisk(path)
        finally:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextlib.asynccontextmanager
async def _watched(postgres: EmbeddedPostgres) -> AsyncIterator[None]:
    """Starts PostgreSQL again when it has ended, as an init system does."""

    async def watch() -> None:
        while True:
            await trio.sleep(0.2)
            if not postgres.alive():
                with contextlib.suppress(Exception):
                    await postgres.start()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        yield
        nursery.cancel_scope.cancel()


@pytest.mark.timeout(200)
async def test_the_disk_of_postgres_is_full(small_disk: SmallDisk, data_dir: Path) -> None:
    postgres = EmbeddedPostgres(small_disk.path, settings={"max_wal_size": "32MB", "min_wal_size": "32MB"})
    await postgres.start()
    try:
        async with open_database(postgres.dsn, size=1) as db:
            await migrate(db)
        witness.install(postgres.dsn)

        async def full(stage: Stage) -> None:
            small_disk.fill()
            with trio.fail_after(30):
                while (await trio.to_thread.run_sync(stage.metrics))["tandem_recorder_retries"] == 0:
                    small_disk.fill()
                    await trio.sleep(0.1)
            await trio.sleep(OUTAGE_S / 3)
            assert (await trio.to_thread.run_sync(stage.server.health))["status"] == "degraded"
            small_disk.free()

        async with database_proxy(str(postgres.socket_dir / ".s.PGSQL.5432")) as proxy, _watched(postgres):
            stage = Stage(data_dir, postgres.dsn, proxy.url("postgres"), proxy, random.Random(0))
            await stage.run(full)
        assert "No space left on device" in stage.server.log.read_text() + postgres._log_tail()
    finally:
        await postgres.stop()


async def _own_postgres(data_dir: Path) -> str:
    """Prepares the embedded PostgreSQL of a data directory, and leaves it to its server."""
    postgres = EmbeddedPostgres(data_dir)
    await postgres.start()
    async with open_database(postgres.dsn, size=1) as db:
        await migrate(db)
    witness.install(postgres.dsn)
    await postgres.stop()
    return postgres.dsn


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_one_disk_for_all_is_full(
    small_disk: SmallDisk, cluster: TestCluster, proxy: DatabaseProxy
) -> None:
    """The spool has no room either: changes are in memory, nothing is lost, and the admin is told."""
    data_dir = small_disk.path / "data"
    data_dir.mkdir()
    url = await _own_postgres(data_dir)

    async def full(stage: Stage) -> None:
        small_disk.fill()
        with trio.fail_after(30):
            while (await trio.to_thread.run_sync(stage.metrics))["tandem_recorder_unspooled"] == 0:
                small_disk.fill()
                await trio.sleep(0.1)
        health = await trio.to_thread.run_sync(stage.server.health)
        assert (health["status"], health["spool"]) == ("degraded", "full, changes are in memory only")
        small_disk.free()

    stage = Stage(data_dir, url, None, proxy, random.Random(0))
    stage.server.log = small_disk.path.with_suffix(".log")
    try:
        await stage.run(full)
        assert "the spool is full, or its disk is: changes are in memory only" in stage.server.log.read_text()
    finally:
        stage.server.log.unlink()


@pytest.mark.slow
async def test_the_servers_own_postgres_is_killed(data_dir: Path, proxy: DatabaseProxy) -> None:
    url = await _own_postgres(data_dir)

    async def killed(stage: Stage) -> None:
        postgres, killed = EmbeddedPostgres(data_dir), set[int | None]({None})
        for _ in range(2):
            for _ in range(600):  # nothing may be waiting to be written before it is up again
                if (pid := postgres.pid) not in killed:
                    break
                await trio.sleep(0.05)
            assert pid is not None
            assert pid not in killed
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
            await stage.caught_up()

    stage = Stage(data_dir, url, None, proxy, random.Random(0))
    await stage.run(killed)
    assert stage.server.log.read_text().count("PostgreSQL ended by itself; starting it again") >= 2
