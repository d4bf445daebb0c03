"""A database that Prisma made by the first document's migration, with an application's tables beside it."""

from __future__ import annotations

import pytest

from server.db.backfill import backfill
from server.db.errors import MigrationError
from server.db.migrations import migrate, rehearse, rewrites_there, rollback, status
from server.db.pool import open_database
from server.db.queries import NewParticipant, call_history, create_call_session, end_call, save_user
from server.db.upkeep import verify
from tests.db import expected_schema as expected
from tests.db.test_schema import _columns, _indexes, _keys
from tests.harness.postgres import psql

# As `prisma migrate` writes it: times without a zone, updatedAt without a default.
PRISMA = """
CREATE TABLE "_prisma_migrations" (id VARCHAR(36) PRIMARY KEY, migration_name VARCHAR(255) NOT NULL);
INSERT INTO "_prisma_migrations" VALUES ('1', '20250103000000_add_video_call_tables');
CREATE TABLE "users" ("id" TEXT NOT NULL, "email" TEXT NOT NULL, "name" TEXT NOT NULL, "avatar" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "users_pkey" PRIMARY KEY ("id"));
CREATE TABLE "chat_rooms" ("id" TEXT NOT NULL, "title" TEXT NOT NULL DEFAULT '',
    CONSTRAINT "chat_rooms_pkey" PRIMARY KEY ("id"));
CREATE TYPE "CallType" AS ENUM ('VIDEO', 'AUDIO');
CREATE TYPE "CallStatus" AS ENUM ('ACTIVE', 'ENDED', 'MISSED', 'REJECTED');
CREATE TABLE "call_sessions" ("id" TEXT NOT NULL, "roomId" TEXT NOT NULL, "callType" "CallType" NOT NULL,
    "status" "CallStatus" NOT NULL, "startedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "endedAt" TIMESTAMP(3), "duration" INTEGER, CONSTRAINT "call_sessions_pkey" PRIMARY KEY ("id"));
CREATE TABLE "call_participants" ("id" TEXT NOT NULL, "callSessionId" TEXT NOT NULL, "userId" TEXT NOT NULL,
    "joinedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "leftAt" TIMESTAMP(3),
    "wasMuted" BOOLEAN NOT NULL DEFAULT false, "hadVideo" BOOLEAN NOT NULL DEFAULT false,
    CONSTRAINT "call_participants_pkey" PRIMARY KEY ("id"));
CREATE INDEX "call_sessions_roomId_idx" ON "call_sessions"("roomId");
CREATE INDEX "call_sessions_startedAt_idx" ON "call_sessions"("startedAt");
CREATE INDEX "call_sessions_status_idx" ON "call_sessions"("status");
CREATE INDEX "call_participants_userId_idx" ON "call_participants"("userId");
CREATE INDEX "call_participants_callSessionId_idx" ON "call_participants"("callSessionId");
CREATE UNIQUE INDEX "call_participants_callSessionId_userId_key"
    ON "call_participants"("callSessionId", "userId");
ALTER TABLE "call_sessions" ADD CONSTRAINT "call_sessions_roomId_fkey" FOREIGN KEY ("roomId")
    REFERENCES "chat_rooms"("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "call_participants" ADD CONSTRAINT "call_participants_callSessionId_fkey"
    FOREIGN KEY ("callSessionId") REFERENCES "call_sessions"("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "call_participants" ADD CONSTRAINT "call_participants_userId_fkey" FOREIGN KEY ("userId")
    REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE;
"""
ROWS = """
INSERT INTO users (id, email, name, "updatedAt") VALUES
    ('ann', 'a@x', 'Ann', now()), ('ben', 'b@x', 'Ben', now());
INSERT INTO chat_rooms (id) VALUES ('r');
INSERT INTO call_sessions VALUES
    ('old', 'r', 'VIDEO', 'ENDED', '2025-07-01 10:00', '2025-07-01 10:02', 120),
    ('open', 'r', 'AUDIO', 'ACTIVE', '2025-07-02 10:00', NULL, NULL);
INSERT INTO call_participants VALUES
    ('p1', 'old', 'ann', '2025-07-01 10:00', '2025-07-01 10:02', true, true),
    ('p2', 'open', 'ben', '2025-07-02 10:00', NULL, false, true);
"""
CALL_TABLES = ("call_sessions", "call_participants")


async def test_prismas_tables_become_ours(empty_url: str) -> None:
    psql(empty_url, PRISMA + ROWS)
    psql(
        empty_url,
        "ALTER DATABASE "
        + psql(empty_url, "SELECT current_database()")
        + " SET timezone = 'America/New_York'",
    )  # fmt: skip - naive times are UTC whatever the server's zone is
    async with open_database(empty_url, size=2) as db:
        assert [one.version for one in await rehearse(db)][0] == 1  # noqa: RUF015
        assert psql(empty_url, "SELECT to_regclass('schema_migrations') IS NULL") == "t"
        assert [one.table for one in await rewrites_there(db)] == list(CALL_TABLES)
        file = "SELECT pg_relation_filenode('call_sessions')"
        before = psql(empty_url, file)
        await migrate(db)
        assert psql(empty_url, file) != before  # so it is true that it is rewritten
        assert await rewrites_there(db) == []
        await backfill(db)
        columns = await db.run(_columns)
        for table in CALL_TABLES:
            assert columns[table] == expected.TABLES[table]
        assert {"email", "avatar"} < set(columns["users"])
        assert {"title", "name", "createdAt"} < set(columns["chat_rooms"])
        assert await db.run(_indexes) == expected.INDEXES
        assert await db.run(_keys) == expected.KEYS | {"_prisma_migrations_pkey": "PRIMARY KEY (id)"}
        [old] = await db.run(call_history, "r")
        assert old["startedAt"].isoformat() == "2025-07-01T10:00:00+00:00"
        assert (old["duration"], old["mode"], old["createdAt"]) == (120, "p2p", old["startedAt"])
        assert [(p["user"]["name"], p["status"]) for p in old["participants"]] == [("Ann", "left")]
        assert await verify(db) == []

        # a new call in it, and the old one's end
        await db.run(save_user, "ann", name="Ann B", at=1.76e9)
        person = NewParticipant(id="p9", user_id="ann", name="Ann")
        await db.run(create_call_session, "new", room_id="r", call_type="VIDEO", status="ACTIVE",
                     initiator_id="ann", participants=[person], at=1.76e9)  # fmt: skip
        await db.run(end_call, "open", at=1.76e9)
        assert psql(empty_url, "SELECT \"updatedAt\" FROM users WHERE id = 'ann'") == "2025-10-09 08:53:20"
        assert await verify(db) == []

        assert {one.state for one in await status(db)} == {"applied"}
        with pytest.raises(MigrationError, match="were here before Tandem"):
            await rollback(db, to=0)
        assert psql(empty_url, "SELECT count(*) FROM call_sessions") == "3"
        await migrate(db)


async def test_only_users_and_rooms_are_there(empty_url: str) -> None:
    psql(empty_url, "CREATE TABLE users (id text PRIMARY KEY, email text)")
    async with open_database(empty_url, size=2) as db:
        await migrate(db)
        columns = await db.run(_columns)
        assert set(columns["users"]) == {"id", "email", "name", "avatar", "createdAt", "updatedAt"}
        await rollback(db, to=0)
        assert psql(empty_url, "SELECT to_regclass('users') IS NOT NULL") == "t"  # it is not ours to drop
        await migrate(db)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('ALTER TABLE call_sessions DROP COLUMN duration', 'call_sessions has no column "duration"'),
        ('ALTER TABLE call_participants ALTER "wasMuted" DROP DEFAULT, ALTER "wasMuted" TYPE text',
         'call_participants."wasMuted" is text, not boolean'),
        ("ALTER TABLE call_sessions ADD tenant int NOT NULL", 'call_sessions."tenant" needs a default'),
        ("ALTER TYPE \"CallStatus\" ADD VALUE 'BUSY'", 'the type "CallStatus" has the labels'),
        ('ALTER TABLE call_participants DROP CONSTRAINT "call_participants_userId_fkey"',
         'call_participants."userId" has no foreign key to users'),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_told_and_nothing_is_touched(
    empty_url: str, change: str, told: str
) -> None:
    psql(empty_url, PRISMA)
    psql(empty_url, change)
    before = psql(empty_url, "SELECT attrelid::regclass, attname, atttypid FROM pg_attribute"
                             " WHERE attrelid IN ('call_sessions'::regclass, 'users'::regclass)")  # fmt: skip
    async with open_database(empty_url, size=2) as db:
        for attempt in (rehearse, migrate):
            with pytest.raises(MigrationError) as caught:
                await attempt(db)
            assert told in str(caught.value)
    assert before == psql(empty_url, "SELECT attrelid::regclass, attname, atttypid FROM pg_attribute"
                             " WHERE attrelid IN ('call_sessions'::regclass, 'users'::regclass)")  # fmt: skip
