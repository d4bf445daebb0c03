"""The database's catalogue against the documents' tables of expectations."""

from __future__ import annotations

from typing import Any

import pytest

from server.db.backfill import backfill
from server.db.connection import Connection
from server.db.migrations import migrate, rollback
from server.db.pool import Database, open_database
from tests.db import expected_schema as expected
from tests.harness.postgres import psql

OURS = {
    "schema_migrations",
    "schema_steps",
    "schema_backfills",
    "server_instances",
    "change_streams",
    "participant_aliases",
    "recording_leftovers",
}


async def _columns(connection: Connection) -> dict[str, dict[str, Any]]:
    rows = await connection.fetch(
        """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type,
               NOT a.attnotnull AS nullable,
               pg_get_expr(d.adbin, d.adrelid) AS default
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0
           AND NOT a.attisdropped
        """
    )
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["relname"], {})[row["attname"]] = (row["type"], row["nullable"], row["default"])
    return {table: columns for table, columns in found.items() if table not in OURS}


async def _indexes(connection: Connection) -> dict[str, str]:
    rows = await connection.fetch(
        """
        SELECT i.relname, t.relname AS table_name, pg_get_indexdef(x.indexrelid) AS definition, x.indisunique
          FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
         WHERE t.relnamespace = 'public'::regnamespace AND NOT x.indisprimary AND x.indisvalid
        """
    )
    return {
        row["relname"]: ("UNIQUE " if row["indisunique"] else "")
        + f"{row['table_name']} {row['definition'].split('USING btree ')[1]}"
        for row in rows
        if row["table_name"] not in OURS
    }


async def _keys(connection: Connection) -> dict[str, str]:
    rows = await connection.fetch(
        """
        SELECT k.conname, pg_get_constraintdef(k.oid) AS definition, t.relname FROM pg_constraint k
          JOIN pg_class t ON t.oid = k.conrelid
         WHERE k.connamespace = 'public'::regnamespace AND k.convalidated
           AND k.contype IN ('p', 'f', 'c', 'u')
        """
    )
    return {row["conname"]: row["definition"] for row in rows if row["relname"] not in OURS}


async def _enums(connection: Connection) -> dict[str, list[str]]:
    rows = await connection.fetch(
        "SELECT t.typname, e.enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid"
        " ORDER BY e.enumsortorder"
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["typname"], []).append(row["enumlabel"])
    return found


async def _views(connection: Connection) -> dict[str, list[str]]:
    rows = await connection.fetch(
        """
        SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 ORDER BY a.attnum
        """
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["relname"], []).append(row["attname"])
    return found


async def test_the_whole_schema(db: Database) -> None:
    assert await db.run(_columns) == expected.TABLES
    assert await db.run(_indexes) == expected.INDEXES
    assert await db.run(_keys) == expected.KEYS
    assert await db.run(_enums) == expected.ENUMS
    assert await db.run(_views) == expected.VIEWS


async def test_the_first_schema_before_and_after(empty_url: str) -> None:
    async with open_database(empty_url, size=1) as db:

        async def assert_first() -> None:
            assert await db.run(_columns) == expected.TABLES_FIRST
            assert await db.run(_indexes) == expected.INDEXES_FIRST
            assert await db.run(_keys) == expected.KEYS_FIRST
            assert await db.run(_enums) == expected.ENUMS_FIRST
            assert await db.run(_views) == {}

        await migrate(db, to=1)
        await assert_first()
        await migrate(db)
        await rollback(db, to=1)
        await assert_first()
        await rollback(db, to=0)
        assert await db.run(_columns) == {}


FIRST_ROWS = """
INSERT INTO users (id, name) VALUES ('u1', 'Ann'), ('u2', 'Ben');
INSERT INTO chat_rooms (id) VALUES ('r1');
INSERT INTO call_sessions (id, "roomId", "callType", status, "startedAt", "endedAt", duration) VALUES
    ('old', 'r1', 'VIDEO', 'ENDED', '2025-01-01 10:00Z', '2025-01-01 10:02Z', 120),
    ('open', 'r1', 'AUDIO', 'ACTIVE', '2025-01-02 10:00Z', NULL, NULL);
INSERT INTO call_participants (id, "callSessionId", "userId", "joinedAt", "leftAt", "wasMuted", "hadVideo")
VALUES
    ('p1', 'old', 'u1', '2025-01-01 10:00Z', '2025-01-01 10:01Z', true, true),
    ('p2', 'old', 'u2', '2025-01-01 10:00Z', NULL, false, false),
    ('p3', 'open', 'u1', '2025-01-02 10:00Z', NULL, false, true);
"""


async def test_rows_of_the_first_schema_live_on(empty_url: str) -> None:
    async with open_database(empty_url, size=1) as db:
        await migrate(db, to=1)
        psql(empty_url, FIRST_ROWS)
        before = psql(empty_url, "SELECT * FROM call_sessions ORDER BY id") + psql(
            empty_url, "SELECT * FROM call_participants ORDER BY id"
        )
        await migrate(db)
        await backfill(db)
        calls = """SELECT id, mode, status, "modeChangeCount", "createdAt" = "startedAt",
            "updatedAt" = COALESCE("endedAt", "startedAt"), "sfuRoomId" IS NULL
            FROM call_sessions ORDER BY id"""
        assert psql(empty_url, calls) == "old|p2p|ENDED|0|t|t|t\nopen|p2p|ACTIVE|0|t|t|t"
        people = 'SELECT id, status, role, "audioEnabled", "videoEnabled" FROM call_participants ORDER BY id'
        assert psql(empty_url, people).split() == [
            "p1|left|participant|t|t",
            "p2|left|participant|t|f",
            "p3|connected|participant|t|t",
        ]
        assert psql(
            empty_url, 'SELECT "_id", "conversationId", status, type FROM "CallSession" ORDER BY 1'
        ).split() == [
            "old|r1|ended|video",
            "open|r1|active|audio",
        ]
        await rollback(db, to=1)
        after = psql(empty_url, "SELECT * FROM call_sessions ORDER BY id") + psql(
            empty_url, "SELECT * FROM call_participants ORDER BY id"
        )
        assert after == before


async def test_what_the_first_schema_cannot_hold_is_closed_on_the_way_back(empty_url: str) -> None:
    async with open_database(empty_url, size=1) as db:
        await migrate(db)
        psql(
            empty_url,
            """
            INSERT INTO chat_rooms (id) VALUES ('r1');
            INSERT INTO anonymous_participants (id) VALUES ('g1');
            INSERT INTO call_sessions (id, "roomId", "callType") VALUES ('rings', 'r1', 'VIDEO');
            INSERT INTO call_participants (id, "callSessionId", "anonymousUserId")
                VALUES ('p', 'rings', 'g1');
            """,
        )
        assert psql(empty_url, "SELECT status FROM call_sessions") == "INITIATED"
        await rollback(db, to=1)
        row = 'SELECT status, "startedAt" IS NOT NULL, "endedAt" IS NOT NULL FROM call_sessions'
        assert psql(empty_url, row) == "MISSED|t|t"
        assert psql(empty_url, "SELECT count(*) FROM call_participants") == "0"
        await migrate(db)


@pytest.mark.parametrize(
    ("insert", "update", "started"),
    [
        ("'ACTIVE'", None, "t"),  # a writer of the first schema relies on startedAt's default
        ("'INITIATED'", None, "f"),
        ("'INITIATED'", "'ACTIVE'", "t"),
        ("'INITIATED'", "'MISSED'", "f"),
    ],
)
async def test_started_at_for_other_writers(
    db: Database, url: str, insert: str, update: str | None, started: str
) -> None:
    psql(url, "INSERT INTO chat_rooms (id) VALUES ('r')")
    psql(
        url,
        f"""INSERT INTO call_sessions (id, "roomId", "callType", status)
            VALUES ('c', 'r', 'VIDEO', {insert})""",
    )
    if update is not None:
        psql(url, f"UPDATE call_sessions SET status = {update}")
    assert psql(url, 'SELECT "startedAt" IS NOT NULL FROM call_sessions') == started


@pytest.mark.parametrize("table", ["call_participants", "call_metrics", "participant_aliases"])
async def test_deleting_a_room_deletes_its_calls(db: Database, url: str, table: str) -> None:
    psql(
        url,
        """
        INSERT INTO chat_rooms (id) VALUES ('r'); INSERT INTO users (id) VALUES ('u');
        INSERT INTO call_sessions (id, "roomId", "callType") VALUES ('c', 'r', 'VIDEO');
        INSERT INTO call_participants (id, "callSessionId", "userId") VALUES ('p', 'c', 'u');
        INSERT INTO participant_aliases VALUES ('q', 'p');
        INSERT INTO call_metrics (id, "callSessionId", "updatedAt") VALUES ('m', 'c', now());
        """,
    )
    assert psql(url, f"SELECT count(*) FROM {table}") == "1"
    psql(url, "DELETE FROM chat_rooms")
    assert psql(url, f"SELECT count(*) FROM {table}") == "0"
