"""How many people a second can join, what does a join cost, and do those who talk already notice?

A join is a WebSocket, `hello`, `call.join`, the SFU's offer answered, an ICE check and a DTLS handshake for
each connection, and the first packet opened. A viewer has one connection, a speaker two, as a page has. All
the while a call of its own forwards video, and its packets are verified and timed.

The joiners share the machine. So besides the rate by the clock there is the server's CPU per join, all its
threads together and until what joins leave to do is done (rows above all), less what it spends while nobody
joins; PostgreSQL's is told apart. Before those that count, some join for a second: a server is new only once.

    python -m bench.joins [--kinds viewer,speaker] [--seconds 5] [--rates 0,100] [--rooms 20] [--json FILE]
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from array import array
from typing import Any

import trio

from bench import program
from bench.load.cpu import family_time, spent, thread_times
from bench.load.crowd import Crowd
from bench.report import faults, write

TARGET = 300.0  # full handshakes a second, by the server's CPU of one core
_OTHER_CALL = {"packets": 4, "payload": 1200, "fps": 60}  # video of 2.3 Mbit/s to ten
_VIEWERS = 10
_QUIET_S = 2.0
_WARM_S = 1.0
_LOOK_S, _PATIENCE = 0.25, 20  # seconds, and how often
_LITTLE = 1e7  # ns of CPU a second


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--kinds", default="viewer,speaker")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--rates", default="0,100", help="joins a second; 0: as many as can be")
    parser.add_argument("--rooms", type=int, default=20, help="that people join, each with one who talks")
    parser.add_argument("--workers", type=int, default=16, help="joins at a time")
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1, help="of the joiners")
    args = parser.parse_args()
    program.begin()
    rows: list[dict[str, Any]] = []
    trio.run(measure, args, rows)
    write(args.json, "joins", rows)
    return 0 if not any(one["faults"] or one["failures"] for one in rows) else 1


async def measure(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    from bench.load.pin import unpin_server
    from bench.load.stage import ENGINE_THREAD, tandem_stage

    async with tandem_stage(_VIEWERS, 0, args.set, stamps=True) as stage:
        unpin_server(stage.server.pid, ENGINE_THREAD)
        for kind in args.kinds.split(","):
            for rate in map(float, args.rates.split(",")):
                stage.call.keep_alive()
                rows.append(await one_run(stage, args, kind, rate))
                show(rows[-1])


async def one_run(stage: Any, args: argparse.Namespace, kind: str, rate: float) -> dict[str, Any]:
    """As many joins as can be (rate 0), or that many a second."""
    crowd = Crowd(
        stage.call.url, kind=kind, rate=rate, seconds=args.seconds, warm=_WARM_S, rooms=args.rooms,
        workers=args.workers, core=args.core,
    )  # fmt: skip
    async with crowd:
        idle = await settled(stage.server.pid)
        quiet, quiet_cost = await stage.run(_QUIET_S, **_OTHER_CALL)
        calm = stage.driver.latencies()
        before, database = thread_times(stage.server.pid), family_time(stage.server.pid)
        began = time.monotonic()
        crowd.go()
        found = await trio.to_thread.run_sync(lambda: stage.driver.run(args.seconds, **_OTHER_CALL))
        busy = stage.driver.latencies()
        result = await crowd.result()
        took = time.monotonic() - began
        await settled(stage.server.pid, idle)
        longer = time.monotonic() - began - found["seconds"]  # than the other call
        after, database = thread_times(stage.server.pid), family_time(stage.server.pid) - database
    done = result["done"]
    background = quiet_cost.process_ns / quiet["seconds"] * found["seconds"] + idle * longer
    cpu_ms = (spent(before, after, "") - background) / 1e6 / max(1, len(done))
    handshakes = 2 if kind == "speaker" else 1
    return {
        "kind": kind,
        "asked_rate": rate,
        "joins": len(done),
        "failures": result["failures"][:5],
        "rate": len(done) / took,
        "cpu_ms": cpu_ms,
        "database_ms": database / 1e6 / max(1, len(done)),
        "joins_per_core_second": 1000 / cpu_ms,
        "handshakes_per_core_second": 1000 * handshakes / cpu_ms,
        # At a pace each join finds the server asleep: how many can join is told by as many as can be.
        **({} if rate else {"target": TARGET, "met": 1000 * handshakes / cpu_ms >= TARGET}),
        **{
            f"{name}_{point}_ms": value
            for name in _STEPS
            for point, value in _points([one[name] * 1000 for one in done]).items()
        },
        **{f"other_quiet_{point}_us": value for point, value in _points(_us(calm)).items()},
        **{f"other_joins_{point}_us": value for point, value in _points(_us(busy)).items()},
        "faults": {**faults(quiet), **faults(found)},
    }


async def settled(pid: int, idle: float | None = None) -> float:
    """Wait until the server spends no less than a moment before, or as little as `idle`; returns what it
    spends, in ns of CPU a second."""
    last = math.inf
    for _ in range(_PATIENCE):
        before, began = thread_times(pid), time.monotonic()
        await trio.sleep(_LOOK_S)
        now = spent(before, thread_times(pid), "") / (time.monotonic() - began)
        if now > 0.8 * last if idle is None else now < 1.3 * idle + _LITTLE:
            break
        last = now
    return now


_POINTS = {"p50": 0.5, "p99": 0.99}
_STEPS = ("answered", "ready", "first_packet")


def _us(latencies: array[int]) -> list[float]:
    return [one / 1000 for one in latencies]


def _points(values: list[float]) -> dict[str, float]:
    values = sorted(values) or [0.0]
    last = len(values) - 1
    return {name: values[min(last, int(len(values) * part))] for name, part in _POINTS.items()}


def show(row: dict[str, Any]) -> None:
    asked = f"{row['asked_rate']:.0f}/s asked" if row["asked_rate"] else "as many as can be"
    line = f"{row['kind']:>8}, {asked:<18} {row['rate']:5.0f} joins/s  {row['cpu_ms']:5.2f} ms of CPU a join"
    line += (
        f" (+ {row['database_ms']:.2f} of PostgreSQL): {row['handshakes_per_core_second']:4.0f} handshakes/s"
    )
    line += f" a core{'' if row.get('met', True) else ' *'}"
    line += f"  first packet p50 {row['first_packet_p50_ms']:.0f} p99 {row['first_packet_p99_ms']:.0f} ms"
    line += f"  other call p99 {row['other_quiet_p99_us']:.0f} -> {row['other_joins_p99_us']:.0f} µs"
    if row["faults"] or row["failures"]:
        line += f"  NOT CLEAN: {row['faults']} {row['failures']}"
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
