"""What does a forwarded packet cost one core when the kernel's work of receiving it is counted, too?

The receivers are behind a veth pair, in a network namespace of their own: what the server sends is received
by the same core, as far as their sockets. One sender to N receivers, frames of eight packets, paced and
saturated; the bare loop in the same run, with and without GSO. Every packet of every receiver is verified.

The server's cost is that of its whole process; `engine_us` is its media thread's alone.

    python -m bench.veth [--consumers 50] [--gso on,off] [--seconds 2] [--json FILE]
"""

from __future__ import annotations

import sys
from typing import Any

import trio

from bench import program
from bench.load import veth
from bench.report import faults, write

TARGET_US = 2.2  # 1 to 50; mediasoup was seen at 6.7, Janus at 18.3
_TARGET_AT = 50
_PACKETS, _PAYLOAD, _FPS = 8, 1200, 30


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--consumers", default="50")
    parser.add_argument("--gso", default="on,off", choices=("on", "off", "on,off"))
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    program.begin(veth.prepare)
    rows: list[dict[str, Any]] = []
    for count in [int(one) for one in args.consumers.split(",")]:
        for gso in [one == "on" for one in args.gso.split(",")]:
            limits = bare(count, args.seconds, gso=gso)
            for row in [*limits, *trio.run(tandem, count, args.seconds, gso, args.set)]:
                limit = next(one["us"] for one in limits if one["load"] == row["load"])
                row["ratio"] = row["us"] / limit
                if row["what"] == "tandem" and count == _TARGET_AT and gso:
                    row |= {"target": TARGET_US, "met": row["us"] <= TARGET_US}
                rows.append(row)
                show(row)
    write(args.json, "veth", rows)
    return 0 if not any(one["faults"] for one in rows) else 1


def _loads(count: int) -> dict[str, dict[str, float]]:
    common = {"packets": _PACKETS, "payload": _PAYLOAD}
    return {f"{_FPS} fps": {**common, "fps": _FPS}, "saturated": {**common, "window": 2}}


def bare(count: int, seconds: float, *, gso: bool) -> list[dict[str, Any]]:
    from bench.load.stage import bare_stage

    rows = []
    for load, how in _loads(count).items():
        with bare_stage(count, 0, gso=gso, stamps=False) as (driver, loop):
            found = driver.run(seconds, **how)  # type: ignore[arg-type]
        rows.append(_row("bare", count, load, gso, found, loop.cpu_ns, loop.forwarded, loop.messages))
    return rows


async def tandem(count: int, seconds: float, gso: bool, settings: list[str]) -> list[dict[str, Any]]:
    from bench.load.stage import tandem_stage

    rows = []
    offload = [] if gso else ["media.udp_offload=false"]
    async with tandem_stage(count, 0, [*offload, *settings], stamps=False) as stage:
        for load, how in _loads(count).items():
            stage.call.keep_alive()
            found, cost = await stage.run(seconds, **how)
            row = _row("tandem", count, load, gso, found, cost.process_ns, cost.forwarded, cost.messages)
            rows.append({**row, "engine_us": cost.engine_ns / 1000 / max(1, cost.forwarded)})
    return rows


def _row(
    what: str,
    count: int,
    load: str,
    gso: bool,
    found: dict[str, float],
    ns: int,
    forwarded: int,
    messages: int,
) -> dict[str, Any]:
    return {
        "what": what,
        "gso": gso,
        "consumers": count,
        "load": load,
        "us": ns / 1000 / max(1, forwarded),
        "rate": forwarded / found["seconds"],
        "busy": ns / 1e9 / found["seconds"],
        "per_message": forwarded / max(1, messages),
        "faults": faults(found),
    }


def show(row: dict[str, Any]) -> None:
    line = f"{row['what']:>7} {'GSO' if row['gso'] else '   '}  1 to {row['consumers']:<4} {row['load']:>10}"
    line += f"  {row['us']:6.2f} µs a packet  {row['rate'] / 1000:6.0f} k/s  {row['busy']:4.0%} busy"
    line += f"  {row['per_message']:4.1f} a message  {row['ratio']:5.2f} x the limit"
    if "engine_us" in row:
        line += f"  media thread {row['engine_us']:.2f} µs"
    if "target" in row:
        line += f"  (target {row['target']}{'' if row['met'] else ': missed'})"
    print(line if not row["faults"] else f"{line}  NOT CLEAN: {row['faults']}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
