"""Does a packet cost the same whatever else is there?

Three things grow, one at a time, and the cost of one more forwarded packet should not:

consumers   one camera to N: what each consumer beyond the first ten adds to the cost of a packet. The cost of
            taking the packet in, which all share, is thereby left out.
idle rooms  one camera to 50, while more and more people sit in other rooms in silence.
busy rooms  the same number of packets a second, from ever more senders in ever more rooms of one to two. Here
            the bare loop's own growth is taken off: the kernel wakes up more often the less comes together.

Frames of eight for the first two, saturated, so that messages to the kernel are of one size throughout.

    python -m bench.flatness [--consumers 10,50,200,1000] [--idle 0,100,1000] [--busy 1,10,100] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from bench import program
from bench.load.fan import fan_stage
from bench.load.paced import measure
from bench.load.plan import Media, audio, video
from bench.load.rooms import Room
from bench.report import faults, write

_TARGET = 1.15
_FAN = 50
_TURNS = 3
_HOW = {"packets": 8, "payload": 1200, "window": 2}
_BUSY_RATE = 9_600  # packets a second of all senders together
_BUSY_BYTES = 200


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument(
        "--consumers", default="10,50,200", help="1000 takes minutes to join; 'none': not asked"
    )
    parser.add_argument("--idle", default="0,100", help="people in silent rooms of two, or 'none'")
    parser.add_argument("--busy", default="1,8,64", help="rooms that share one rate, or 'none'")
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    program.begin()
    rows = [*consumers(args), *idle(args), *busy(args)]
    write(args.json, "flatness", rows)
    return 0 if not any(row["faults"] for row in rows) else 1


def numbers(text: str) -> list[int]:
    return [] if text == "none" else [int(one) for one in text.split(",")]


def fan(args: argparse.Namespace, count: int, others: int) -> dict[str, Any]:
    """One camera to `count`, with `others` in silence."""
    people = [Room(2, (audio(), video(300_000)))] * (others // 2)
    with fan_stage(1, count - 1, args.set, idle=people) as stage:
        stage.run(0.3, **_HOW)  # caches and branch predictors get to know it
        turns = [stage.run(args.seconds / _TURNS, **_HOW) for _ in range(_TURNS)]
    # The cheapest: what others do on the machine makes packets dearer, never cheaper.
    found, cost = min(turns, key=lambda turn: turn[1].engine_ns / max(1, turn[1].forwarded))
    wrong = {name: value for one, _ in turns for name, value in faults(one).items()}
    return {
        "what": "tandem",
        "consumers": count,
        "idle": others,
        "ns": cost.engine_ns / max(1, cost.forwarded),
        "rate": cost.forwarded / found["seconds"],
        "per_message": cost.forwarded / max(1, cost.messages),
        "faults": wrong,
    }


def consumers(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for count in numbers(args.consumers):
        row = fan(args, count, 0)
        row["question"] = "consumers"
        if rows:
            first = rows[0]
            total, base = row["ns"] * count, first["ns"] * first["consumers"]
            row["marginal_ns"] = (total - base) / (count - first["consumers"])
        if len(rows) > 1:
            grown(row, row["marginal_ns"] / rows[1]["marginal_ns"])
        rows.append(row)
        show(row, f"1 to {count}", row.get("marginal_ns", row["ns"]))
    return rows


def idle(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for others in numbers(args.idle):
        row = fan(args, _FAN, others)
        row["question"] = "idle rooms"
        if rows:
            grown(row, row["ns"] / rows[0]["ns"])
        rows.append(row)
        show(row, f"1 to {_FAN}, {others} idle", row["ns"])
    return rows


def busy(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for count in numbers(args.busy):
        rate = _BUSY_RATE / count
        room = Room(1, (Media("audio", int(_BUSY_BYTES * 8 * rate), fps=rate),), listeners=2)
        for row in measure([room] * count, args.seconds, args.set):
            row["question"] = "busy rooms"
            first = next((one for one in rows if one["what"] == row["what"]), row)
            row["own_growth"] = row["ns"] / first["ns"]
            rows.append(row)
        if len(rows) > 2:  # a pair of bare and Tandem each time
            grown(rows[-1], rows[-1]["own_growth"] / rows[-2]["own_growth"])
            show(rows[-1], f"{count} rooms", rows[-1]["ns"])
    return rows


def grown(row: dict[str, Any], growth: float) -> None:
    row["growth"], row["target"], row["met"] = growth, _TARGET, growth <= _TARGET


def show(row: dict[str, Any], where: str, ns: float) -> None:
    line = f"{row['question']:>11}  {where:<20} {ns:7.0f} ns a packet  {row['per_message']:4.1f} a message"
    if "growth" in row:
        line += f"  {row['growth']:5.2f} x the first (target {_TARGET})"
    print(line if not row["faults"] else f"{line}  NOT CLEAN: {row['faults']}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
