"""Work on a live database that gives way: it waits for no lock longer than a moment, and begins again.

Whoever waits for a strong lock makes all who come later wait as well, and whoever waits while holding locks
can be part of a deadlock. What gives up after `LOCK_TIMEOUT` does neither for longer than that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from server.db.connection import Connection, T
from server.db.errors import DatabaseUnavailable, MigrationError
from server.db.pool import Database

LOCK_TIMEOUT = 0.02  # seconds
PAUSE = 0.05  # seconds between tries
PATIENCE = 120.0  # seconds of tries; a transaction that holds a table for longer is for a person to look at

_TRIES = int(PATIENCE / (LOCK_TIMEOUT + PAUSE))
_BUSY = ("55P03", "40P01")  # lock_not_available, deadlock_detected


async def _short(connection: Connection, unit: Callable[..., Awaitable[T]], *args: object) -> T:
    await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT * 1000:.0f}")
    return await unit(connection, *args)


async def run_giving_way(database: Database, unit: Callable[..., Awaitable[T]], *args: object) -> T:
    """Like `database.run`, again and again until no lock is in the way. Raises `DatabaseUnavailable` when
    that takes longer than `PATIENCE`, and what `run` raises."""
    for _ in range(_TRIES):
        try:
            return await database.run(_short, unit, *args)
        except DatabaseUnavailable as error:
            if error.sqlstate not in _BUSY:
                raise
        await trio.sleep(PAUSE)
    return await database.run(_short, unit, *args)


async def transaction_giving_way(
    connection: Connection, unit: Callable[..., Awaitable[T]], *args: object
) -> T:
    """The same on a connection that is in no transaction. Raises `MigrationError` after `PATIENCE`."""
    for _ in range(_TRIES):
        try:
            async with connection.transaction():
                return await _short(connection, unit, *args)
        except Exception as error:
            if getattr(error, "sqlstate", None) not in _BUSY:
                raise
        await connection.execute(f"SELECT pg_sleep({PAUSE})")
    raise MigrationError(
        f"the tables could not be locked for {PATIENCE:.0f} s; pg_stat_activity shows who holds them"
    )
