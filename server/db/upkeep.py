"""Checks and mends the rows by `server.db.invariants`, in batches that hold their locks for moments only."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from server.db.connection import Connection, rows_of
from server.db.giving_way import run_giving_way
from server.db.invariants import DELETE, INVARIANTS, Invariant, Table
from server.db.pool import Database

BATCH = 500  # rows in one transaction
EXAMPLES = 5


class Finding(msgspec.Struct, frozen=True, rename="camel"):
    """An invariant that some rows break: how many, the ids of a few, and what to do. `mended` counts those
    that were put right, `mendable` says whether `cleanup` can do it."""

    name: str
    table: Table
    says: str
    count: int
    examples: list[str]
    advice: str
    mendable: bool
    mended: int = 0


async def _examine(connection: Connection, one: Invariant) -> Finding | None:
    row = await connection.fetchrow(
        f"""
        WITH wrong AS (SELECT t.id FROM {one.table} AS t WHERE {one.where})
        SELECT (SELECT count(*) FROM wrong) AS count,
               ARRAY(SELECT id FROM wrong ORDER BY id LIMIT {EXAMPLES}) AS examples
        """
    )
    assert row is not None
    if row["count"] == 0:
        return None
    return Finding(
        one.name, one.table, one.says, row["count"], list(row["examples"]), one.advice, one.mend is not None
    )


async def verify(database: Database, invariants: Sequence[Invariant] = INVARIANTS) -> list[Finding]:
    """The invariants that rows break. Each is one statement, so calls that go on meanwhile do no harm."""
    found = [await database.run(_examine, one) for one in invariants]
    return [finding for finding in found if finding is not None]


async def _mend_batch(connection: Connection, one: Invariant, after: str) -> tuple[int, str | None]:
    """Mends a batch of rows with ids above `after`; returns how many, and the last id (None: no more)."""
    rows = await connection.fetch(
        f"SELECT t.id FROM {one.table} AS t WHERE t.id > $1 AND ({one.where}) ORDER BY t.id LIMIT {BATCH}",
        after,
    )
    ids = [row["id"] for row in rows]
    if not ids:
        return 0, None
    # The order in which switches and endings lock: the call, then its rows. With the calls held, what the
    # statement below sees of them is what they are.
    calls = "$1" if one.table == "call_sessions" else (
        f'ARRAY(SELECT "callSessionId" FROM {one.table} WHERE id = ANY ($1::text[]))'
    )  # fmt: skip
    await connection.execute(
        f"SELECT FROM call_sessions WHERE id = ANY ({calls}::text[]) ORDER BY id FOR UPDATE", ids
    )
    verb = (
        f"DELETE FROM {one.table} AS t"
        if one.mend == DELETE
        else f'UPDATE {one.table} AS t SET {one.mend}, "updatedAt" = now()'
    )
    tag = await connection.execute(f"{verb} WHERE t.id = ANY ($1::text[]) AND ({one.where})", ids)
    return rows_of(tag), ids[-1]


async def cleanup(database: Database, invariants: Sequence[Invariant] = INVARIANTS) -> list[Finding]:
    """Mends what can be mended, and returns what was found; a finding is done with when mended == count.

    A row that breaks two invariants may be mended with the first.
    """
    findings = []
    for one in invariants:
        finding = await database.run(_examine, one)
        if finding is None:
            continue
        mended = 0
        after: str | None = "" if finding.mendable else None
        while after is not None:
            count, after = await run_giving_way(database, _mend_batch, one, after)
            mended += count
        findings.append(msgspec.structs.replace(finding, mended=mended))
    return findings
