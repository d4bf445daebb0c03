"""Trying, inside a transaction that is rolled back, what can run outside of transactions only.

An index that is built concurrently is built on an empty copy of its table instead: that tells whether the
statement is right for the table as it will be, without a lock that anybody could wait for. Whether the rows
that are there keep a new constraint or a unique index shows only when it is done.
"""

from __future__ import annotations

import re

from server.db.connection import Connection
from server.db.errors import MigrationError

_INDEX = re.compile(r'CREATE ((?:UNIQUE )?INDEX) CONCURRENTLY ("?\w+"?)\s+ON (\w+) (.*)', re.DOTALL)
_VALIDATE = re.compile(r'ALTER TABLE (\w+) VALIDATE CONSTRAINT "?(\w+)"?')


class _Tried(Exception):
    """Rolls the copy back."""


async def try_alone(connection: Connection, statement: str) -> None:
    """Raises what PostgreSQL says against the statement, and `MigrationError` for one that cannot be tried.

    The connection is in a transaction that has done the steps before.
    """
    index, validate = _INDEX.fullmatch(statement), _VALIDATE.fullmatch(statement)
    if index is not None:
        kind, name, table, rest = index.groups()
        try:
            async with connection.transaction():
                # A temporary table is found before one of the same name that is not.
                await connection.execute(f"CREATE TEMPORARY TABLE {table} (LIKE {table} INCLUDING DEFAULTS)")
                await connection.execute(f"CREATE {kind} {name} ON {table} {rest}")
                raise _Tried
        except _Tried:
            return
    if validate is not None:
        table, constraint = validate.groups()
        if not await connection.fetchval(
            "SELECT true FROM pg_constraint WHERE conrelid = to_regclass($1) AND conname = $2",
            table,
            constraint,
        ):
            raise MigrationError(f"there is no constraint {constraint!r} on {table} to validate")
        return
    raise MigrationError(f"this cannot be tried in a transaction: {statement}")
