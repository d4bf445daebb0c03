"""How long does it take until hundreds of people are in one room, and what does the room cost then?

One talks, the others join as fast as they can, as viewers do: WebSocket, `hello`, `call.join`, ICE, DTLS.
Told are the time, the server's CPU for a join as the room grows, and when everybody knew of everybody and
PostgreSQL had every row. Then the talker's camera and microphone go to all, and every packet is verified at
every receiver. At last, in one moment, the connections of all but a few break, and when those have been told;
and with --stop, how long the server takes to stop with everybody there.

    python -m bench.large_room [--people 300,1000] [--stop] [--kbps 150] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import urllib.request
from contextlib import ExitStack
from typing import Any

from bench import program
from bench.load.cpu import family_time, spent, thread_times
from bench.load.member import Member
from bench.load.memory import private_bytes
from bench.load.plan import Kind, audio, video
from bench.load.rooms import certificate_for, prepare, running_server, socket_url
from bench.load.stage import Server
from bench.load.throng import Throng, Witness
from bench.native.traffic import Traffic
from bench.report import faults, write
from rtp_core.srtp import Profile

_WITNESSES = 4
_GRACE_S = 1.0  # how long the server waits for those who were cut
_SIZES = (10, 100, 300, 1000)  # of the room, where the cost of a join is told
_PATIENCE_S = 240.0


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--people", default="300,1000", help="in the room")
    parser.add_argument("--workers", type=int, default=12, help="joins at a time")
    parser.add_argument("--kbps", type=int, default=150, help="of the camera")
    parser.add_argument("--seconds", type=float, default=2.0, help="of media")
    parser.add_argument("--stop", action="store_true", help="nobody leaves: stop the server with all of them")
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
    row: dict[str, Any] = {"what": "stop" if args.stop else "leave", "people": people}
    settings = [f"call.resume_grace_s={_GRACE_S}", *args.set]
    with running_server(people, 1, settings) as server, ExitStack() as stack:
        free(server.pid)
        empty = private_bytes(server.pid)
        certificate = certificate_for(Profile.AEAD_AES_128_GCM)
        url = socket_url(server)
        talker = stack.enter_context(Witness(url, certificate, media, [0, 1]))
        witnesses = [stack.enter_context(Witness(url, certificate, [], [])) for _ in range(_WITNESSES)]
        others = [
            stack.enter_context(Member(url, certificate, [], [])) for _ in range(people - 1 - _WITNESSES)
        ]
        for one in (talker, *witnesses):
            one.enter("large", "witness")
        members: list[Member] = [talker, *witnesses, *others]
        with Throng(others, "large") as throng:
            for one in (talker, *witnesses):
                throng.hear(one)
            row |= grow(server, throng, args.workers, [talker, *witnesses], people)
            row["kb"] = (private_bytes(server.pid) - empty) / 1000 / people
            row["faults"] = flow(members, args.seconds)
            row["told_kb"] = throng.bytes / 1000 / people
            if args.stop:
                began = time.monotonic()
                row["stop_exit"] = server.stop()
                row["stop_s"] = time.monotonic() - began
            else:
                row |= leave(server, throng, others, [talker, *witnesses])
            row["failures"] = throng.failures[:3] if not args.stop else []
    return row


def free(pid: int) -> None:
    """The stage keeps Python off the media's core; here it would have to share one with the joiners."""
    for thread, (name, _) in thread_times(pid).items():
        if not name.startswith("tandem-media"):
            os.sched_setaffinity(thread, range(os.cpu_count() or 1))


def grow(
    server: Server, throng: Throng, workers: int, witnesses: list[Witness], people: int
) -> dict[str, Any]:
    database = family_time(server.pid)
    before = thread_times(server.pid)
    began = time.monotonic()
    throng.go(workers)
    sizes = [(len(witnesses), 0)]
    while not throng.through and time.monotonic() - began < _PATIENCE_S:
        time.sleep(0.02)
        sizes.append((len(witnesses) + len(throng.joined), spent(before, thread_times(server.pid), "")))
    took = time.monotonic() - began
    known = until(lambda: all(len(one.present) == people for one in witnesses))
    quiet = until(lambda: recorder(server) == 0)
    return {
        "joined": len(witnesses) + len(throng.joined),
        "seconds": took,
        "known_s": known,
        "rows_s": quiet,
        "cpu_ms": spent(before, thread_times(server.pid), "") / 1e6 / people,
        "database_ms": (family_time(server.pid) - database) / 1e6 / people,
        "told": witnesses[0].told,
        **{f"join_ms_at_{size}": cost(sizes, size) for size in _SIZES if size <= people},
    }


def cost(sizes: list[tuple[int, int]], size: int) -> float:
    """ms of CPU for a join, on the last fifth of the way to that size."""
    low = min(sizes, key=lambda one: abs(one[0] - size * 0.8))
    high = min(sizes, key=lambda one: abs(one[0] - size))
    return (high[1] - low[1]) / 1e6 / max(1, high[0] - low[0])


def until(done: Any) -> float | None:
    """Seconds; None: it was given up."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > 60:
            return None
        time.sleep(0.02)
    return time.monotonic() - began


def recorder(server: Server) -> int:
    """Changes that have no rows yet."""
    with urllib.request.urlopen(server.url + "metrics", timeout=20) as answer:
        found = re.search(r"^tandem_recorder_pending\S* (\S+)$", answer.read().decode(), re.M)
    assert found is not None
    return int(float(found[1]))


def flow(members: list[Member], seconds: float) -> dict[str, float]:
    tag_of: dict[tuple[str, Kind], int] = {
        (one.participant_id, kind): tag for one in members for kind, (_, tag) in one.media.items()
    }
    for member in members:
        for lane in (member.sending, member.receiving):
            if lane is not None:
                prepare(lane.socket, gro=True, stamps=False)
    traffic = Traffic([place for member in members for place in member.places(tag_of)])
    traffic.run(0.5)
    found = traffic.run(seconds, drain=0.5)
    print(f"  {found['received']:.0f} packets at {len(members) - 1} receivers", file=sys.stderr)
    return faults(found)


def leave(server: Server, throng: Throng, others: list[Member], witnesses: list[Witness]) -> dict[str, Any]:
    before = thread_times(server.pid)
    told = witnesses[0].told
    throng.cut(others)
    gone = until(lambda: all(len(one.present) == len(witnesses) for one in witnesses))
    cpu = spent(before, thread_times(server.pid), "") / 1e6
    return {
        "gone_s": None if gone is None else gone - _GRACE_S,
        "leave_cpu_ms": cpu / len(others),
        "leave_told": witnesses[0].told - told,
        "leave_rows_s": until(lambda: recorder(server) == 0),
    }


def show(row: dict[str, Any]) -> None:
    print(row, flush=True)


if __name__ == "__main__":
    sys.exit(main())
