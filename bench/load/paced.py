"""What rooms at real pace cost: the bare loop first, then Tandem with the same people, then the ratio."""

from __future__ import annotations

from typing import Any

from bench.load.rooms import Room, bare_rooms, rooms_stage
from bench.report import faults


def measure(
    rooms: list[Room], seconds: float, settings: list[str], *, gso: bool = True
) -> list[dict[str, Any]]:
    """A row of the bare loop and one of Tandem; the latter has the ratio of their costs per packet."""
    with bare_rooms(rooms, gso=gso) as (traffic, loop):
        found = traffic.run(seconds)
    limit = _row("bare", rooms, found, loop.cpu_ns, loop.forwarded, loop.messages)
    show(limit)
    if not gso:
        settings = [*settings, "media.udp_offload=false"]
    with rooms_stage(rooms, settings) as stage:
        found, cost = stage.run(seconds)
    row = _row("tandem", rooms, found, cost.engine_ns, cost.forwarded, cost.messages)
    row["ns_process"] = cost.process_ns / max(1, cost.forwarded)
    row["ratio"] = row["ns"] / limit["ns"]
    show(row)
    return [{**one, "gso": gso} for one in (limit, row)]


def _row(
    what: str, rooms: list[Room], found: dict[str, int | float], ns: int, forwarded: int, messages: int
) -> dict[str, Any]:
    return {
        "what": what,
        "rooms": len(rooms),
        "senders": rooms[0].senders,
        "listeners": rooms[0].listeners,
        "media": [f"{one.kind} {one.bitrate // 1000} kbit/s" for one in rooms[0].media],
        "consumers": sum(room.consumers for room in rooms),
        "ns": ns / max(1, forwarded),
        "rate": forwarded / found["seconds"],
        "busy": ns / found["seconds"] / 1e9,
        "per_message": forwarded / max(1, messages),
        "reports": found["reports_sent"],
        "feedback": found["feedback_sent"],
        "plis": found["plis_sent"],
        "key_frames": found["key_frames"],
        "late_ms": found["late_us"] / 1000,  # of the load itself
        "load_busy": found["cpu_ns"] / found["seconds"] / 1e9,
        "faults": faults(found),
    }


def show(row: dict[str, Any]) -> None:
    name = f"{row['rooms']} × {row['senders']}" + (f"+{row['listeners']}" if row["listeners"] else "")
    line = f"{row['what']:>8}  {name:>9}  {' + '.join(row['media']):<32}"
    line += f" {row['ns']:8.0f} ns a packet  {row['rate'] / 1000:7.1f} k/s  {row['busy']:5.1%} busy"
    line += f"  {row['per_message']:4.1f} a message"
    if "ratio" in row:
        line += f"  {row['ratio']:5.2f} x the limit"
    print(line if not row["faults"] else f"{line}  NOT CLEAN: {row['faults']}", flush=True)
