"""How far does one core go before the first packet is lost?

One camera to N receivers at a pace that rises step by step until something is missing: frames of eight
packets of 1,200 bytes, evenly spaced. The last pace at which nothing was lost is the answer, beside the bare
loop's. One receiver verifies; the others' packets are dropped by a sink, and counted by the server when it
gives them to the kernel: what it does not give is lost too.

    python -m bench.capacity [--consumers 50] [--packets 8] [--start 0.3] [--step 1.15] [--seconds 0.7]
        [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from bench import program
from bench.load import namespace
from bench.load.fan import fan_stage
from bench.report import write

PAYLOAD = 1200
_TARGET = 1_000_000  # forwarded packets a second, 1 to 200
_TRIES = 3
_FIRST_RATE = 1_000_000  # forwarded packets a second that `--start` is a share of

# Runs at a number of frames a second: what the driver found, forwarded packets, and the CPU they took in ns.
Step = Callable[[float], tuple[dict[str, float], int, int]]


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--consumers", default="50,200")
    parser.add_argument("--packets", type=int, default=8, help="of a frame")
    parser.add_argument("--start", type=float, default=0.3, help="million forwarded packets a second")
    parser.add_argument("--step", type=float, default=1.15, help="how much faster each step is")
    parser.add_argument("--seconds", type=float, default=0.7, help="of each step")
    args = parser.parse_args()
    if args.step <= 1.01 or args.start <= 0:
        parser.error("a step above 1.01 and a start above 0")
    program.begin()
    rows: list[dict[str, Any]] = []
    for count in [int(one) for one in args.consumers.split(",")]:
        rows.append(climb("bare", args, count, bare_step(args, count)))
        with tandem_step(args, count) as step:
            row = climb("tandem", args, count, step)
        row["ratio"] = row["rate"] / max(1.0, rows[-1]["rate"])
        if count == 200:
            row["target"], row["met"] = _TARGET, row["rate"] >= _TARGET
        rows.append(row)
    write(args.json, "capacity", rows)
    return 0 if all(row["rate"] for row in rows) else 1


def climb(what: str, args: argparse.Namespace, count: int, step: Step) -> dict[str, Any]:
    """The fastest pace without loss. A step that loses is tried again: the machine may have been busy."""
    row: dict[str, Any] = {
        "what": what,
        "consumers": count,
        "packets": args.packets,
        "rate": 0.0,
        "busy": 0.0,
    }
    fps = args.start * _FIRST_RATE / count / args.packets
    behind = 0  # steps in which the load was no faster than before
    while behind < _TRIES:
        for _ in range(_TRIES):
            found, forwarded, ns = step(fps)
            lost = found["missing"] + found["twice"] + found["forged"] + found["send_failures"]
            lost += max(0, found["sent"] * count - forwarded)
            if not lost:
                break
        else:
            row["ended_by"] = "loss"
            row["lost"] = lost / max(1.0, found["sent"] * count)
            row["lost_at"] = found["sent"] * count / args.seconds
            break
        rate = found["sent"] * count / args.seconds
        behind = 0 if rate > row["rate"] else behind + 1
        if rate > row["rate"]:
            row |= {"rate": rate, "busy": ns / args.seconds / 1e9, "gbit": rate * (PAYLOAD + 40) * 8 / 1e9}
        fps *= args.step
    else:
        row["ended_by"] = "the load: it sends no faster"
    print(
        f"{what:>8}  1 to {count:<4} {row['rate'] / 1000:8.0f} k packets/s without loss, "
        f"{row.get('gbit', 0.0):5.1f} Gbit/s, {row['busy']:4.0%} busy; ended by {row['ended_by']}",
        flush=True,
    )
    return row


def bare_step(args: argparse.Namespace, count: int) -> Step:
    from bench.load.stage import bare_stage

    def step(fps: float) -> tuple[dict[str, float], int, int]:
        with bare_stage(1, count - 1, gso=True, stamps=False) as (driver, loop):
            namespace.sink(True)
            try:
                found = driver.run(args.seconds, packets=args.packets, payload=PAYLOAD, fps=fps)
            finally:
                namespace.sink(False)
        return found, loop.forwarded, loop.cpu_ns

    return step


@contextmanager
def tandem_step(args: argparse.Namespace, count: int) -> Any:
    with fan_stage(1, count - 1, args.set) as fan:

        def step(fps: float) -> tuple[dict[str, float], int, int]:
            found, cost = fan.run(args.seconds, packets=args.packets, payload=PAYLOAD, fps=fps)
            return found, cost.forwarded, cost.engine_ns

        yield step


if __name__ == "__main__":
    sys.exit(main())
