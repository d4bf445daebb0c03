"""Gives rows that were there before a column the values it would have had, in batches beside those who write.

`schema_backfills` remembers how far each table has come, in the same transaction as the rows, so that whoever
continues, in this process or another, neither leaves out a row nor does one twice. Calls that were over
before there were summaries (or were imported) get theirs; which those are, the tables tell by themselves.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from server.db.connection import Connection, rows_of
from server.db.giving_way import run_giving_way
from server.db.pool import Database

BATCH = 100  # rows looked at in one transaction: some 3 ms in which a writer of one of them waits

SUMS = 20  # calls that are summed up in one transaction: some 4 ms

# What an UPDATE sets in rows of before (`t`), $2 being what their new columns show; rows that somebody who
# knows the columns has written since are not such rows.
_UPDATES = {
    "call_sessions": """
        SET "createdAt" = LEAST(t."createdAt", t."startedAt"),
            "updatedAt" = CASE WHEN t."updatedAt" = $2 THEN COALESCE(t."endedAt", t."startedAt", $2)
                               ELSE t."updatedAt" END
      WHERE t.id = ANY ($1::text[]) AND t."createdAt" = $2
    """,
    "call_participants": """
        SET status = CASE WHEN t."leftAt" IS NULL AND s."endedAt" IS NULL THEN 'connected' ELSE 'left' END,
            "videoEnabled" = t."hadVideo",
            "updatedAt" = COALESCE(t."leftAt", s."endedAt", t."joinedAt")
       FROM call_sessions s
      WHERE s.id = t."callSessionId" AND t.id = ANY ($1::text[]) AND t."updatedAt" = $2
    """,
}


class Progress(msgspec.Struct, frozen=True):
    """Rows of `table` that this run has looked at and changed, and how many there were to look at."""

    table: str
    done: int
    changed: int
    total: int


async def _rest(connection: Connection, table: str) -> int | None:
    """How many rows are still to be looked at; None if the table is done or has no backfill."""
    if await connection.fetchval("SELECT to_regclass('schema_backfills')") is None:
        return None
    last = await connection.fetchval(
        'SELECT "lastId" FROM schema_backfills WHERE name = $1 AND "finishedAt" IS NULL', table
    )
    if last is None:
        return None
    return int(await connection.fetchval(f"SELECT count(*) FROM {table} WHERE id > $1", last))


async def _batch(connection: Connection, table: str) -> tuple[int, int] | None:
    """Does the next rows; returns how many it looked at and changed, None when there are no more."""
    state = await connection.fetchrow(
        'SELECT since, "lastId" FROM schema_backfills WHERE name = $1 AND "finishedAt" IS NULL FOR UPDATE',
        table,
    )
    if state is None:
        return None
    rows = await connection.fetch(
        f"SELECT id FROM {table} WHERE id > $1 ORDER BY id LIMIT {BATCH}", state["lastId"]
    )
    if not rows:
        await connection.execute('UPDATE schema_backfills SET "finishedAt" = now() WHERE name = $1', table)
        return None
    ids = [row["id"] for row in rows]
    await connection.execute('UPDATE schema_backfills SET "lastId" = $2 WHERE name = $1', table, ids[-1])
    # Last, so that rows are locked for one statement and the commit, not while others are sent and answered.
    tag = await connection.execute(f"UPDATE {table} AS t {_UPDATES[table]}", ids, state["since"])
    return len(ids), rows_of(tag)


# Calls that are over, without a summary or (recompute) all of them.
_UNSUMMED = """
    SELECT s.id FROM call_sessions s
     WHERE s.id > $1 AND s.status IN ('ENDED', 'MISSED', 'REJECTED')
       AND ($2 OR NOT EXISTS (SELECT FROM call_analytics a WHERE a."callSessionId" = s.id))
"""


async def _unsummed(connection: Connection, recompute: bool) -> int | None:
    """How many calls want a summary; None if there is nothing to do."""
    if await connection.fetchval("SELECT to_regclass('call_analytics')") is None:
        return None
    count = int(await connection.fetchval(f"SELECT count(*) FROM ({_UNSUMMED}) AS calls", "", recompute))
    return count or None


async def _sum_up(connection: Connection, after: str, recompute: bool) -> tuple[int, str] | None:
    """Makes the next summaries; returns how many, and the last call's id."""
    rows = await connection.fetch(f"{_UNSUMMED} ORDER BY s.id LIMIT {SUMS}", after, recompute)
    ids = [row["id"] for row in rows]
    if not ids:
        return None
    await connection.execute("SELECT call_analytics_refresh(id) FROM unnest($1::text[]) AS t (id)", ids)
    return len(ids), ids[-1]


async def backfill(
    database: Database, progress: Callable[[Progress], None] = lambda _: None, *, recompute: bool = False
) -> list[Progress]:
    """Does what is left of every table; returns what it did. Call it again after `DatabaseUnavailable`.

    With `recompute` the summaries of all calls are made anew.
    """
    found = []
    for table in _UPDATES:
        total = await database.run(_rest, table)
        if total is None:
            continue
        now = Progress(table, 0, 0, total)
        while (step := await run_giving_way(database, _batch, table)) is not None:
            now = Progress(table, now.done + step[0], now.changed + step[1], total)
            progress(now)
        found.append(now)
    total = await database.run(_unsummed, recompute)
    if total is not None:
        now, last = Progress("call_analytics", 0, 0, total), ""
        while (batch := await run_giving_way(database, _sum_up, last, recompute)) is not None:
            count, last = batch
            now = Progress(now.table, now.done + count, now.changed + count, total)
            progress(now)
        found.append(now)
    return found
