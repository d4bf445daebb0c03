"""Old calls go: by hand (`tandem db purge`) or by themselves (`database.retention_days`)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from server.db.connection import Connection, rows_of
from server.db.giving_way import run_giving_way
from server.db.pool import Database
from server.db.times import moment

BATCH = 200  # calls in one transaction, with all that hangs on them


class Purged(msgspec.Struct):
    """How many calls went (all that hangs on them goes with them; a recording's file is left to whoever
    keeps it, in `recording_leftovers`), and guests who were in no other."""

    calls: int = 0
    guests: int = 0


# A call is old when it has been over since before the cutoff. It was made before that, so the index on
# createdAt bounds the search.
_OLD_CALLS = """
    SELECT id FROM call_sessions
     WHERE "createdAt" < $1 AND status IN ('ENDED', 'MISSED', 'REJECTED')
       AND COALESCE("endedAt", "updatedAt") < $1
"""
_OLD_GUESTS = """
    SELECT g.id FROM anonymous_participants g
     WHERE g."updatedAt" < $1 AND NOT EXISTS (
         SELECT FROM call_participants p WHERE p."anonymousUserId" = g.id)
"""


async def count_old(connection: Connection, cutoff: float) -> Purged:
    """What `purge` would remove now; guests of the calls that would go are not counted yet."""
    calls = await connection.fetchval(f"SELECT count(*) FROM ({_OLD_CALLS}) AS old", moment(cutoff))
    guests = await connection.fetchval(f"SELECT count(*) FROM ({_OLD_GUESTS}) AS old", moment(cutoff))
    return Purged(int(calls), int(guests))


async def _delete_batch(connection: Connection, table: str, query: str, cutoff: float) -> int:
    # A guest who joins again in this moment is locked, or deleted before and made anew; either way is right.
    tag = await connection.execute(
        f"""DELETE FROM {table} WHERE id = ANY (ARRAY({query} ORDER BY 1 LIMIT {BATCH}
            FOR UPDATE SKIP LOCKED))""",
        moment(cutoff),
    )
    return rows_of(tag)


async def purge(
    database: Database, cutoff: float, progress: Callable[[Purged], None] = lambda _: None
) -> Purged:
    """Deletes the calls that were over before `cutoff` (Unix seconds), and then the guests of none.

    Each batch is a transaction, so an interrupted purge has done what it had done, and is simply called
    again. Users and chat rooms stay: they may be another application's.
    """
    done = Purged()
    while count := await run_giving_way(database, _delete_batch, "call_sessions", _OLD_CALLS, cutoff):
        done.calls += count
        progress(done)
    while count := await run_giving_way(
        database, _delete_batch, "anonymous_participants", _OLD_GUESTS, cutoff
    ):
        done.guests += count
        progress(done)
    return done
