"""What does a packet cost in a room where everybody sends and everybody is sent everything?

N people with camera and microphone at real pace, with all the RTCP of browsers; every one of the N × (N - 1)
pairs is verified. Over loopback, so that the receivers' part of the kernel is charged to the server, as it
is to the bare loop of the same run.

    python -m bench.meshes [--sizes 3,6,12,25] [--kbps 500] [--seconds 3] [--json FILE]
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
    parser.add_argument("--sizes", default="3,6,12,25", help="people in the room")
    parser.add_argument("--kbps", type=int, default=500, help="of one camera, 150 to 4000")
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    program.begin()
    media = (audio(), video(args.kbps * 1000))
    rows: list[dict[str, Any]] = []
    for size in [int(one) for one in args.sizes.split(",")]:
        rows += measure([Room(size, media)], args.seconds, args.set)
    write(args.json, "meshes", rows)
    return 0 if not any(row["faults"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
