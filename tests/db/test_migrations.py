from __future__ import annotations

import pytest
import trio

from server.db import migrations
from server.db.errors import DatabaseError, DatabaseRefused, MigrationError
from server.db.migrations import (
    Migration,
    load_migrations,
    migrate,
    rehearse,
    rewrites_back,
    rewrites_there,
    rollback,
    status,
)
from server.db.pool import open_database
from tests.harness.postgres import psql

GOOD = [
    Migration(1, "one", "CREATE TABLE one (n int); INSERT INTO one VALUES (1);", "DROP TABLE one"),
    Migration(2, "two", "CREATE TABLE two (n int)", "DROP TABLE two"),
    Migration(3, "three", "CREATE TABLE three (n int)", None),
]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[Migration]:
    """The migrations on disk, as a list that a test may change."""
    known = list(GOOD)
    monkeypatch.setattr(migrations, "load_migrations", lambda: list(known))
    return known


def tables(url: str) -> str:
    return psql(
        url, "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'"
    )


def test_every_migration_on_disk_has_a_way_back() -> None:
    known = load_migrations()
    assert [one.version for one in known] == list(range(1, len(known) + 1))
    assert len(known) >= 3
    assert all(one.down_sql for one in known)


async def test_there_and_back_in_steps(empty_url: str, files: list[Migration]) -> None:
    async with open_database(empty_url, size=2) as db:
        assert [one.state for one in await status(db)] == ["pending"] * 3
        assert tables(empty_url) == ""
        assert [one.name for one in await migrate(db, to=2)] == ["one", "two"]
        assert [one.state for one in await status(db)] == ["applied", "applied", "pending"]
        assert [one.name for one in await rollback(db, to=1)] == ["two"]
        assert [one.name for one in await migrate(db)] == ["two", "three"]
        assert await migrate(db) == []
        assert tables(empty_url) == "one schema_migrations schema_steps three two"
        with pytest.raises(MigrationError, match="0003_three has no way back"):
            await rollback(db, to=0)
        assert tables(empty_url) == "one schema_migrations schema_steps three two"


async def test_a_rehearsal_leaves_no_trace(empty_url: str, files: list[Migration]) -> None:
    async with open_database(empty_url, size=2) as db:
        assert [one.name for one in await rehearse(db)] == ["one", "two", "three"]
        assert tables(empty_url) == ""
        await migrate(db, to=1)
        assert [one.name for one in await rehearse(db, to=2)] == ["two"]
        assert tables(empty_url) == "one schema_migrations schema_steps"
        files[1] = Migration(2, "two", "CREATE TABLE one (n int)", None)
        with pytest.raises(DatabaseRefused, match="already exists"):
            await rehearse(db)


CONCURRENT = """--@ transaction
ALTER TABLE one ADD COLUMN m int;
ALTER TABLE one ADD CONSTRAINT positive CHECK (m > 0) NOT VALID;
--@ alone
CREATE UNIQUE INDEX CONCURRENTLY "one_m_idx"
    ON one (m) WHERE m > 0;
ALTER TABLE one VALIDATE CONSTRAINT positive;
--@ transaction
ALTER TABLE one ADD COLUMN k int;
"""


async def test_what_runs_alone_is_tried_on_an_empty_copy(empty_url: str, files: list[Migration]) -> None:
    async with open_database(empty_url, size=2) as db:
        await migrate(db, to=1)
        files[1] = Migration(2, "two", CONCURRENT, None)
        assert [one.name for one in await rehearse(db, to=2)] == ["two"]
        assert psql(empty_url, "SELECT count(*) FROM pg_class WHERE relname = 'one_m_idx'") == "0"
        assert psql(empty_url, "SELECT attname FROM pg_attribute WHERE attrelid = 'one'::regclass"
                               " AND attnum > 0") == "n"  # fmt: skip
        for wrong, said in (
            ("ON one (m)", "ON one (q)"),
            ("CONSTRAINT positive;", "CONSTRAINT negative;"),
            ("VALIDATE CONSTRAINT positive", "DROP COLUMN m"),
        ):
            files[1] = Migration(2, "two", CONCURRENT.replace(wrong, said), None)
            with pytest.raises(DatabaseError, match=r'"q" does not exist|negative|cannot be tried'):
                await rehearse(db, to=2)
        files[1] = Migration(2, "two", CONCURRENT, None)
        await migrate(db, to=2)


async def test_what_is_rewritten_is_told_before(empty_url: str, files: list[Migration]) -> None:
    down = "--@ rewrites one: for a test\nDROP TABLE two"
    files[1] = Migration(2, "two", GOOD[1].sql, down)
    async with open_database(empty_url, size=2) as db:
        await migrate(db, to=2)
        psql(empty_url, "INSERT INTO one SELECT generate_series(1, 999); ANALYZE one")
        [told] = await rewrites_back(db, to=1)
        assert (told.table, told.why, told.rows) == ("one", "for a test", 1000)
        assert str(told).startswith("one (1,000 rows, 0 MB) is gone through under a lock")
        assert await rewrites_back(db, to=2) == []
        assert await rewrites_there(db) == []


async def test_a_migration_that_fails_changes_nothing(empty_url: str, files: list[Migration]) -> None:
    files[1] = Migration(2, "two", "CREATE TABLE two (n int); SELECT 1 / 0;", None)
    async with open_database(empty_url, size=2) as db:
        with pytest.raises(DatabaseRefused, match="division by zero"):
            await migrate(db)
        assert tables(empty_url) == "one schema_migrations schema_steps"
        files[1] = GOOD[1]
        await migrate(db)


async def test_changed_and_unknown_files_are_refused(empty_url: str, files: list[Migration]) -> None:
    async with open_database(empty_url, size=2) as db:
        await migrate(db, to=2)
        files[0] = Migration(1, "one", "CREATE TABLE one (other int)", "DROP TABLE one")
        assert [one.state for one in await status(db)] == ["changed", "applied", "pending"]
        for attempt in (migrate(db), rehearse(db), rollback(db, to=0)):
            with pytest.raises(MigrationError, match="0001_one was changed"):
                await attempt
        files[:] = GOOD[:1]
        assert [one.state for one in await status(db)] == ["applied", "unknown"]
        with pytest.raises(MigrationError, match="needs a newer version"):
            await migrate(db)
        assert tables(empty_url) == "one schema_migrations schema_steps two"


async def test_a_hole_is_refused(empty_url: str, files: list[Migration]) -> None:
    async with open_database(empty_url, size=2) as db:
        await migrate(db)
        psql(empty_url, "DELETE FROM schema_migrations WHERE version = 2")
        with pytest.raises(MigrationError, match="older than its newest"):
            await migrate(db)


@pytest.mark.parametrize("to", [-1, 4])
async def test_targets_exist(empty_url: str, files: list[Migration], to: int) -> None:
    async with open_database(empty_url, size=1) as db:
        with pytest.raises(MigrationError, match="0001 to 0003"):
            await migrate(db, to=to)


async def test_servers_that_start_at_once_apply_each_file_once(empty_url: str) -> None:
    done: list[str] = []

    async def server() -> None:
        async with open_database(empty_url, size=1) as db:
            done.extend(one.name for one in await migrate(db))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(server)
    assert sorted(done) == sorted(one.name for one in load_migrations())
