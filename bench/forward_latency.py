"""How long does a packet take through the server, against load, and with its Trio thread blocked?

From before the sender seals it to the kernel's time of arrival at each receiver, all over loopback; the bare
loop's figure, measured in the same run, holds what sender, kernel and serial fan-out take. Every packet is
verified.

    python -m bench.forward_latency [--consumers 10,50] [--packets 1,8] [--loads 0.1,0.3,0.6] [--json FILE]
"""

from __future__ import annotations

import os
import signal
import sys
from array import array
from functools import partial
from typing import Any

import trio

from bench import program
from bench.report import POINTS, faults, points, write

PAYLOAD = 1200
# ns of the server's CPU per forwarded packet on loopback, to turn a load into a rate: singles, and of frames.
_COST = {False: 3500, True: 1200}


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--consumers", default="10,50")
    parser.add_argument("--packets", default="1,8")
    parser.add_argument("--loads", default="0.1,0.3", help="of one core")
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    program.begin()
    plan = [
        (int(packets), float(load)) for packets in args.packets.split(",") for load in args.loads.split(",")
    ]
    rows: list[dict[str, Any]] = []
    for count in [int(one) for one in args.consumers.split(",")]:
        for packets, load in plan:
            rows.append(bare(count, packets, load, args.seconds))
            show(rows[-1])
        trio.run(tandem, count, plan, args.seconds, args.set, rows)
    write(args.json, "forward_latency", rows)
    return 0 if not any(one["faults"] for one in rows) else 1


def fps(count: int, packets: int, load: float) -> float:
    return load * 1e9 / (_COST[packets > 1] * count * packets)


def show(row: dict[str, Any]) -> None:
    figures = "  ".join(f"{name} {row[name]:7.0f}" for name in [*POINTS, "max"])
    line = (
        f"{row['what']:>15}  1 to {row['consumers']:<4} frames of {row['packets']:<2} load {row['load']:4.0%}"
    )
    line += f"  µs: {figures}"
    print(line if not row["faults"] else f"{line}  NOT CLEAN: {row['faults']}", flush=True)


def _row(
    what: str, count: int, packets: int, load: float, found: dict[str, float], latencies: array[int]
) -> dict[str, Any]:
    return {
        "what": what,
        "consumers": count,
        "packets": packets,
        "load": load,
        **points(latencies),
        "measured": len(latencies),
        "faults": faults(found),
    }


def bare(count: int, packets: int, load: float, seconds: float) -> dict[str, Any]:
    from bench.load.stage import bare_stage

    with bare_stage(count, 0, gso=packets > 1, stamps=True) as (driver, _):
        found = driver.run(seconds, packets=packets, payload=PAYLOAD, fps=fps(count, packets, load))
        latencies = driver.latencies()
    return _row("bare", count, packets, load, found, latencies)


async def tandem(
    count: int,
    plan: list[tuple[int, float]],
    seconds: float,
    settings: list[str],
    rows: list[dict[str, Any]],
) -> None:
    from bench.load.stage import tandem_stage

    async with tandem_stage(count, 0, settings, stamps=True) as stage:
        for packets, load in plan:
            stage.call.keep_alive()
            how = {"packets": packets, "payload": PAYLOAD, "fps": fps(count, packets, load)}
            found, cost = await stage.run(seconds, **how)
            busy = cost.engine_ns / found["seconds"] / 1e9
            rows.append(_row("tandem", count, packets, load, found, stage.driver.latencies()))
            rows[-1]["busy"] = busy
            show(rows[-1])
            os.kill(stage.server.pid, signal.SIGUSR1)
            await trio.to_thread.run_sync(stage.server.must_be_silent)
            again = partial(stage.driver.run, 1.5, **how)  # type: ignore[arg-type]
            blocked = await trio.to_thread.run_sync(again)
            rows.append(_row("tandem, blocked", count, packets, load, blocked, stage.driver.latencies()))
            show(rows[-1])
            await trio.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
