"""Migrations while other applications write: no error, and nobody waits for a lock longer than 100 ms."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from server.db import backfill as backfill_module
from server.db import migrations
from server.db.backfill import Progress, backfill
from server.db.connection import Connection
from server.db.errors import DatabaseRefused, MigrationError
from server.db.migrations import migrate, rollback, status
from server.db.pool import Database, open_database
from tests.db import expected_schema as expected
from tests.db.test_schema import _columns, _indexes, _keys
from tests.db.test_upkeep import until_some
from tests.harness.postgres import psql

CALLS = 10_000
HOLD = "BEGIN; SELECT count(*) FROM call_sessions, call_participants; SELECT pg_sleep(1)"

FILL = f"""
INSERT INTO users (id) SELECT 'u' || n FROM generate_series(0, 99) AS n;
INSERT INTO chat_rooms (id) SELECT 'r' || n FROM generate_series(0, 99) AS n;
INSERT INTO call_sessions (id, "roomId", "callType", status, "startedAt", "endedAt", duration)
SELECT 'c' || n, 'r' || n % 100, 'VIDEO', 'ENDED', '2025-01-01'::timestamptz + n * interval '1 minute',
       '2025-01-01 00:02'::timestamptz + n * interval '1 minute', 120 FROM generate_series(1, {CALLS}) AS n;
INSERT INTO call_participants (id, "callSessionId", "userId", "joinedAt", "leftAt", "hadVideo")
SELECT 'p' || n || '-' || m, 'c' || n, 'u' || m, '2025-01-01'::timestamptz + n * interval '1 minute',
       '2025-01-01 00:02'::timestamptz + n * interval '1 minute', m = 0
  FROM generate_series(1, {CALLS}) AS n, generate_series(0, 1) AS m;
ANALYZE;
"""


async def _a_call(connection: Connection, name: str) -> None:
    """What an application of the first schema writes. A lock wait above 100 ms is an error to it."""
    await connection.execute("SET LOCAL lock_timeout = 100")
    await connection.execute(
        """INSERT INTO call_sessions (id, "roomId", "callType", status)
           VALUES ($1, 'r1', 'VIDEO', 'ACTIVE')""",
        name,
    )
    await connection.execute(
        """INSERT INTO call_participants (id, "callSessionId", "userId", "hadVideo")
           VALUES ($1 || '-0', $1, 'u0', true), ($1 || '-1', $1, 'u1', false)""",
        name,
    )


async def _its_end(connection: Connection, name: str) -> None:
    await connection.execute("SET LOCAL lock_timeout = 100")
    await connection.execute(
        """UPDATE call_sessions SET status = 'ENDED', "endedAt" = now(), duration = 0 WHERE id = $1""", name
    )
    await connection.execute(
        'UPDATE call_participants SET "leftAt" = now(), "wasMuted" = true WHERE "callSessionId" = $1', name
    )


class Writers:
    def __init__(self) -> None:
        self.names = itertools.count(1)
        self.old = itertools.count()
        self.written: list[str] = []

    async def write(self, url: str) -> None:
        async with open_database(url, size=1) as db:
            while True:
                name = f"live{next(self.names)}"
                with trio.CancelScope(shield=True):
                    await db.run(_a_call, name)
                    await db.run(_its_end, name)
                    old = next(self.old) * 37 % CALLS + 1  # not one that another writer holds
                    await db.run(_its_end, f"c{old}")
                self.written.append(name)
                await trio.sleep(0.005)


@asynccontextmanager
async def writing(url: str, count: int = 3) -> AsyncIterator[Writers]:
    writers = Writers()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(writers.write, url)
        while len(writers.written) < 10:  # noqa: ASYNC110
            await trio.sleep(0.01)
        yield writers
        nursery.cancel_scope.cancel()


async def assert_whole(db: Database) -> None:
    assert await db.run(_columns) == expected.TABLES
    assert await db.run(_indexes) == expected.INDEXES
    assert await db.run(_keys) == expected.KEYS


async def test_writers_go_on_through_a_migration(empty_url: str) -> None:
    async with open_database(empty_url, size=2) as db:
        await migrate(db, to=1)
        psql(empty_url, FILL)
        async with writing(empty_url) as writers:
            before = len(writers.written)
            await migrate(db)
            during = len(writers.written) - before
            done = await backfill(db)
        assert during > 5  # somebody did write
        await assert_whole(db)
        assert [(one.table, one.changed >= CALLS) for one in done[:2]] == [
            ("call_sessions", True),
            ("call_participants", True),
        ]
        assert psql(empty_url, "SELECT count(*) FROM call_analytics") == psql(
            empty_url, "SELECT count(*) FROM call_sessions WHERE status = 'ENDED'"
        )
        assert psql(empty_url, "SELECT count(*) FROM call_sessions WHERE id LIKE 'live%'") == str(
            len(writers.written)
        )
        old = 'SELECT count(*) FROM call_sessions WHERE id LIKE \'c%\' AND "createdAt" <> "startedAt"'
        assert psql(empty_url, old) == "0"
        people = """SELECT count(*) FROM call_participants WHERE id LIKE 'p%'
                       AND (status <> 'left' OR "videoEnabled" <> "hadVideo")"""
        assert psql(empty_url, people) == "0"
        assert await backfill(db) == []


async def test_a_transaction_that_holds_the_tables_holds_up_nobody_else(empty_url: str) -> None:
    """The migration waits for a reader's long transaction, and the writers do not wait for the migration."""
    async with open_database(empty_url, size=2) as db:
        await migrate(db, to=1)
        psql(empty_url, FILL.replace(str(CALLS), "500"))
        async with writing(empty_url), trio.open_nursery() as nursery:
            reader = await trio.lowlevel.open_process(
                ["psql", "-XAtq", empty_url, "-c", HOLD], stdout=subprocess.DEVNULL
            )
            await until_some(
                empty_url, "pg_stat_activity WHERE query LIKE 'BEGIN; %' AND wait_event = 'PgSleep'"
            )
            nursery.start_soon(reader.wait)
            await migrate(db)
            assert reader.poll() is not None
        await assert_whole(db)


@pytest.mark.parametrize("stop_at", [1, 4, 9])
async def test_a_migration_cut_short_goes_on(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    real, count = migrations._run_alone, itertools.count(1)

    async def cut(connection: Connection, statement: str) -> None:
        if next(count) == stop_at:
            raise DatabaseRefused("cut")
        await real(connection, statement)

    async with open_database(empty_url, size=2) as db:
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "_run_alone", cut)
            with pytest.raises(DatabaseRefused, match="cut"):
                await migrate(db)
        assert [one.state for one in await status(db)][:3] == ["applied", "unfinished", "pending"]
        with pytest.raises(MigrationError, match="0002_sfu was cut short"):
            await rollback(db, to=0)
        psql(empty_url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = "
                        "to_regclass('\"call_sessions_createdAt_idx\"')")  # fmt: skip
        assert next(one.version for one in await migrate(db)) == 2
        await assert_whole(db)
        assert psql(empty_url, "SELECT count(*) FROM schema_steps") == "0"


async def test_a_file_must_not_change_between_its_steps(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_database(empty_url, size=1) as db:
        await migrate(db, to=1)
        psql(empty_url, "INSERT INTO schema_steps VALUES (2, 0, 'another file')")
        assert [one.state for one in await status(db)][:2] == ["applied", "changed"]
        with pytest.raises(MigrationError, match="0002_sfu was changed"):
            await migrate(db)


async def test_a_backfill_cut_short_goes_on(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill_module, "BATCH", 10)

    class Cut(Exception):
        pass

    def cut(now: Progress) -> None:
        assert now.total == 25
        if now.done == 20:
            raise Cut

    async with open_database(empty_url, size=2) as db:
        await migrate(db, to=1)
        psql(empty_url, FILL.replace(str(CALLS), "25"))
        await migrate(db)
        psql(
            empty_url,
            "UPDATE call_participants SET status = 'connected', \"updatedAt\" = now() WHERE id = 'p7-0'",
        )  # fmt: skip - by one who knows the columns
        with pytest.raises(Cut):
            await backfill(db, cut)
        rest, people, summaries = await backfill(db)
        assert (rest.done, rest.changed, rest.total) == (5, 5, 5)
        assert (people.done, people.changed, people.total) == (50, 49, 50)
        assert (summaries.table, summaries.changed) == ("call_analytics", 25)
        assert psql(empty_url, "SELECT status FROM call_participants WHERE id = 'p7-0'") == "connected"
        old = 'SELECT count(*) FROM call_sessions WHERE "createdAt" <> "startedAt"'
        assert psql(empty_url, old) == "0"


def test_steps_of_a_file() -> None:
    sql = "-- why\n--@ transaction\nA;\nB;\n--@ alone\n-- c\nC\n  x;\nD;\n"
    one = migrations.Migration(1, "x", sql, None)
    assert [(step.alone, step.sql) for step in one.steps] == [
        (False, "A;\nB;\n"),
        (True, "-- c\nC\n  x;\nD;\n"),
    ]
    assert one.steps[1].statements == ["C\n  x", "D"]
    assert [step.sql for step in migrations.Migration(1, "x", "A;", None).steps] == ["A;"]
