"""Does a call notice when hostile packets flood the media port, and what does each cost the server?

A call forwards video to ten; then comes each flood, first at a rate, then as fast as one core can send. Told
for each: packets that the call has lost, its latency against that of the quiet call in the same run, the
server's CPU for a hostile packet, how long its HTTP takes to answer meanwhile, and what its memory grew by.
Every packet of the call is verified. `TCP` are connections that come, say nothing of use, and go.

    python -m bench.floods [--attacks NAME,…] [--rate 100000] [--seconds 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
import urllib.request
from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from bench import program
from bench.load.cpu import spent, thread_times
from bench.load.hostile import BATCH, BY_MANY, attacks
from bench.load.joiner import Joiner
from bench.report import faults, write
from server.rtc.certificate import Certificate

_CALL = {"packets": 4, "payload": 1200, "fps": 60}  # video of 2.3 Mbit/s to each
_VIEWERS = 10
_PROBE_S = 0.05
_MANY = 20


def main() -> int:
    parser = program.parser(__doc__)
    parser.add_argument("--attacks", help="of the table, by their names; all by default")
    parser.add_argument("--rate", type=float, default=100_000.0, help="packets a second of the slower runs")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--only-rate", action="store_true", help="leave out what comes as fast as can be")
    args = parser.parse_args()
    program.begin()
    rows: list[dict[str, Any]] = []
    trio.run(measure, args, rows)
    write(args.json, "floods", rows)
    return 0 if not any(one["faults"] for one in rows) else 1


async def measure(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    from bench.load.stage import tandem_stage
    from bench.native.flood import Flood

    async with tandem_stage(_VIEWERS, 0, args.set, stamps=True) as stage:
        certificate = Certificate.generate(time.time())
        url = stage.call.url.replace("localhost", "127.0.0.1")
        with ExitStack() as stack:
            rates = [args.rate] if args.only_rate else [args.rate, 0.0]
            for name in _names(args):
                victims = []
                for number in range(_MANY if name == BY_MANY else 1):
                    victim = stack.enter_context(Joiner(url, certificate, speaks=True))
                    await trio.to_thread.run_sync(_join, victim, number)
                    victims.append(victim)
                if name == "TCP":
                    assert victim.sending is not None
                    address = victim.sending.remote.address
                    quiet = await quiet_run(stage)
                    for port in (address[1], stage.server.http_port):
                        flood: Any = _Connections((address[0], port))
                        what = "TCP, media" if port == address[1] else "TCP, HTTP"
                        rows.append(await one_run(stage, args.seconds, what, 0.0, flood, quiet))
                    continue
                attack = attacks(stack, victims)[name]
                quiet = await quiet_run(stage)
                for rate in rates:
                    attack.prepare()
                    flood = Flood(attack.fds, attack.packets, batch=BATCH)
                    rows.append(await one_run(stage, args.seconds, name, rate, flood, quiet))
                for victim in victims:
                    victim.leave()


def _names(args: argparse.Namespace) -> list[str]:
    return args.attacks.split(",") if args.attacks else list(ATTACKS)


@dataclass
class Quiet:
    """The call by itself."""

    process_ns: float  # of the server, in a second
    latencies: array[int]
    faults: dict[str, float]


async def quiet_run(stage: Any) -> Quiet:
    stage.call.keep_alive()
    found, cost = await stage.run(1.0, **_CALL)
    return Quiet(cost.process_ns / found["seconds"], stage.driver.latencies(), faults(found))


async def one_run(
    stage: Any, seconds: float, name: str, rate: float, flood: Any, quiet: Quiet
) -> dict[str, Any]:
    stage.call.keep_alive()
    memory, counters = _rss(stage.server.pid), await trio.to_thread.run_sync(_packets_in, stage)
    sent: dict[str, float] = {"sent": 0, "seconds": seconds, "cpu_ns": 0}
    probes: list[float] = []
    ended = threading.Event()
    before = thread_times(stage.server.pid)
    began = time.monotonic()
    threads = [threading.Thread(target=_probe, args=(stage.server.url, probes, ended))]
    threads.append(threading.Thread(target=lambda: sent.update(flood.run(seconds, rate=rate))))
    for thread in threads:
        thread.start()
    found = await trio.to_thread.run_sync(lambda: stage.driver.run(seconds, **_CALL))
    hit = stage.driver.latencies()
    after, took = thread_times(stage.server.pid), time.monotonic() - began
    ended.set()
    for thread in threads:
        await trio.to_thread.run_sync(thread.join)
    arrived = await trio.to_thread.run_sync(_packets_in, stage) - counters - found["sent"]
    cost = spent(before, after, "") - quiet.process_ns * took
    row = {
        "attack": name,
        "asked_rate": rate,
        "rate": sent["sent"] / sent["seconds"],
        "arrived": max(0.0, arrived) / max(1, sent["sent"]),
        "cpu_ns": max(0.0, cost) / max(1, sent["sent"]),
        "sender_ns": sent["cpu_ns"] / max(1, sent["sent"]),
        "busy": spent(before, after, "") / 1e9 / took,
        "media_busy": spent(before, after, "tandem-media") / 1e9 / took,
        "lost": found["missing"],
        "quiet_p50": _point(quiet.latencies, 0.5),
        "quiet_p99": _point(quiet.latencies, 0.99),
        "p50": _point(hit, 0.5),
        "p99": _point(hit, 0.99),
        "http_ms": 1000 * max(probes, default=0.0),
        "memory_kb": _rss(stage.server.pid) - memory,
        "faults": {**quiet.faults, **faults(found)},
    }
    show(row)
    return row


class _Connections:
    """TCP connections, one after the other: eight bytes of nonsense each, then a reset."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def run(self, seconds: float, *, rate: float) -> dict[str, float]:
        began, cpu = time.monotonic(), time.thread_time()
        count = 0
        while time.monotonic() - began < seconds:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.settimeout(1)
                try:
                    one.connect(self._address)
                    one.send(b"\x00\x06nobody")
                except OSError:
                    continue
                count += 1
        return {
            "sent": count, "seconds": time.monotonic() - began, "cpu_ns": (time.thread_time() - cpu) * 1e9,
        }  # fmt: skip


def _join(victim: Joiner, number: int) -> None:
    victim.join(f"floods-{number}", "victim", first_packet=False)


def _probe(url: str, into: list[float], ended: threading.Event) -> None:
    while not ended.wait(_PROBE_S):
        began = time.perf_counter()
        try:
            urllib.request.urlopen(url + "healthz", timeout=5).close()
        except OSError:
            into.append(5.0)
        else:
            into.append(time.perf_counter() - began)


def _packets_in(stage: Any) -> float:
    with urllib.request.urlopen(stage.server.url + "metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("tandem_media_packets_in"):
                return float(line.split()[-1])
    raise RuntimeError("the server's metrics name no incoming packets")


def _rss(pid: int) -> int:
    """kB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4


def _point(latencies: array[int], part: float) -> float:
    """µs."""
    return latencies[int(len(latencies) * part)] / 1000 if latencies else 0.0


def show(row: dict[str, Any]) -> None:
    line = f"{row['attack']:>22} {row['rate'] / 1000:6.0f} k/s  {row['cpu_ns']:7.0f} ns each"
    line += (
        f"  {row['arrived']:4.0%} read  media thread {row['media_busy']:4.0%} busy  lost {row['lost']:4.0f}"
    )
    line += f"  p50 {row['quiet_p50']:5.0f} -> {row['p50']:5.0f}"
    line += f"  p99 {row['quiet_p99']:5.0f} -> {row['p99']:6.0f} µs"
    line += f"  HTTP {row['http_ms']:5.0f} ms  {row['memory_kb']:+6.0f} kB"
    print(line if not row["faults"] else f"{line}  NOT CLEAN: {row['faults']}", flush=True)


ATTACKS = (
    "junk", "junk like RTP", "plain STUN", "STUN of nobody", "STUN of wrong integrity", "ClientHello",
    "forged SRTP", "replayed SRTP", "forged SRTCP", "valid STUN checks", BY_MANY,
    "DTLS by a participant", "TCP",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
