"""How long does each access pattern take on a million calls, and by which index?

Each function of `server.db.queries` runs over random keys on a warm cache: on PostgreSQL's side (planning,
execution, making the rows) by EXPLAIN (ANALYZE, SERIALIZE) of its prepared statements; and as the server
calls it, through pool and transaction, by the clock. Not to use an index, or to read thousands of rows for a
page, is a fault.

    python -m bench.data.access [--calls 1000000] [--keep DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from bench.data.explained import explain, generic, indexes, rows_read
from bench.data.patterns import READS, WRITES, Pattern, questions
from bench.data.playground import playground
from bench.data.stage import add_arguments, stage
from bench.report import describe, write
from server.db.pool import Database, open_database

_WARM_UP = 0.2  # of the runs


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--runs", type=int, default=100, help="of each pattern, at most")
    args = parser.parse_args()
    describe()
    rows: list[dict[str, Any]] = []
    trio.run(measure, args, rows)
    write(args.json, "data_access", rows)
    return 0 if all(row["met"] is not False and not row["faults"] for row in rows) else 1


async def measure(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    async with stage(args.calls, args.keep) as dsn, sessions(dsn) as (one, pool):
        print(f"{args.calls:>32,} calls    PostgreSQL, ms     as called, ms")
        print(f"{'':>44}p50     p99       p50     p99   target", flush=True)
        for pattern in READS:
            rows.append(await ask(pattern, one, pool, args.runs) | {"calls": args.calls})
            show(rows[-1])
        async with playground(pool):
            for pattern in WRITES:
                rows.append(await ask(pattern, one, pool, args.runs) | {"calls": args.calls})
                show(rows[-1])


@asynccontextmanager
async def sessions(dsn: str) -> AsyncIterator[tuple[Database, Database]]:
    """One session, in which explained statements stay prepared, and the server's pool."""
    async with open_database(dsn, size=1) as one, open_database(dsn, size=20) as pool:
        yield one, pool


async def ask(pattern: Pattern, one: Database, pool: Database, runs: int) -> dict[str, Any]:
    """A row of the table. The runs by the clock have other keys: what has ended cannot end again."""
    asked = (await questions(one, pattern))[: 2 * runs]
    explained, called = asked[: len(asked) // 2], asked[len(asked) // 2 :]
    prepared: dict[str, str] = {}
    used, read, on_server, by_clock = set[str](), Counter[str](), list[float](), list[float]()
    for values, named in explained:
        found = await one.run(explain, prepared, pattern.unit, *values, **named)
        on_server.append(sum(statement.ms for statement in found))
        used |= indexes(found)
        read |= rows_read(found)
    for values, named in explained[:5]:
        read |= rows_read(await one.run(generic, prepared, pattern.unit, *values, **named))
    for values, named in called:
        began = time.perf_counter()
        await pool.run(pattern.unit, *values, **named)
        by_clock.append((time.perf_counter() - began) * 1000)
    server_p50, server_p99 = points(on_server)
    called_p50, called_p99 = points(by_clock)
    return {
        "pattern": pattern.name,
        "runs": len(explained),
        "server_p50_ms": server_p50,
        "server_p99_ms": server_p99,
        "called_p50_ms": called_p50,
        "called_p99_ms": called_p99,
        "target": pattern.target,
        "met": None if pattern.target is None else server_p50 < pattern.target,
        "rows_read": max(read.values(), default=0),
        "indexes": " ".join(sorted(used)),
        "faults": "; ".join(pattern.faults(used, read)),
    }


def points(samples: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile of the samples after the first fifth, which warm up."""
    warm = sorted(samples[int(len(samples) * _WARM_UP) :])
    return warm[len(warm) // 2], warm[min(len(warm) - 1, int(len(warm) * 0.99))]


def show(row: dict[str, Any]) -> None:
    cells = "  ".join(
        f"{row[f'{side}_p50_ms']:7.2f} {row[f'{side}_p99_ms']:7.2f}" for side in ("server", "called")
    )
    goal = "" if row["target"] is None else f"< {row['target']:.0f}, {'met' if row['met'] else 'MISSED'}"
    print(f"{row['pattern']:>42} {cells}   {goal}  {row['faults']}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
