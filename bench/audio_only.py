"""What does a packet cost in a call without pictures: Opus, one packet of about 80 bytes every 20 ms?

Rooms in which everybody talks, everything verified, beside the bare loop with the same streams. Over loopback
(see bench.meshes). Packets of different people rarely come together, so each wake-up serves few of them: no
other kind of packet is as dear.

    python -m bench.audio_only [--rooms 1,20] [--people 3,12] [--seconds 3] [--json FILE]
"""

from __future__ import annotations

import sys
from typing import Any

from bench import program
from bench.load.paced import measure
from bench.load.plan import audio
from bench.load.rooms import Room
from bench.report import write


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--rooms", default="1,20", help="at a time")
    parser.add_argument("--people", default="3,12", help="of each room")
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    program.begin()
    rows: list[dict[str, Any]] = []
    for people in [int(one) for one in args.people.split(",")]:
        for count in [int(one) for one in args.rooms.split(",")]:
            rows += measure([Room(people, (audio(),))] * count, args.seconds, args.set)
    write(args.json, "audio_only", rows)
    return 0 if not any(row["faults"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
