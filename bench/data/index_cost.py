"""What does each index cost a write?

In a transaction that is rolled back, an index is dropped and rows are written into the filled tables:
inserts, then updates of indexed columns (a switch to the SFU, the end). What that saves, against the same
with all indexes in turn with it, is the index's cost; the last row of a table is without any index but those
of its keys. Times are PostgreSQL's CPU time by the scheduler's count, and the least of the rounds, since
whatever else the machine does only adds. Commits are not in it.

    python -m bench.data.index_cost [--calls 1000000] [--keep DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import trio

from bench.data.generate import NOW
from bench.data.stage import add_arguments, stage
from bench.report import describe, write
from server.db.connection import Connection, rows_of
from server.db.pool import Database, open_database

ALL = "all but keys"
_PEOPLE = 5  # of a call

# Rows to write, with new ids and busy people's and rooms' names, made before the clock starts.
_FRESH = f"""
CREATE TEMP TABLE fresh AS
SELECT pg_temp.fresh_id(n) AS call,
       'room-' || floor(pow(random(), 3) * (SELECT count(*) FROM chat_rooms))::int AS room,
       timestamptz 'epoch' + ({NOW} + n * 900) * interval '1 ms' AS at
  FROM generate_series(1, $1) AS n
"""
_FRESH_PEOPLE = f"""
CREATE TEMP TABLE fresh_people AS
SELECT pg_temp.fresh_id(k) AS id, call, at, 'user-' || (host + k * 7919) % total AS "user",
       pg_temp.fresh_id(k) AS send, pg_temp.fresh_id(k) AS recv, pg_temp.fresh_id(k) AS audio,
       pg_temp.fresh_id(k) AS video, pg_temp.fresh_id(k) AS screen
  FROM (SELECT *, floor(pow(random(), 3) * total)::bigint AS host
          FROM fresh, (SELECT count(*) AS total FROM users) AS u) AS f, generate_series(1, {_PEOPLE}) AS k
"""
_FRESH_ID = f"""
CREATE FUNCTION pg_temp.fresh_id(n bigint) RETURNS text LANGUAGE sql VOLATILE AS
    $$SELECT 'c' || lpad(to_hex({NOW} + n * 900), 11, '0') || left(md5(random()::text), 13)$$
"""

_CALLS = """
INSERT INTO call_sessions (id, "roomId", "callType", status, mode, "initiatorId", "createdAt", "startedAt",
    "updatedAt")
SELECT call, room, 'VIDEO', 'ACTIVE', 'p2p', 'user-1', at, at, at FROM fresh
"""
_PARTICIPANTS = """
INSERT INTO call_participants (id, "callSessionId", "userId", role, status, "joinedAt", "hadVideo",
    "updatedAt")
SELECT id, call, "user", 'participant', 'connecting', at, true, at FROM fresh_people
"""
_METRICS = """
INSERT INTO call_metrics (id, "callSessionId", "peakParticipants", "updatedAt")
SELECT call, call, 5, at FROM fresh
"""
# What is timed, by table: an insert and an update of some rows.
_WRITES: dict[str, tuple[str, str]] = {
    "call_sessions": (
        _CALLS,
        """UPDATE call_sessions s SET mode = 'sfu', "sfuRoomId" = f.call || 'r', status = 'ENDED'
             FROM fresh f WHERE s.id = f.call""",
    ),
    "call_participants": (
        _PARTICIPANTS,
        """UPDATE call_participants p SET status = 'connected', "sfuSendTransportId" = f.send,
               "sfuRecvTransportId" = f.recv, "sfuAudioProducerId" = f.audio, "sfuVideoProducerId" = f.video,
               "sfuScreenProducerId" = f.screen FROM fresh_people f WHERE p.id = f.id""",
    ),
    "call_metrics": (
        _METRICS,
        """UPDATE call_metrics m SET "peakParticipants" = 6 FROM fresh f WHERE m.id = f.call""",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=400, help="calls that are written in a round")
    args = parser.parse_args()
    describe()
    rows: list[dict[str, Any]] = []
    trio.run(measure, args, rows)
    write(args.json, "data_index_cost", rows)
    return 0


async def measure(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    async with stage(args.calls, args.keep) as dsn, open_database(dsn, size=1) as database:
        for table in _WRITES:
            show_head(table)
            for name, size in await database.run(_indexes, table):
                rows.append(await _cost(database, table, name, size, args) | {"calls": args.calls})
                show(rows[-1])


async def _refresh(connection: Connection, batch: int) -> None:
    """Rows with ids that no earlier round has left dead entries of."""
    await connection.execute(_FRESH_ID)
    await connection.execute(_FRESH.replace("$1", str(batch)))
    await connection.execute(_FRESH_PEOPLE)
    await connection.execute("ANALYZE fresh, fresh_people")


async def _indexes(connection: Connection, table: str) -> list[tuple[str, int]]:
    """Names and sizes (bytes) of the indexes that no key needs, and then `ALL` of them."""
    rows = await connection.fetch(
        """
        SELECT relname, pg_relation_size(x.indexrelid) AS size
          FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
         WHERE x.indrelid = $1::text::regclass
           AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = x.indexrelid) ORDER BY 1
        """,
        table,
    )
    found = [(row["relname"], row["size"]) for row in rows]
    return [*found, (ALL, sum(size for _, size in found))]


class _RolledBack(Exception):
    """Carries the times out of a transaction that must not stay."""

    def __init__(self, insert: float, update: float) -> None:
        self.times = insert, update


def _cpu_us(pid: int) -> float:
    """The time that a process of one thread has been on a CPU."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000


async def _life(connection: Connection, table: str, without: list[str], batch: int) -> None:
    """µs of CPU for a row's insert and update, without these indexes, as `_RolledBack`."""
    await _refresh(connection, batch)
    for name in without:
        await connection.execute(f'DROP INDEX "{name}"')
    if table != "call_sessions":
        await connection.execute(_CALLS)
    pid = await connection.fetchval("SELECT pg_backend_pid()")
    times = []
    for sql in _WRITES[table]:
        began = _cpu_us(pid)
        count = rows_of(await connection.execute(sql))
        times.append((_cpu_us(pid) - began) / count)
    raise _RolledBack(*times)


async def _cost(
    database: Database, table: str, name: str, size: int, args: argparse.Namespace
) -> dict[str, Any]:
    every = [one for one, _ in await database.run(_indexes, table) if one != ALL]

    async def life(without: list[str]) -> tuple[float, float]:
        try:
            await database.run(_life, table, without, args.batch)
        except _RolledBack as done:
            return done.times
        raise AssertionError

    with_it: list[tuple[float, float]] = []
    without_it: list[tuple[float, float]] = []
    for number in range(args.rounds):
        order = [(with_it, []), (without_it, every if name == ALL else [name])]
        for samples, dropped in order if number % 2 else reversed(order):
            samples.append(await life(dropped))
    row: dict[str, Any] = {"table": table, "index": name, "size_mb": size / 1e6}
    for column, what in enumerate(("insert", "update")):
        whole = min(one[column] for one in with_it)
        cost = whole - min(one[column] for one in without_it)
        row |= {f"{what}_us": whole, f"{what}_cost_us": cost, f"{what}_share": cost / whole}
    return row


def show_head(table: str) -> None:
    print(f"{table:<54}      MB   an insert, µs     an update, µs")


def show(row: dict[str, Any]) -> None:
    cells = "  ".join(
        f"{row[f'{what}_cost_us']:6.1f} of {row[f'{what}_us']:4.0f} ({row[f'{what}_share']:4.0%})"
        for what in ("insert", "update")
    )
    print(f"  {row['index']:<52} {row['size_mb']:7.1f}  {cells}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
