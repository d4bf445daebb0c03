"""What does a forwarded packet cost, from one sender to N receivers, against the limit of the machine?

One publisher sends video frames; N subscribers get them. The subscribers' packets but one's end in a sink,
so that the server alone is measured; that one (the witness) verifies every packet and lets the next frames
out, so that the server has always work and loses nothing. The bare loop is measured in the same run with the
same sender and witness; with GSO, both put into one message what came together. With --no-offload neither
does, as on a kernel that has no UDP_SEGMENT. With --engines 2 and more the receivers are spread over as many
media threads, with witnesses on each; the cost is that of all of them.

    python -m bench.forward_cost [--consumers 1,10,50,200,1000] [--packets 1,8] [--seconds 2] [--no-offload]
        [--json FILE]
"""

from __future__ import annotations

import sys
from typing import Any

from bench import program
from bench.load import namespace
from bench.load.fan import fan_stage
from bench.load.member import Member
from bench.report import faults, write

# Under way at most: there is always work, no buffer overflows, and no more than two frames of eight meet.
WINDOW_PACKETS = 16
PAYLOAD = 1200
# Ratio to the bare loop, 1 to 50 in frames of eight, by whether the kernel's offload is used.
_TARGETS = {True: 1.35, False: 1.25}


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--consumers", default="1,10,50,200", help="1000 takes some 20 s")
    parser.add_argument("--packets", default="1,8", help="packets of a frame")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--bare-only", action="store_true")
    parser.add_argument("--engines", type=int, default=1, help="media threads; leave one core for the load")
    parser.add_argument("--no-offload", action="store_true", help="without UDP_GRO and UDP_SEGMENT")
    args = parser.parse_args()
    program.begin()
    counts = [int(one) for one in args.consumers.split(",")]
    frames = [int(one) for one in args.packets.split(",")]
    rows: list[dict[str, Any]] = []
    for count in counts:
        for packets in frames:
            for gso in (False,) if args.no_offload else (False, True):
                rows.append(bare(count, packets, args.seconds, gso=gso))
                show(rows[-1])
        if not args.bare_only:
            settings = [*args.set, f"media.engines={args.engines}", "media.spread_above=0"]
            for row in tandem(count, frames, args.seconds, settings, args.engines, gso=not args.no_offload):
                limit = [one["ns"] for one in rows if one["what"] == "bare" and _same(one, row)]
                row["ratio"] = row["ns"] / min(limit)
                if (count, row["packets"], args.engines) == (50, 8, 1):
                    row["target"] = _TARGETS[row["gso"]]
                    row["met"] = row["ratio"] <= row["target"]
                rows.append(row)
                show(row)
    write(args.json, "forward_cost", rows)
    return 0 if not any(one["faults"] for one in rows) else 1


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["consumers"] == other["consumers"] and one["packets"] == other["packets"])


def show(row: dict[str, Any]) -> None:
    name = row["what"] + (" GSO" if row.get("gso") else "")
    line = f"{name:>10}  1 to {row['consumers']:<4} frames of {row['packets']:<2}"
    line += f" {row['ns']:8.0f} ns a packet"
    line += f"  {row['rate'] / 1000:8.0f} k/s  {row['busy']:4.0%} busy"
    if "per_message" in row:
        line += f"  {row['per_message']:4.1f} a message"
    if "ratio" in row:
        line += f"  {row['ratio']:5.2f} x the limit"
    print(line if not row["faults"] else f"{line}  NOT CLEAN: {row['faults']}", flush=True)


def _row(
    what: str, count: int, packets: int, found: dict[str, float], ns: int, forwarded: int
) -> dict[str, Any]:
    return {
        "what": what,
        "consumers": count,
        "packets": packets,
        "payload": PAYLOAD,
        "ns": ns / max(1, forwarded),
        "rate": forwarded / found["seconds"],
        "busy": ns / found["seconds"] / 1e9,
        "forwarded": forwarded,
        "faults": faults(found),
    }


def _how(packets: int) -> dict[str, int]:
    return {"packets": packets, "payload": PAYLOAD, "window": max(2, WINDOW_PACKETS // packets)}


def bare(count: int, packets: int, seconds: float, *, gso: bool) -> dict[str, Any]:
    from bench.load.stage import bare_stage

    with bare_stage(1, count - 1, gso=gso, stamps=False) as (driver, loop):
        namespace.sink(True)
        found = driver.run(seconds, **_how(packets))
        namespace.sink(False)
    row = _row("bare", count, packets, found, loop.cpu_ns, loop.forwarded)
    return {**row, "gso": gso, "per_message": loop.forwarded / max(1, loop.messages)}


def tandem(
    count: int, frames: list[int], seconds: float, settings: list[str], engines: int, *, gso: bool
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if not gso:
        settings = [*settings, "media.udp_offload=false"]
    # As the load decides who is where, several are looked at.
    witnesses = 1 if engines == 1 else min(count, 4 * engines)
    with fan_stage(witnesses, count - witnesses, settings) as fan:
        if len({_port(one) for one in fan.members[1 : 1 + witnesses]}) != engines:
            raise RuntimeError("there is an engine without a witness: more receivers are needed")
        for packets in frames:
            found, cost = fan.run(seconds, **_how(packets))
            row = _row("tandem", count, packets, found, cost.engine_ns, cost.forwarded)
            row["gso"] = gso
            row["engines"] = engines
            row["ns_process"] = cost.process_ns / max(1, cost.forwarded)
            row["per_message"] = cost.forwarded / max(1, cost.messages)
            rows.append(row)
    return rows


def _port(one: Member) -> int:
    """The server's, where its media comes from."""
    assert one.receiving is not None
    port: int = one.receiving.socket.getpeername()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())
