"""What holds up those who write, told before it is done: tables that are gone through under a lock.

A reverse script names them in lines `--@ rewrites <table>: <why>`. Everything else that Tandem does to a
schema waits for no lock longer than a moment and holds none for long.
"""

from __future__ import annotations

import re

import msgspec

from server.db.connection import Connection

_LINE = re.compile(r"^--@ rewrites (\w+): (.+)$", re.MULTILINE)


class Rewrite(msgspec.Struct, frozen=True):
    """`rows` as the planner estimates them, `bytes` with indexes."""

    table: str
    why: str
    rows: int
    bytes: int

    def __str__(self) -> str:
        size = f"{self.rows:,} rows, {self.bytes / 1e6:,.0f} MB"
        return (
            f"{self.table} ({size}) is gone through under a lock, and nobody can use it meanwhile: {self.why}"
        )


async def rewrite(connection: Connection, table: str, why: str) -> Rewrite:
    """How large the table is now."""
    row = await connection.fetchrow(
        """SELECT GREATEST(c.reltuples, 0)::bigint AS rows, pg_total_relation_size(c.oid) AS bytes
             FROM pg_class c WHERE c.oid = to_regclass($1)""",
        table,
    )
    return Rewrite(table, why, *((row["rows"], row["bytes"]) if row is not None else (0, 0)))


async def rewrites_of(connection: Connection, sql: str) -> list[Rewrite]:
    """What this script says that it rewrites."""
    return [await rewrite(connection, table, why) for table, why in _LINE.findall(sql)]
