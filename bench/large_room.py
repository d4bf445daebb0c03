"""How long does it take until hundreds of people are in one room, and what does the room cost then?

One talks, the others join as fast as they can, as viewers do: WebSocket, `hello`, `call.join`, ICE, DTLS.
Told are the time, the server's CPU for a join as the room grows, and how long after the last join everybody
knew of everybody and PostgreSQL had every row. Then the talker's camera and microphone go to all, and every
packet is verified at every receiver. Then the connections of all but a few break in one moment, and when that
has been told, as many come again; with all of them there the server is stopped, and its rows are looked at.

    python -m bench.large_room [--people 300,1000] [--kbps 150] [--json FILE]
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from bench import program
from bench.load.cpu import family_time, spent, thread_times
from bench.load.member import Member
from bench.load.memory import private_bytes
from bench.load.pin import unpin_server
from bench.load.plan import audio, video
from bench.load.rooms import certificate_for, running_server, socket_url, spending, traffic_between
from bench.load.stage import ENGINE_THREAD, Server
from bench.load.throng import Throng, Witness
from bench.report import faults, write
from rtp_core.srtp import Profile

_WITNESSES = 4
_SETTINGS = (
    "call.resume_grace_s=1",  # how long those who were cut are waited for
    "media.dtls_linger_s=0.2",  # 30 s by default: memory is looked at sooner
)
_GRACE_S = 1.0
_SIZES = (100, 300, 1000)  # of the room, where the cost of a join is told
_PATIENCE_S = 60.0
_STOP_S = 5.0  # what docs/operations.md promises


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--people", default="300,1000", help="in the room")
    parser.add_argument("--workers", type=int, default=12, help="joins at a time")
    parser.add_argument("--kbps", type=int, default=150, help="of the camera")
    parser.add_argument("--seconds", type=float, default=2.0, help="of media")
    args = parser.parse_args()
    program.begin()
    rows: list[dict[str, Any]] = []
    for people in args.people.split(","):
        rows.append(measure(args, int(people)))
        show(rows[-1])
    write(args.json, "large_room", rows)
    return 0 if not any(row["faults"] or row["failures"] for row in rows) else 1


def measure(args: argparse.Namespace, people: int) -> dict[str, Any]:
    media = [audio(), video(args.kbps * 1000)]
    row: dict[str, Any] = {"people": people, "failures": []}
    # All in one room, and for the second time while the first ones are on their way out.
    with running_server(2 * people, 1, [*_SETTINGS, *args.set]) as server, ExitStack() as stack:
        unpin_server(server.pid, ENGINE_THREAD)
        empty = private_bytes(server.pid)
        certificate = certificate_for(Profile.AEAD_AES_128_GCM)
        url = socket_url(server)
        talker = stack.enter_context(Witness(url, certificate, media, [0, 1]))
        witnesses = [talker]
        witnesses += [stack.enter_context(Witness(url, certificate, [], [])) for _ in range(_WITNESSES)]
        for one in witnesses:
            one.enter("large", "witness")

        def others() -> list[Member]:
            count = people - len(witnesses)
            return [stack.enter_context(Member(url, certificate, [], [])) for _ in range(count)]

        first = others()
        with Throng(first, "large", hear=witnesses) as throng:
            row |= grow(server, throng, args.workers, witnesses, people)
            row["kb"] = (private_bytes(server.pid) - empty) / 1000 / people
            row["told_kb"] = throng.bytes / 1000 / people
            row |= flow(server, [*witnesses, *first], args.seconds)
            row |= leave(server, throng, first, witnesses)
            row["failures"] += throng.failures[:3]
        with Throng(others(), "large", hear=witnesses) as throng:
            row["again_s"] = grow(server, throng, args.workers, witnesses, people)["seconds"]
            row["failures"] += throng.failures[:3]
            began = time.monotonic()
            server.stop()
            row["stop_s"] = time.monotonic() - began
        row["failures"] += rows_after_stop(server, people + len(first))
    row["target"], row["met"] = _STOP_S, row["stop_s"] <= _STOP_S
    return row


def grow(
    server: Server, throng: Throng, workers: int, witnesses: list[Witness], people: int
) -> dict[str, Any]:
    database, before = family_time(server.pid), thread_times(server.pid)
    told = witnesses[0].told
    sizes = [(len(witnesses), 0)]
    began = time.monotonic()
    throng.go(workers)
    while not throng.through and time.monotonic() - began < _PATIENCE_S:
        time.sleep(0.02)
        sizes.append((len(witnesses) + len(throng.joined), spent(before, thread_times(server.pid), "")))
    took = time.monotonic() - began
    if throng.failures:
        raise RuntimeError(f"{len(throng.failures)} could not join, first {throng.failures[0]}")
    known = until(
        lambda: (
            f"{people} are known of; the witnesses know of {[len(one.present) for one in witnesses]}, "
            f"of connections {len(throng.failures)} failed: {throng.failures[:3]}"
        ),
        lambda: all(len(one.present) == people for one in witnesses),
    )
    rows = until(lambda: "all rows are written", lambda: recorder(server) == 0)
    return {
        "seconds": took,
        "known_s": known,
        "rows_s": known + rows,
        "cpu_ms": spent(before, thread_times(server.pid), "") / 1e6 / people,
        "database_ms": (family_time(server.pid) - database) / 1e6 / people,
        "told": witnesses[0].told - told,
        **{f"join_ms_at_{size}": cost(sizes, size) for size in _SIZES if size <= people},
    }


def cost(sizes: list[tuple[int, int]], size: int) -> float:
    """ms of CPU for a join, on the last fifth of the way to that size."""
    low = min(sizes, key=lambda one: abs(one[0] - size * 0.8))
    high = min(sizes, key=lambda one: abs(one[0] - size))
    return (high[1] - low[1]) / 1e6 / max(1, high[0] - low[0])


def until(what: Callable[[], str], done: Callable[[], bool]) -> float:
    """Seconds. RuntimeError if it never is."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > _PATIENCE_S:
            raise RuntimeError(f"not in {_PATIENCE_S:.0f} s: {what()}")
        time.sleep(0.02)
    return time.monotonic() - began


def recorder(server: Server) -> int:
    """Changes that have no rows yet."""
    with urllib.request.urlopen(server.url + "metrics", timeout=20) as answer:
        found = re.search(r"^tandem_recorder_pending\S* (\S+)$", answer.read().decode(), re.M)
    assert found is not None
    return int(float(found[1]))


def flow(server: Server, members: list[Member], seconds: float) -> dict[str, Any]:
    traffic = traffic_between(members)
    traffic.run(0.5)
    found, cost = spending(server, lambda: traffic.run(seconds, drain=0.5))
    return {
        "received": found["received"],
        "ns": cost.engine_ns / max(1, cost.forwarded),
        "faults": faults(found),
    }


def leave(server: Server, throng: Throng, others: list[Member], witnesses: list[Witness]) -> dict[str, Any]:
    before, told = thread_times(server.pid), witnesses[0].told
    throng.cut(others)
    gone = until(
        lambda: f"all are gone; the witnesses know of {[len(one.present) for one in witnesses]}",
        lambda: all(len(one.present) == len(witnesses) for one in witnesses),
    )
    return {
        "gone_s": gone - _GRACE_S,
        "leave_cpu_ms": spent(before, thread_times(server.pid), "") / 1e6 / len(others),
        "leave_told": witnesses[0].told - told,
    }


def rows_after_stop(server: Server, people: int) -> list[str]:
    """What is wrong with them: nothing may be open, and nobody may be missing."""
    server.start()
    ended = server.rows('SELECT "endReason" FROM call_sessions')
    here = server.rows('SELECT count(*) AS n, count("leftAt") AS gone FROM call_participants')[0]
    wrong = []
    if [one["endReason"] for one in ended] != ["server_shutdown"]:
        wrong.append(f"the call ended with {ended}")
    if not here["n"] == here["gone"] == people:
        wrong.append(f"{here['n']} participants have rows, {here['gone']} of them closed, of {people}")
    return wrong


def show(row: dict[str, Any]) -> None:
    costs = ", ".join(
        f"{row[f'join_ms_at_{size}']:.1f} at {size}" for size in _SIZES if size <= row["people"]
    )
    line = (
        f"{row['people']:>5} people in {row['seconds']:.1f} s, all known after {row['known_s']:.1f} s more,"
    )
    line += f" all rows after {row['rows_s']:.1f} s\n       {row['cpu_ms']:.1f} ms of CPU a join ({costs}),"
    line += f" {row['kb']:.0f} kB a person; each told {row['told']} times, {row['told_kb']:.0f} kB\n"
    line += f"       {row['received']:.0f} packets verified, {row['ns']:.0f} ns each; all cut: told of it"
    line += f" {row['gone_s']:.1f} s after the grace time, {row['leave_cpu_ms']:.2f} ms each; again in"
    line += f" {row['again_s']:.1f} s; stopped in {row['stop_s']:.1f} s{'' if row['met'] else ' *'}"
    if row["faults"] or row["failures"]:
        line += f"  NOT CLEAN: {row['faults']} {row['failures']}"
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
