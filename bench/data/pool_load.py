"""How large a pool does the server need? The same mixed load through 4, 20 and 50 connections.

Many tasks write and read the rows of live calls without a pause: people join, mute, leave; calls switch
between P2P and SFU; pages of history and participants of producers are read. Each is one unit of work, as in
the server: its time is from asking for a connection to having the answer, commit included.

    python -m bench.data.pool_load [--sizes 4,20,50] [--tasks 64] [--calls 1000000] [--keep DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from bench.data.patterns import READS, WRITES, questions
from bench.data.playground import playground
from bench.data.stage import add_arguments, stage
from bench.report import describe, write
from server.db.pool import Database, open_database

# How often, of 100, and what; the keys of the reads are random ones, those of the writes live calls.
_MIX = {
    "participant mutes": 35, "participant joins": 12, "participant leaves": 12, "participant's SFU ids": 15,
    "switch to P2P, 50 participants": 1, "switch to SFU, 50 participants": 1,
    "history of a room, a page of 50": 8, "calls of a user, the last 20": 6,
    "participant by audio producer": 10,
}  # fmt: skip
_POINTS = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
_WARM_UP_S = 1.0

Operation = Callable[[Database], Awaitable[Any]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--sizes", default="4,20,50")
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    describe()
    rows: list[dict[str, Any]] = []
    trio.run(measure, args, rows)
    write(args.json, "data_pool_load", rows)
    return 0


async def measure(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    async with stage(args.calls, args.keep) as dsn, open_database(dsn, size=1) as one, playground(one):
        operations = await _operations(one)
        for size in [int(text) for text in args.sizes.split(",")]:
            async with open_database(dsn, size=size) as pool:
                await _load(pool, size, operations, args.tasks, _WARM_UP_S)
                rows.append(
                    await _load(pool, size, operations, args.tasks, args.seconds) | {"calls": args.calls}
                )
            show(rows[-1])


async def _operations(database: Database) -> list[Operation]:
    """A hundred kinds of call, by the mix, each with keys that go round."""
    found: list[Operation] = []
    for pattern in (*READS, *WRITES):
        if pattern.name in _MIX:
            unit = pattern.unit
            asked = itertools.cycle(await questions(database, pattern))

            def operation(pool: Database, unit: Any = unit, asked: Any = asked) -> Awaitable[Any]:
                values, named = next(asked)
                return pool.run(unit, *values, **named)

            found += [operation] * _MIX[pattern.name]
    assert len(found) == sum(_MIX.values())
    return found


async def _load(
    pool: Database, size: int, operations: list[Operation], tasks: int, seconds: float
) -> dict[str, Any]:
    chance = random.Random(11)
    samples: list[float] = []

    async def work() -> None:
        while True:
            operation = chance.choice(operations)
            began = time.perf_counter()
            await operation(pool)
            samples.append((time.perf_counter() - began) * 1000)

    cpu = _cpu()
    began = time.perf_counter()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(work)
    passed = time.perf_counter() - began
    samples.sort()
    return {
        "pool": size,
        "tasks": tasks,
        "per_s": len(samples) / passed,
        **{name: samples[int(len(samples) * part)] for name, part in _POINTS.items()},
        "server_cpu": (_cpu() - cpu) / passed,
    }


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def show(row: dict[str, Any]) -> None:
    points = "  ".join(f"{name} {row[name]:6.1f}" for name in _POINTS)
    print(
        f"pool of {row['pool']:2}, {row['tasks']} tasks: {row['per_s']:6.0f} units of work a second,"
        f" ms: {points}, {row['server_cpu']:.0%} of a core in the server",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
