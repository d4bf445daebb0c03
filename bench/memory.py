"""What memory does the server hold for each participant, and for each consumer?

People join rooms of two and then rooms of more, all with camera and microphone, so that each has both
connections. What the server's own process has grown by is told per person, before and after media has flowed;
two sizes of room part the person from the consumers. Retransmission caches are not counted: their index, and
what was sent of the cameras lately, are taken off.

    python -m bench.memory [--people 100] [--large 10] [--kbps 300] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from typing import Any

from bench import program
from bench.load.member import Member
from bench.load.memory import private_bytes
from bench.load.plan import audio, video
from bench.load.rooms import Room, certificate_for, join_all, running_server, socket_url, traffic_between
from bench.report import faults, write
from rtp_core.srtp import Profile

_TARGET_KB = 200.0
_CACHE_INDEX = 1024 * 32  # bytes of one camera's, there from the start
_WARM_ROOMS = 40  # enough for the rings between the threads: their pages are there from then on
_LINGER_S = 0.2  # after a handshake; 30 s by default, which would only make this longer
_CALM_S = 1.0  # for what joins set off
_MEDIA_S = 2.0


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--people", type=int, default=100, help="of each size of room")
    parser.add_argument("--large", type=int, default=10, help="people of a large room")
    parser.add_argument("--kbps", type=int, default=300, help="of one camera")
    args = parser.parse_args()
    if args.people % 2 or args.people % args.large or args.large < 3:
        parser.error("people who fill both rooms of two and large ones")
    program.begin()
    rows = measure(args)
    for row in rows:
        line = f"{row['what']:>24}  {row['kb']:7.1f} kB"
        line += f"  (target {row['target']:.0f})" if "target" in row else ""
        print(line if not row["faults"] else f"{line}  NOT CLEAN: {row['faults']}", flush=True)
    write(args.json, "memory", rows)
    return 0 if not any(row["faults"] for row in rows) else 1


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    media = (audio(), video(args.kbps * 1000))
    pair, large = Room(2, media), Room(args.large, media)
    rooms = {
        "warm": [pair] * _WARM_ROOMS,
        "pairs": [pair] * (args.people // 2),
        "large": [large] * (args.people // args.large),
    }
    people = sum(room.size for several in rooms.values() for room in several)
    settings = [f"media.dtls_linger_s={_LINGER_S}", *args.set]
    with running_server(people, sum(map(len, rooms.values())), settings) as server, ExitStack() as stack:
        certificate = certificate_for(Profile.AEAD_AES_128_GCM)
        members: list[Member] = []
        held: dict[str, int] = {"start": private_bytes(server.pid)}
        tag = 0
        for name, several in rooms.items():
            members += join_all(stack, socket_url(server), several, certificate, named=name, first_tag=tag)
            tag = sum(len(one.media) for one in members)
            for one in members:
                one.keep_alive()
            time.sleep(_CALM_S)
            held[name] = private_bytes(server.pid)
        found = flow(members)
        time.sleep(0.2)
        held["media"] = private_bytes(server.pid)
    wrong = faults(found)
    count = args.people
    in_pair = (held["pairs"] - held["warm"]) / count - _CACHE_INDEX
    in_large = (held["large"] - held["pairs"]) / count - _CACHE_INDEX
    consumer = (in_large - in_pair) / (len(media) * (args.large - 2))
    # Of cameras alone: sound is not kept. Sixteen bytes of header and extension more than the payload each.
    cached = found["sent_bytes"] * args.kbps / (args.kbps + 32) / len(members)
    flowing = (held["media"] - held["large"]) / len(members) - cached

    def row(what: str, size: float, **more: Any) -> dict[str, Any]:
        return {"what": what, "kb": size / 1000, **more, "faults": wrong}

    def target(what: str, size: float) -> dict[str, Any]:
        return row(what, size, target=_TARGET_KB, met=size / 1000 <= _TARGET_KB)

    return [
        row("server without anybody", held["start"]),
        row("participant, in two", in_pair),
        row(f"participant, in {args.large}", in_large),
        row("consumer", consumer),
        row("media flowing", flowing),
        row("retransmission cache", cached + _CACHE_INDEX),
        target("participant with media", in_pair + flowing),
        target("with media, larger room", in_large + flowing),
    ]


def flow(members: list[Member]) -> dict[str, int | float]:
    return traffic_between(members).run(_MEDIA_S, drain=0.5)


if __name__ == "__main__":
    sys.exit(main())
