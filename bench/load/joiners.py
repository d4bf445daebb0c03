"""Many joiners as a process of its own, pinned apart from the server.

There are rooms where somebody talks, and workers that join one after the other. It says when the rooms are
ready, waits for a line, and prints what came of it; at another line all leave. With `--warm` some join before
it says so, and are not counted.

    python -m bench.load.joiners URL [--kind viewer|speaker] [--rooms 20] [--workers 16] [--seconds 5]
        [--warm 0] [--rate PER_SECOND] [--stay] [--core N]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from bench.load.joiner import Joiner
from server.rtc.certificate import Certificate

_TALK_S = 0.02  # an Opus packet
_KEEP_ALIVE_S = 4.0
_PAUSE_S = 1.0  # for what the talkers' own joins set off


def talk(url: str, rooms: list[str], certificate: Certificate, pipe: Connection) -> None:
    """One person in each room who sends audio all the time, until the pipe closes."""
    talkers = [Joiner(url, certificate, speaks=True) for _ in rooms]
    for talker, room in zip(talkers, rooms, strict=True):
        talker.join(room, "talker", first_packet=False)
    pipe.send("ready")
    sequence = 0
    next_check = due = time.monotonic()
    while not pipe.poll():
        sequence += 1
        for talker in talkers:
            talker.send_audio(sequence & 0xFFFF)
        if time.monotonic() >= next_check:
            next_check += _KEEP_ALIVE_S
            for talker in talkers:
                talker.keep_alive()
        for talker in talkers:
            talker.catch_up()
        due = max(due + _TALK_S, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
    for talker in talkers:
        talker.close()


def work(args: argparse.Namespace, number: int, rooms: list[str], certificate: Certificate, until: float,
         pipe: Connection) -> None:  # fmt: skip
    """Joins until the time is over; the figures go up the pipe."""
    done: list[dict[str, float]] = []
    failures: list[str] = []
    staying: list[Joiner] = []
    interval = args.workers / args.rate if args.rate else 0.0
    due = time.time() + interval * number / args.workers
    count = number
    while time.time() < until and len(done) + len(failures) < args.most:
        if interval:
            time.sleep(max(0.0, due - time.time()))
            due += interval
        room = rooms[count % len(rooms)]
        count += args.workers
        joiner = Joiner(args.url, certificate, speaks=args.kind == "speaker")
        try:
            joined = joiner.join(room, f"joiner {count}", first_packet=not args.no_packet)
            done.append({"at": time.time(), **vars(joined)})
            if args.stay:
                staying.append(joiner)
            else:
                joiner.leave()
        except (OSError, RuntimeError) as error:
            failures.append(f"{type(error).__name__}: {error}")
        finally:
            if not args.stay:
                joiner.close()
    pipe.send((done, failures))
    pipe.recv()  # those who stay do until the others have done, too
    for joiner in staying:
        joiner.close()


class Workers:
    """All of them, from `start` to `end`; between, `result` waits for what they have to tell."""

    def __init__(
        self, args: argparse.Namespace, rooms: list[str], certificate: Certificate, seconds: float
    ) -> None:
        context = get_context("fork")
        until = time.time() + seconds
        self._pipes: list[Connection] = []
        self._processes = []
        for number in range(args.workers):
            mine, its = context.Pipe()
            process = context.Process(target=work, args=(args, number, rooms, certificate, until, its))
            process.start()
            self._pipes.append(mine)
            self._processes.append(process)

    def result(self) -> dict[str, Any]:
        done: list[dict[str, float]] = []
        failures: list[str] = []
        for pipe in self._pipes:
            found: tuple[list[dict[str, float]], list[str]] = pipe.recv()
            done += found[0]
            failures += found[1]
        return {"ended": time.time(), "done": done, "failures": failures}

    def end(self) -> None:
        """Those who stay leave."""
        for pipe in self._pipes:
            pipe.send("end")
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", help="ws://…/ws")
    parser.add_argument("--kind", choices=("viewer", "speaker"), default="viewer")
    parser.add_argument("--rooms", type=int, default=20)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm", type=float, default=0.0, help="seconds of joins before those that count")
    parser.add_argument("--rate", type=float, default=0.0, help="joins a second; 0: as many as can be")
    parser.add_argument("--stay", action="store_true", help="nobody leaves before the end")
    parser.add_argument("--no-packet", action="store_true", help="don't wait for one: the call may be P2P")
    parser.add_argument("--most", type=int, default=10**9, help="joins of one worker")
    parser.add_argument("--core", type=int, help="run on this core only")
    args = parser.parse_args()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    certificate = Certificate.generate(time.time())
    rooms = [f"joins-{os.getpid()}-{number}" for number in range(args.rooms)]
    context = get_context("fork")
    ours, theirs = context.Pipe()
    talking = context.Process(target=talk, args=(args.url, rooms, certificate, theirs))
    talking.start()
    ours.recv()
    if args.warm:
        warming = Workers(args, rooms, certificate, args.warm)
        warming.result()
        warming.end()
    time.sleep(_PAUSE_S)
    print(json.dumps({"rooms": rooms}), flush=True)
    sys.stdin.readline()  # the caller says when
    workers = Workers(args, rooms, certificate, args.seconds)
    print(json.dumps(workers.result()), flush=True)
    sys.stdin.readline()  # everything stands until the caller has looked
    workers.end()
    ours.send("end")
    talking.join(5)
    if talking.is_alive():
        talking.kill()
    return 0


if __name__ == "__main__":
    socket.setdefaulttimeout(20)
    sys.exit(main())
