"""A real PostgreSQL for tests: one cluster a test session, a fresh migrated database for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from server.db.embedded import EmbeddedPostgres
from server.db.migrations import migrate
from server.db.pool import open_database

_numbers = itertools.count(1)


@contextmanager
def public_dir(prefix: str = "tandem-test-") -> Iterator[Path]:
    """A temporary directory that PostgreSQL's user can enter (pytest's own are closed to others), with a path
    short enough for a Unix socket."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class TestCluster:
    """A running cluster with a migrated template; `fresh` makes a database of it in a few milliseconds."""

    __test__ = False

    def __init__(self, postgres: EmbeddedPostgres, data_dir: Path) -> None:
        self.postgres = postgres
        self.data_dir = data_dir

    def url(self, name: str) -> str:
        return self.postgres.dsn.replace("@/postgres?", f"@/{name}?")

    async def fresh(self, *, migrated: bool = True) -> str:
        """The URL of a new database: empty, or with the whole schema."""
        name = f"test_{next(_numbers)}"
        template = "tandem_template" if migrated else "template0"
        async with admin(self.postgres.dsn) as execute:
            await execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)


@asynccontextmanager
async def admin(dsn: str) -> AsyncIterator:  # type: ignore[type-arg]
    """A function that executes a statement outside of any transaction (CREATE DATABASE needs that)."""
    async with open_database(dsn, size=1) as database:

        async def execute(statement: str) -> None:
            async def cross() -> None:
                async with database._pool.acquire() as connection:
                    await connection.execute(statement)

            await database._loop.run_aio_coroutine(cross())

        yield execute


@contextmanager
def test_cluster() -> Iterator[TestCluster]:
    """Starts a cluster for the block. It outlives the event loops of the tests: it is a process."""
    with public_dir() as data_dir:
        postgres = EmbeddedPostgres(data_dir, settings={"fsync": "off"})  # many small databases

        async def prepare() -> None:
            await postgres.start()
            async with admin(postgres.dsn) as execute:
                await execute("CREATE DATABASE tandem_template")
            async with open_database(
                postgres.dsn.replace("@/postgres?", "@/tandem_template?"), size=1
            ) as database:
                await migrate(database)

        try:
            trio.run(prepare)
            yield TestCluster(postgres, data_dir)
        finally:
            trio.run(postgres.stop)


test_cluster.__test__ = False  # type: ignore[attr-defined]


def running(pid: int) -> bool:
    """Whether this process is there (a zombie is not)."""
    return Path(f"/proc/{pid}/cwd").exists()


async def until_gone(pid: int) -> None:
    with trio.fail_after(10):
        while running(pid):  # noqa: ASYNC110 - not our child
            await trio.sleep(0.005)


async def kill(postgres: EmbeddedPostgres) -> None:
    """kill -9 of the postmaster; returns when its owner knows."""
    pid = postgres.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with trio.fail_after(10):
        while postgres.alive():  # noqa: ASYNC110 - a process cannot be waited for as an event
            await trio.sleep(0.005)


def psql(url: str, statement: str) -> str:
    """What `psql` prints for a statement, without headers: a reader that shares none of our code."""
    done = subprocess.run(
        ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", url, "-c", statement],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip()
