"""How long does a packet take through the server, against load, and with its Trio thread blocked?

From before the sender seals it to the kernel's time of arrival at each receiver, all over loopback, every
packet verified. The bare loop and the server take turns at the same pace; a load is a part of what the bare
loop could forward here and now. What the media's core makes any thread wait, awake or to be woken, is beside.

    python -m bench.forward_latency [--consumers 10,50] [--packets 1,8] [--loads 0.1,0.3,0.6] [--json FILE]
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
from argparse import Namespace
from array import array
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from bench import program
from bench.load.cpu import thread_times
from bench.report import POINTS, faults, points, write

if TYPE_CHECKING:
    from bench.native.bare import Bare
    from bench.native.driver import Driver

PAYLOAD = 1200
_WINDOW_PACKETS = 16  # under way at most while the bare loop shows what it can
_CALIBRATE_S = 0.3
_MACHINE_S = 0.5
_BLOCKED_S = 1.5
_KEPT = 0.95

Row = dict[str, Any]


class Round(NamedTuple):
    latencies: array[int]  # ns, in rising order
    faults: dict[str, float]
    busy: float  # of a core
    kept: float  # part of the pace that the load could keep: it verifies all, on one core


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--consumers", default="10,50")
    parser.add_argument("--packets", default="1,8")
    parser.add_argument("--loads", default="0.1,0.3", help="of one core")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    program.begin()
    rows: list[Row] = []
    loads = [float(load) for load in args.loads.split(",")]
    for count in [int(one) for one in args.consumers.split(",")]:
        for packets in [int(one) for one in args.packets.split(",")]:
            trio.run(ask, count, packets, loads, args, rows)
    write(args.json, "forward_latency", rows)
    return 0 if not any(one["faults"] for one in rows) else 1


def show(row: Row) -> None:
    figures = "  ".join(f"{name} {row[name]:7.0f}" for name in [*POINTS, "max"])
    line = (
        f"{row['what']:>15}  1 to {row['consumers']:<4} frames of {row['packets']:<2} load {row['load']:4.0%}"
    )
    line += f"  µs: {figures}"
    if "busy" in row:
        line += f"  {row['busy']:4.0%} busy"
    if row.get("kept", 1) < _KEPT:
        line += f"  at {row['kept']:3.0%} of the pace: no more load"
    if "p50_ratio" in row:
        line += f"  p50 {row['p50_ratio']:4.2f}, p99 {row['p99_ratio']:4.2f} x the limit"
    print(line if not row["faults"] else f"{line}  NOT CLEAN: {row['faults']}", flush=True)


def measured(thread: int, pid: int, driver: Driver, seconds: float, **how: float) -> Round:
    """What the driver found, and the time that the thread took for it."""
    before = thread_times(pid)[thread][1]
    found = driver.run(seconds, **how)  # type: ignore[arg-type]
    taken = thread_times(pid)[thread][1] - before
    kept = found["sent"] / (how["packets"] * how["fps"] * seconds)
    return Round(driver.latencies(), faults(found), taken / seconds / 1e9, kept)


def together(rounds: Sequence[Round]) -> Row:
    """The points of all that was measured in any of them."""
    wrong: Counter[str] = Counter()
    for one in rounds:
        wrong.update(one.faults)
    return {
        **points(sorted(chain.from_iterable(one.latencies for one in rounds))),
        "busy": statistics.fmean(one.busy for one in rounds),
        "kept": statistics.fmean(one.kept for one in rounds),
        "faults": dict(wrong),
    }


def ratio(rounds: Sequence[Round], limits: Sequence[Round], point: str) -> float:
    """The median of the ratios of neighbours."""
    pairs = zip(rounds, limits, strict=True)
    return statistics.median(
        points(one.latencies)[point] / points(limit.latencies)[point] for one, limit in pairs
    )


def fps_at(load: float, count: int, packets: int, driver: Driver, loop: Bare) -> float:
    """Frames a second that take this part of the bare loop's core.

    By what a frame costs when there is always another one, and then by what it costs at the pace found: where
    the load is slower than the loop, the loop sleeps, and pays for being woken.
    """
    how: dict[str, float] = {"window": max(2, _WINDOW_PACKETS // packets)}
    for _ in range(2):
        forwarded, before = loop.forwarded, thread_times(os.getpid())[loop.thread][1]
        driver.run(_CALIBRATE_S, packets=packets, payload=PAYLOAD, **how)  # type: ignore[arg-type]
        taken = thread_times(os.getpid())[loop.thread][1] - before
        how = {"fps": load * 1e9 * (loop.forwarded - forwarded) / (taken * count * packets)}
    return how["fps"]


async def ask(count: int, packets: int, loads: list[float], args: Namespace, rows: list[Row]) -> None:
    from bench.load.stage import bare_stage, media_thread, tandem_stage
    from bench.load.stalls import awake, woken

    in_thread = trio.to_thread.run_sync
    async with tandem_stage(count, 0, args.set, stamps=True) as stage:
        server = stage.server.pid
        with bare_stage(count, 0, gso=packets > 1, stamps=True) as (driver, loop):
            for load in loads:
                fps = await in_thread(fps_at, load, count, packets, driver, loop)
                how = {"packets": packets, "payload": PAYLOAD, "fps": fps}
                bare = partial(measured, loop.thread, os.getpid(), driver, **how)
                tandem = partial(measured, media_thread(server), server, stage.driver, **how)
                limits, rounds = [], []
                for _ in range(args.rounds):
                    stage.call.keep_alive()
                    limits.append(await in_thread(bare, args.seconds))
                    rounds.append(await in_thread(tandem, args.seconds))
                against = {f"{point}_ratio": ratio(rounds, limits, point) for point in ("p50", "p99")}
                found: dict[str, Row] = {
                    "machine, awake": {**await in_thread(awake, _MACHINE_S), "faults": {}},
                    "machine, woken": {**await in_thread(woken, _MACHINE_S, 1 / fps), "faults": {}},
                    "bare": together(limits),
                    "tandem": {**together(rounds), **against},
                }
                os.kill(server, signal.SIGUSR1)
                await in_thread(stage.server.must_be_silent)
                found["tandem, blocked"] = together([await in_thread(tandem, _BLOCKED_S)])
                for what, row in found.items():
                    rows.append({"what": what, "consumers": count, "packets": packets, "load": load, **row})
                    show(rows[-1])
                await trio.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
