"""Does a packet cost the same whatever else is there?

Three things grow, one at a time, and the cost of one more forwarded packet should not:

consumers   one camera to N: what each consumer beyond the first ten adds to the cost of a packet. The cost of
            taking the packet in, which all share, is thereby left out, and the bare loop's own growth is
            taken off: the kernel looks up each message's address, and a thousand less readily than fifty.
idle rooms  one camera to 50, while more and more people sit in other rooms in silence.
busy rooms  the same number of packets a second, from ever more senders in ever more rooms of one to two, less
            the bare loop's own growth: the kernel wakes up more often the less comes together.

For the first two a server of each size runs, all side by side, and each has its turn many times: what the
machine does meanwhile meets all of them, and the median of the turns' ratios is told. One frame of eight is
under way at a time, so that messages to the kernel are of one size throughout.

    python -m bench.flatness [--consumers 10,50,200,1000] [--idle 0,100,1000] [--busy 1,10,100] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from statistics import median
from typing import Any

from bench import program
from bench.load import namespace
from bench.load.fan import fan_stage
from bench.load.paced import measure
from bench.load.plan import Media, audio, video
from bench.load.rooms import Room
from bench.load.stage import Spent, bare_stage
from bench.report import faults, write

_TARGET = 1.15
_FAN = 50
_HOW = {"packets": 8, "payload": 1200, "window": 1}
_BUSY_RATE = 9_600  # packets a second of all senders together
_BUSY_BYTES = 200


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--consumers", default="10,50,200", help="'none': not asked")
    parser.add_argument("--idle", default="0,100", help="people in silent rooms of two, or 'none'")
    parser.add_argument("--busy", default="1,8,64", help="rooms that share one rate, or 'none'")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each size, in all its turns")
    parser.add_argument("--turns", type=int, default=11)
    args = parser.parse_args()
    program.begin()
    rows = [*consumers(args), *idle(args), *busy(args)]
    write(args.json, "flatness", rows)
    return 0 if not any(row["faults"] for row in rows) else 1


def numbers(text: str) -> list[int]:
    return [] if text == "none" else [int(one) for one in text.split(",")]


def fans(args: argparse.Namespace, plans: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """One camera to so many, with so many others in silence, for each plan."""
    turns: list[list[Any]] = [[] for _ in plans]
    with ExitStack() as stack:
        stages: dict[int, Any] = {}
        # The largest takes long to fill; the others would lose their consent meanwhile.
        for at in sorted(range(len(plans)), key=lambda at: -sum(plans[at])):
            count, others = plans[at]
            people = [Room(2, (audio(), video(300_000)))] * (others // 2)
            stages[at] = stack.enter_context(fan_stage(1, count - 1, args.set, idle=people))
            for one in stages.values():
                one.keep_alive()
        for one in stages.values():
            one.run(0.3, **_HOW)  # caches and branch predictors get to know it
        for turn in range(args.turns):
            for at in sorted(stages, reverse=turn % 2 == 1):
                turns[at].append(stages[at].run(args.seconds / args.turns, **_HOW))
    return [_row("tandem", plan, found) for plan, found in zip(plans, turns, strict=True)]


def _row(what: str, plan: tuple[int, int], turns: list[Any]) -> dict[str, Any]:
    each = [cost.engine_ns / max(1, cost.forwarded) for _, cost in turns]
    forwarded = sum(cost.forwarded for _, cost in turns)
    return {
        "what": what,
        "consumers": plan[0],
        "idle": plan[1],
        "ns": median(each),
        "turns": each,
        "rate": forwarded / sum(found["seconds"] for found, _ in turns),
        "per_message": forwarded / max(1, sum(cost.messages for _, cost in turns)),
        "faults": {name: value for found, _ in turns for name, value in faults(found).items()},
    }


def bare(args: argparse.Namespace, counts: list[int]) -> list[dict[str, Any]]:
    """The bare loop to as many, in turn."""
    turns: list[list[Any]] = [[] for _ in counts]
    for turn in range(max(1, args.turns // 2)):
        for at in sorted(range(len(counts)), reverse=turn % 2 == 1):
            with bare_stage(1, counts[at] - 1, gso=True, stamps=False) as (driver, loop):
                namespace.sink(True)
                found = driver.run(args.seconds / args.turns, **_HOW)
                namespace.sink(False)
            turns[at].append((found, Spent(loop.cpu_ns, loop.cpu_ns, loop.forwarded, loop.messages)))
    return [_row("bare", (count, 0), found) for count, found in zip(counts, turns, strict=True)]


def consumers(args: argparse.Namespace) -> list[dict[str, Any]]:
    counts = numbers(args.consumers)
    limits, rows = bare(args, counts), fans(args, [(count, 0) for count in counts])
    for one in (limits, rows):
        for row in one:
            row["question"] = "consumers"
            more = row["consumers"] - counts[0]
            if more:
                row["marginal"] = [
                    (mine * row["consumers"] - base * counts[0]) / more
                    for mine, base in zip(row["turns"], one[0]["turns"], strict=True)
                ]
                row["marginal_ns"] = median(row["marginal"])
        for row in one[2:]:
            row["own_growth"] = growth(row["marginal"], one[1]["marginal"])
    for limit, row in zip(limits[2:], rows[2:], strict=True):
        grown(row, row["own_growth"] / limit["own_growth"])
    rows = [row for pair in zip(limits, rows, strict=True) for row in pair]
    for row in rows:
        show(row, f"1 to {row['consumers']}", row.get("marginal_ns", row["ns"]))
    return rows


def idle(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = fans(args, [(_FAN, others) for others in numbers(args.idle)])
    for row in rows:
        row["question"] = "idle rooms"
        if row is not rows[0]:
            grown(row, growth(row["turns"], rows[0]["turns"]))
        show(row, f"1 to {_FAN}, {row['idle']} idle", row["ns"])
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


def growth(mine: list[float], first: list[float]) -> float:
    """By turns that came right after one another."""
    return median(one / other for one, other in zip(mine, first, strict=True))


def grown(row: dict[str, Any], times: float) -> None:
    row["growth"], row["target"], row["met"] = times, _TARGET, times <= _TARGET


def show(row: dict[str, Any], where: str, ns: float) -> None:
    line = f"{row['question']:>11}  {row['what']:<6}  {where:<20} {ns:7.0f} ns a packet"
    line += f"  {row['per_message']:4.1f} a message"
    if "growth" in row:
        line += f"  {row['growth']:5.2f} x the first (target {_TARGET})"
    print(line if not row["faults"] else f"{line}  NOT CLEAN: {row['faults']}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
