"""What does the same work cost other servers? One sender to N receivers, frames of eight packets.

Tandem, Janus' VideoRoom and a relay of packets by aiortc, each a process that does nothing else, are given
the same paced load in the same run, each over its own signaling. Counted is the whole process's CPU time.
The receivers are behind a veth pair, so that the kernel's cost of receiving is in the figures too: only their
ratios mean something. Every packet of every receiver is verified.

mediasoup is not among them: its npm package brings no worker where its own download is out of reach.

    python -m bench.peer_cost [--consumers 10,50] [--fps 30] [--seconds 3] [--json FILE]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from bench import program
from bench.load import namespace, veth
from bench.load.cpu import spent, thread_times
from bench.report import POINTS, faults, points, write

PACKETS, PAYLOAD = 8, 1200


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--consumers", default="10,50")
    parser.add_argument("--fps", default="30", help="frames a second")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="tandem,janus,aiortc")
    args = parser.parse_args()
    program.begin(veth.prepare)
    rows: list[dict[str, Any]] = []
    asked = []
    for name in args.only.split(","):
        if why_not := _missing(name):
            print(f"{name:>7}  not compared: {why_not}", flush=True)
        else:
            asked.append(name)
    rates = [int(one) for one in args.fps.split(",")]
    for count in [int(one) for one in args.consumers.split(",")]:
        mine: dict[int, float] = {}
        for name in asked:
            for row in trio.run(_SERVERS[name], count, rates, args.seconds, args.set):
                if name == "tandem":
                    mine[row["fps"]] = row["ns"]
                if row["fps"] in mine:
                    row["times_tandem"] = row["ns"] / mine[row["fps"]]
                rows.append(row)
                show(row)
    write(args.json, "peer_cost", rows)
    return 0


def show(row: dict[str, Any]) -> None:
    line = f"{row['what']:>7}  1 to {row['consumers']:<4} at {row['fps']:>3} fps"
    line += f" {row['ns']:8,.0f} ns a packet {row['busy']:4.0%} busy"
    if "times_tandem" in row:
        line += f" {row['times_tandem']:6.1f} x Tandem"
    line += "  µs: " + "  ".join(f"{name} {row[name]:6,.0f}" for name in [*POINTS, "max"])
    print(
        f"{line}  {row['profile']}" + (f"  NOT CLEAN: {row['faults']}" if row["faults"] else ""), flush=True
    )


def _missing(name: str) -> str | None:
    from bench.peers import aiortc_room, janus

    return {"janus": janus.missing, "aiortc": aiortc_room.missing}.get(name, lambda: None)()


async def _measure(
    what: str, count: int, rates: list[int], seconds: float, pid: int, driver: Any, profile: str
) -> list[dict[str, Any]]:
    rows = []
    for fps in rates:
        before, began = thread_times(pid), time.monotonic()
        paced = partial(driver.run, seconds, packets=PACKETS, payload=PAYLOAD, fps=fps)
        found = await trio.to_thread.run_sync(paced)
        ns, took = spent(before, thread_times(pid), ""), time.monotonic() - began
        forwarded = max(1, int(found["received"]))
        row = {"what": what, "consumers": count, "fps": fps, "ns": ns / forwarded, "busy": ns / took / 1e9}
        row |= {"forwarded": forwarded, **points(driver.latencies())}
        rows.append({**row, "profile": profile, "faults": faults(found)})
    return rows


async def _tandem(count: int, rates: list[int], seconds: float, settings: list[str]) -> list[dict[str, Any]]:
    from bench.load.stage import tandem_stage

    async with tandem_stage(count, 0, settings, stamps=True) as stage:
        stage.call.keep_alive()
        profile = stage.call.subscribers[0].endpoint.profile
        return await _measure("tandem", count, rates, seconds, stage.server.pid, stage.driver, profile)


async def _janus(count: int, rates: list[int], seconds: float, _: list[str]) -> list[dict[str, Any]]:
    from bench.peers import janus

    return await _other("janus", janus.running, janus.Room, count, rates, seconds)


async def _aiortc(count: int, rates: list[int], seconds: float, _: list[str]) -> list[dict[str, Any]]:
    from bench.peers import aiortc_room

    return await _other("aiortc", aiortc_room.running, aiortc_room.Room, count, rates, seconds)


async def _other(
    what: str, running: Any, make: Any, count: int, rates: list[int], seconds: float
) -> list[dict[str, Any]]:
    from bench.load.tandem import MID, MID_EXTENSION, PAYLOAD_TYPE, SSRC, TWCC_EXTENSION
    from bench.native.driver import Driver

    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as pid, trio.open_nursery() as nursery:
            room = make(nursery)
            with trio.fail_after(60):
                await room.publish(namespace.WITNESS)
                for n in range(1, count + 1):
                    await room.subscribe(namespace.subscriber_address(n))
            for one in room.subscribers:
                one.listen(gro=False, stamps=True)
            driver = Driver(
                room.publisher.socket.fileno(),
                room.publisher.pair,
                [(one.socket.fileno(), one.pair) for one in room.subscribers],
                payload_type=PAYLOAD_TYPE,
                mid_id=MID_EXTENSION,
                mid=MID,
                twcc_id=TWCC_EXTENSION,
                ssrc=SSRC,
            )
            await trio.to_thread.run_sync(lambda: driver.run(1.0, packets=1, payload=200, fps=50))
            room.keep_alive()
            rows = await _measure(what, count, rates, seconds, pid, driver, room.subscribers[0].profile)
            nursery.cancel_scope.cancel()
    return rows


_SERVERS: dict[str, Callable[[int, list[int], float, list[str]], Awaitable[list[dict[str, Any]]]]] = {
    "tandem": _tandem,
    "janus": _janus,
    "aiortc": _aiortc,
}


if __name__ == "__main__":
    sys.exit(main())
