"""How well does the server repair what gets lost, how long does it take, and what does it cost?

One camera to N receivers. Each receiver loses a share of what it is sent, media and repairs alike, before it
looks at it, notices gaps and asks by NACK as a browser does; the server answers by RTX. With --up the
camera's packets get lost on their way to the server as well, which has to ask for them itself.

`residual` is what never came, of all that was sent; delays are from a gap's discovery to its repair.

    python -m bench.retransmission [--losses 0,1,5,10] [--receivers 10] [--kbps 2000] [--seconds 4]
        [--json FILE]
"""

from __future__ import annotations

import sys
from typing import Any

from bench import program
from bench.load.plan import video
from bench.load.rooms import Room, Rooms, rooms_stage
from bench.report import write
from rtp_core.srtp import Profile

# What may not happen whatever gets lost.
_WRONG = ("twice", "forged", "unknown", "strange", "broken", "silent", "send_failures")


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--losses", default="0,1,5,10", help="percent of what receivers are sent")
    parser.add_argument(
        "--up", default="0", help="percent of what the camera sends; one, or as many as losses"
    )
    parser.add_argument("--receivers", type=int, default=10)
    parser.add_argument("--kbps", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each loss")
    parser.add_argument("--profile", default="AEAD_AES_128_GCM", choices=[one.name for one in Profile])
    args = parser.parse_args()
    losses = [float(one) / 100 for one in args.losses.split(",")]
    up = [float(one) / 100 for one in args.up.split(",")]
    if len(up) == 1:
        up *= len(losses)
    if len(up) != len(losses) or not all(0 <= one < 1 for one in losses + up):
        parser.error("percentages below 100, and one --up or as many as --losses")
    program.begin()
    rows: list[dict[str, Any]] = []
    room = Room(1, (video(args.kbps * 1000),), listeners=args.receivers)
    with rooms_stage([room], args.set, profile=Profile[args.profile]) as stage:
        for down, upward in zip(losses, up, strict=True):
            rows.append(measure(stage, down, upward, args.seconds))
            rows[-1]["cpu_ratio"] = rows[-1]["ns_per_delivered"] / rows[0]["ns_per_delivered"]
            show(rows[-1])
    write(args.json, "retransmission", rows)
    return 0 if not any(row["faults"] for row in rows) else 1


def measure(stage: Rooms, loss: float, up: float, seconds: float) -> dict[str, Any]:
    found, cost = stage.run(seconds, loss=loss, loss_up=up, drain=1.0)
    delays = stage.traffic.repairs()
    wrong = {name: found[name] for name in _WRONG if found[name]}
    if not loss and not up:
        wrong |= {name: found[name] for name in ("missing", "head", "tail", "gaps") if found[name]}
    expected = max(1, found["packets"] + found["missing"])
    return {
        "what": "tandem",
        "loss": loss,
        "loss_up": up,
        "packets": found["packets"],
        "gaps": found["gaps"],
        "repaired": found["repaired"],
        "residual": found["missing"] / expected,
        "tail": found["tail"],
        "delay_ms_p50": delays[len(delays) // 2] / 1000 if delays else None,
        "delay_ms_p99": delays[int(len(delays) * 0.99)] / 1000 if delays else None,
        "delay_ms_max": delays[-1] / 1000 if delays else None,
        "retransmitted": (found["rtx_received"] + _lost_repairs(found, loss)) / expected,
        "spare": found["spare"],
        "asked": found["nacks_sent"],
        "server_asked": found["nacks_heard"],
        "sent_again": found["sent_again"],
        "key_frames_asked": found["plis_sent"],
        "key_frames": found["key_frames"],
        "ns_per_delivered": cost.engine_ns / max(1, found["packets"]),
        "busy": cost.engine_ns / seconds / 1e9,
        "faults": wrong,
    }


def _lost_repairs(found: dict[str, int | float], loss: float) -> float:
    """Repairs that were lost themselves, on average: they are dropped unopened."""
    return found["rtx_received"] * loss / (1 - loss)


def show(row: dict[str, Any]) -> None:
    line = f"loss {row['loss']:4.0%}" + (f" (up {row['loss_up']:.0%})" if row["loss_up"] else "")
    line += f"  left {row['residual']:8.4%}  sent again {row['retransmitted']:6.2%}"
    if row["delay_ms_p50"] is not None:
        line += f"  ms to repair: p50 {row['delay_ms_p50']:5.1f} p99 {row['delay_ms_p99']:6.1f}"
        line += f" max {row['delay_ms_max']:6.1f}"
    line += f"  {row['ns_per_delivered']:7.0f} ns a packet, {row['cpu_ratio']:4.2f} x without loss"
    line += f"  PLI {row['key_frames_asked']}"
    print(line if not row["faults"] else f"{line}  NOT CLEAN: {row['faults']}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
