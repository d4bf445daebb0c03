"""What does the same work cost other servers? One sender to N receivers, frames of eight packets.

Tandem, mediasoup's worker, Janus' VideoRoom and a relay of packets by aiortc, each a process that does
nothing else, are given the same paced load in the same run, each over its own signaling. Counted is the whole
process's CPU time. The receivers are behind a veth pair, so that the kernel's cost of receiving is in the
figures too: only their ratios mean something. Every packet of every receiver is verified.

Saturated is as many frames as the slowest receiver's progress lets through, each server at its own pace; its
receivers take whole UDP_SEGMENT messages, and tell no latency. At 30 and 90 frames a second a server that is
fast pays for waking up above all.

    python -m bench.peer_cost [--consumers 10,50] [--loads 30,saturated] [--seconds 3] [--json FILE]
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from bench import program
from bench.load import namespace, veth
from bench.load.cpu import spent, thread_times
from bench.load.endpoint import Endpoint
from bench.load.pin import apart
from bench.report import POINTS, faults, points, write

PACKETS, PAYLOAD = 8, 1200
Loads = dict[str, dict[str, float]]  # by name, what Driver.run wants


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--consumers", default="10,50")
    parser.add_argument("--loads", default="30,saturated", help="frames a second, or saturated")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="tandem,mediasoup,janus,aiortc")
    args = parser.parse_args()
    if unknown := set(args.only.split(",")) - _SERVERS.keys():
        parser.error(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(_SERVERS)}")
    program.begin(veth.prepare)
    loads = {name: how(name) for name in args.loads.split(",")}
    rows: list[dict[str, Any]] = []
    asked, failed = [], False
    for name in args.only.split(","):
        if why_not := _missing(name):
            rows.append(not_compared(name, why_not))
        else:
            asked.append(name)
    for count in [int(one) for one in args.consumers.split(",")]:
        mine: dict[str, float] = {}
        for name in list(asked):
            try:
                found = trio.run(_SERVERS[name], count, loads, args.seconds, args.set)
            except Exception as error:
                traceback.print_exception(error)
                rows.append(not_compared(name, f"it failed with {count} receivers"))
                asked.remove(name)
                failed = True
                continue
            for row in found:
                if name == "tandem":
                    mine[row["load"]] = row["ns"]
                if row["load"] in mine:
                    row["times_tandem"] = row["ns"] / mine[row["load"]]
                rows.append(row)
                show(row)
    write(args.json, "peer_cost", rows)
    ours_wrong = any(row["what"] == "tandem" and row.get("faults") for row in rows)
    return 1 if failed or ours_wrong else 0


def not_compared(name: str, why: str) -> dict[str, Any]:
    print(f"{name:>9}  not compared: {why}", flush=True)
    return {"what": name, "not_compared": why}


def how(load: str) -> dict[str, float]:
    """ValueError where it is neither "saturated" nor a number."""
    return {"window": 2} if load == "saturated" else {"fps": float(load)}


def show(row: dict[str, Any]) -> None:
    line = f"{row['what']:>9}  1 to {row['consumers']:<4} {row['load']:>10}"
    line += f" {row['ns']:8,.0f} ns a packet {row['rate'] / 1000:5,.0f} k/s {row['busy']:4.0%} busy"
    if "times_tandem" in row:
        line += f" {row['times_tandem']:6.1f} x Tandem"
    line += f"  {row['profile']}"
    if "max" in row:
        line += "  µs: " + "  ".join(f"{name} {row[name]:6,.0f}" for name in [*POINTS, "max"])
    print(line + (f"  NOT CLEAN: {row['faults']}" if row["faults"] else ""), flush=True)


def _missing(name: str) -> str | None:
    from bench.peers import aiortc_room, janus, mediasoup

    asked = {"mediasoup": mediasoup, "janus": janus, "aiortc": aiortc_room}.get(name)
    return asked.missing() if asked else None


async def _measure(
    what: str, pid: int, driver: Any, receivers: list[Endpoint], loads: Loads, seconds: float
) -> list[dict[str, Any]]:
    rows = []
    for load, pace in loads.items():
        paced = "fps" in pace
        for one in receivers:
            one.listen(gro=not paced, stamps=paced)
        before, began = thread_times(pid), time.monotonic()
        found = await trio.to_thread.run_sync(
            partial(driver.run, seconds, packets=PACKETS, payload=PAYLOAD, **pace)
        )
        ns, took = spent(before, thread_times(pid), ""), time.monotonic() - began
        forwarded = max(1, int(found["received"]))
        row = {"what": what, "consumers": len(receivers), "load": load, "profile": receivers[0].profile}
        row |= {"ns": ns / forwarded, "busy": ns / took / 1e9, "rate": forwarded / took}
        if paced and found["received"]:
            row |= points(driver.latencies())
        rows.append({**row, "forwarded": forwarded, "faults": faults(found)})
    return rows


async def _tandem(count: int, loads: Loads, seconds: float, settings: list[str]) -> list[dict[str, Any]]:
    from bench.load.stage import tandem_stage

    async with tandem_stage(count, 0, settings, stamps=True) as stage:
        stage.call.keep_alive()
        receivers = [one.endpoint for one in stage.call.subscribers]
        return await _measure("tandem", stage.server.pid, stage.driver, receivers, loads, seconds)


async def _mediasoup(count: int, loads: Loads, seconds: float, _: list[str]) -> list[dict[str, Any]]:
    from bench.peers import mediasoup

    return await _other("mediasoup", mediasoup.running, mediasoup.Room, count, loads, seconds)


async def _janus(count: int, loads: Loads, seconds: float, _: list[str]) -> list[dict[str, Any]]:
    from bench.peers import janus

    return await _other("janus", janus.running, janus.Room, count, loads, seconds)


async def _aiortc(count: int, loads: Loads, seconds: float, _: list[str]) -> list[dict[str, Any]]:
    from bench.peers import aiortc_room

    return await _other("aiortc", aiortc_room.running, aiortc_room.Room, count, loads, seconds)


async def _other(
    what: str, running: Any, make: Any, count: int, loads: Loads, seconds: float
) -> list[dict[str, Any]]:
    from bench.load.tandem import MID, MID_EXTENSION, PAYLOAD_TYPE, SSRC, TWCC_EXTENSION
    from bench.native.driver import Driver

    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as pid, trio.open_nursery() as nursery:
            with apart():
                room = make(nursery)
                with trio.fail_after(60):
                    await _join(room, count)
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
                rows = await _measure(what, pid, driver, room.subscribers, loads, seconds)
            nursery.cancel_scope.cancel()
    return rows


async def _join(room: Any, count: int) -> None:
    await room.publish(namespace.WITNESS)
    # All at once: Janus misses each one's first ClientHello, which comes again after a second.
    async with trio.open_nursery() as nursery:
        for n in range(1, count + 1):
            nursery.start_soon(room.subscribe, namespace.subscriber_address(n))


_SERVERS: dict[str, Callable[[int, Loads, float, list[str]], Awaitable[list[dict[str, Any]]]]] = {
    "tandem": _tandem,
    "mediasoup": _mediasoup,
    "janus": _janus,
    "aiortc": _aiortc,
}


if __name__ == "__main__":
    sys.exit(main())
