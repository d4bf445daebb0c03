"""What does a packet cost in a call without pictures: Opus, one packet of about 80 bytes every 20 ms?

Rooms in which everybody talks, everything verified, beside the bare loop with the same streams. Over loopback
(see bench.meshes). Packets of different people rarely come together, so each wake-up serves few of them: no
other kind of packet is as dear.

    python -m bench.audio_only [--rooms 1,20] [--people 3,12] [--seconds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from bench.load import namespace
from bench.load.paced import measure
from bench.load.plan import audio
from bench.load.rooms import Room
from bench.native.build import build
from bench.report import describe, write


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rooms", default="1,20", help="at a time")
    parser.add_argument("--people", default="3,12", help="of each room")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of the server")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    build()
    namespace.enter()
    namespace.prepare()
    describe()
    rows: list[dict[str, Any]] = []
    for people in [int(one) for one in args.people.split(",")]:
        for count in [int(one) for one in args.rooms.split(",")]:
            rows += measure([Room(people, (audio(),))] * count, args.seconds, args.set)
    write(args.json, "audio_only", rows)
    return 0 if not any(row["faults"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
