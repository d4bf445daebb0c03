"""Do packets take longer while the rest of the server is busy?

One call forwards single packets to ten; its latency when nothing else happens is the measure. Then, in the
same run: the Trio thread blocked for two seconds; a thousand people joining other rooms; other calls that
switch from P2P to the SFU, one after the other. Every packet is verified.

    python -m bench.latency_while [--joins 1000] [--rate 100] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from bench import program
from bench.load.crowd import Crowd
from bench.report import POINTS, faults, points, write

_CALL = {"packets": 1, "payload": 1200, "fps": 1000}
_VIEWERS = 10
_WORKERS = 8
_SPEAKERS = 3  # of a room that switches


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--joins", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100.0, help="joins a second")
    parser.add_argument("--switches", type=int, default=30)
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1, help="of those who join")
    args = parser.parse_args()
    program.begin()
    rows: list[dict[str, Any]] = []
    trio.run(measure, args, rows)
    write(args.json, "latency_while", rows)
    return 0 if not any(one["faults"] for one in rows) else 1


async def measure(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    from bench.load.pin import unpin_server
    from bench.load.stage import ENGINE_THREAD, tandem_stage

    def add(what: str, stage: Any, found: dict[str, float], **more: Any) -> None:
        row = {"while": what, **points(stage.driver.latencies()), **more, "faults": faults(found)}
        quiet = next((one for one in reversed(rows) if one["while"] == "quiet"), row)
        row |= {f"{name}_ratio": row[name] / quiet[name] for name in POINTS}
        rows.append(row)
        show(row)

    async with tandem_stage(_VIEWERS, 0, ["call.policy=auto", *args.set], stamps=True) as stage:
        unpin_server(stage.server.pid, ENGINE_THREAD)

        async def drive(seconds: float) -> dict[str, float]:
            stage.call.keep_alive()
            drive: Callable[[], dict[str, float]] = partial(stage.driver.run, seconds, **_CALL)
            return await trio.to_thread.run_sync(drive)

        add("quiet", stage, await drive(3.0))
        os.kill(stage.server.pid, signal.SIGUSR1)
        await trio.to_thread.run_sync(stage.server.must_be_silent)
        add("Trio is blocked", stage, await drive(1.5))
        await trio.sleep(0.7)
        common = {"workers": _WORKERS, "rate": args.rate, "core": args.core}
        crowd = Crowd(
            stage.call.url, kind="viewer", seconds=60, most=args.joins // _WORKERS, no_packet=True, **common
        )
        async with crowd:
            add("quiet", stage, await drive(3.0))
            crowd.go()
            seconds = args.joins / args.rate
            found = await drive(seconds)
            result = await crowd.result()
            add("people join", stage, found, joins=len(result["done"]), failures=result["failures"][:3])
        # One talks in each room. A second makes it P2P, a third makes it switch.
        crowd = Crowd(
            stage.call.url, kind="speaker", rooms=args.switches, seconds=60, stay=True, no_packet=True,
            most=2 * args.switches // _WORKERS, **common,
        )  # fmt: skip
        async with crowd:
            add("quiet", stage, await drive(3.0))
            before = await trio.to_thread.run_sync(_producers, stage.server.url)
            crowd.go()
            found = await drive(2 * args.switches / args.rate + 1.0)
            result = await crowd.result()
            more = await trio.to_thread.run_sync(_producers, stage.server.url) - before
            switches = more // (2 * _SPEAKERS)
            add("calls switch", stage, found, switches=switches, failures=result["failures"][:3])


def _producers(url: str) -> int:
    """A call has none while it is P2P; each speaker has two from the beginning of the switch on."""
    with urllib.request.urlopen(url + "metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("tandem_media_producers "):
                return int(float(line.split()[-1]))
    raise RuntimeError("the server's metrics name no producers")


def show(row: dict[str, Any]) -> None:
    line = f"{row['while']:>16}  µs: " + "  ".join(f"{name} {row[name]:7.0f}" for name in [*POINTS, "max"])
    line += f"   p50 {row['p50_ratio']:5.2f} x, p99 {row['p99_ratio']:5.2f} x quiet"
    for name in ("joins", "switches"):
        if name in row:
            line += f"  {row[name]} {name}"
    if row["faults"] or row.get("failures"):
        line += f"  NOT CLEAN: {row['faults']} {row.get('failures', '')}"
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
