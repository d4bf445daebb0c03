"""What does a packet cost when the load is many small calls instead of one large one?

Rooms of two or three, everybody with camera and microphone at real pace and all the RTCP of browsers,
everything verified, beside the bare loop with the same streams. Over loopback (see bench.meshes).

    python -m bench.small_rooms [--rooms 1,10,100,300] [--people 3] [--kbps 150] [--seconds 3] [--json FILE]
"""

from __future__ import annotations

import sys
from typing import Any

from bench import program
from bench.load.paced import measure
from bench.load.plan import audio, video
from bench.load.rooms import Room
from bench.report import write


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--rooms", default="1,10,100", help="at a time; 300 takes minutes to fill")
    parser.add_argument("--people", type=int, default=3, help="of each room")
    parser.add_argument("--kbps", type=int, default=150, help="of one camera, 150 to 4000")
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    program.begin()
    room = Room(args.people, (audio(), video(args.kbps * 1000)))
    rows: list[dict[str, Any]] = []
    for count in [int(one) for one in args.rooms.split(",")]:
        rows += measure([room] * count, args.seconds, args.set)
    write(args.json, "small_rooms", rows)
    return 0 if not any(row["faults"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
