"""What does a forwarded packet cost, from one sender to N receivers, against the limit of the machine?

One publisher sends video frames; N subscribers get them. The subscribers' packets but one's end in a sink,
so that the server alone is measured; that one (the witness) verifies every packet and lets the next frames
out, so that the server has always work and loses nothing. The bare loop is measured in the same run with the
same sender and witness; with GSO, both put into one message what came together.

    python -m bench.forward_cost [--consumers 1,10,50,200] [--packets 1,8] [--seconds 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import secrets
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import trio

from bench.load import namespace
from bench.load.cpu import spent, thread_times
from bench.native.build import build
from bench.report import describe, write

# Under way at most: there is always work, no buffer overflows, and no more than two frames of eight meet.
WINDOW_PACKETS = 16
PAYLOAD = 1200
ENGINE_THREAD = "tandem-media"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--consumers", default="1,10,50,200")
    parser.add_argument("--packets", default="1,8", help="packets of a frame")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--bare-only", action="store_true")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server"
    )
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    build()
    namespace.enter()
    namespace.prepare()
    counts = [int(one) for one in args.consumers.split(",")]
    frames = [int(one) for one in args.packets.split(",")]
    rows: list[dict[str, Any]] = []
    for count in counts:
        for packets in frames:
            for gso in (False, True):
                rows.append(bare(count, packets, args.seconds, gso=gso))
                show(rows[-1])
        if not args.bare_only:
            for row in trio.run(tandem, count, frames, args.seconds, args.set):
                limit = [one for one in rows if one["what"] == "bare" and same(one, row)]
                row["ratio"] = row["ns"] / min(one["ns"] for one in limit)
                rows.append(row)
                show(row)
    write(args.json, "forward_cost", rows)
    return 0 if all(one["clean"] for one in rows) else 1


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["consumers"] == other["consumers"] and one["packets"] == other["packets"])


def show(row: dict[str, Any]) -> None:
    name = row["what"] + (" GSO" if row.get("gso") else "")
    line = f"{name:>10}  1 to {row['consumers']:<4} frames of {row['packets']:<2}"
    line += f" {row['ns']:8.0f} ns a packet"
    line += f"  {row['rate'] / 1000:8.0f} k/s  {row['busy']:4.0%} busy"
    if "ratio" in row:
        line += f"  {row['ratio']:5.2f} x the limit"
    print(line if row["clean"] else f"{line}  NOT CLEAN: {row['faults']}", flush=True)


def judged(found: dict[str, float]) -> dict[str, Any]:
    faults = {
        name: found[name]
        for name in ("missing", "twice", "forged", "disorder", "stalls", "send_failures")
        if found[name]
    }
    return {"clean": not faults and found["received"] > 0, "faults": faults}


def bare(count: int, packets: int, seconds: float, *, gso: bool) -> dict[str, Any]:
    from bench.native.bare import Bare
    from bench.native.driver import Driver
    from rtp_core.srtp import Profile, SrtpPair

    up, down = secrets.token_bytes(28), secrets.token_bytes(28)
    keys = [down] + [secrets.token_bytes(28) for _ in range(count - 1)]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as witness,
    ):
        for one, address in (
            (server, namespace.SERVER),
            (sender, namespace.WITNESS),
            (witness, namespace.WITNESS),
        ):
            one.setblocking(False)
            one.bind((address, 0))
            one.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
            one.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)
        server.setsockopt(17, 104, int(gso))  # UDP_GRO
        witness.setsockopt(17, 104, 1)
        sender.connect(server.getsockname())
        places = [witness.getsockname()] + [(namespace.subscriber_address(n), 40000) for n in range(1, count)]
        loop = Bare(
            server.fileno(),
            SrtpPair(Profile.AEAD_AES_128_GCM, up, up),
            [
                (int(ipaddress.ip_address(host)), port, 77, key)
                for (host, port), key in zip(places, keys, strict=True)
            ],
            gso=gso,
            group=64,
        )
        driver = Driver(
            sender.fileno(),
            SrtpPair(Profile.AEAD_AES_128_GCM, up, up),
            [(witness.fileno(), SrtpPair(Profile.AEAD_AES_128_GCM, down, down))],
            payload_type=96, mid_id=1, mid=b"1", twcc_id=2, ssrc=9,
        )  # fmt: skip
        namespace.sink(True)
        thread = threading.Thread(target=loop.run)
        thread.start()
        try:
            found = driver.run(
                seconds, packets=packets, payload=PAYLOAD, window=max(2, WINDOW_PACKETS // packets)
            )
        finally:
            loop.stop()
            thread.join()
            namespace.sink(False)
    return {
        "what": "bare", "gso": gso, "consumers": count, "packets": packets, "payload": PAYLOAD,
        "ns": loop.cpu_ns / max(1, loop.forwarded), "rate": loop.forwarded / found["seconds"],
        "busy": loop.cpu_ns / found["seconds"] / 1e9, **judged(found),
    }  # fmt: skip


async def tandem(count: int, frames: list[int], seconds: float, settings: list[str]) -> list[dict[str, Any]]:
    from bench.load.tandem import (
        MID,
        MID_EXTENSION,
        PAYLOAD_TYPE,
        SSRC,
        TWCC_EXTENSION,
        Call,
    )  # fmt: skip
    from bench.native.driver import Driver
    from tests.harness.server_process import ServerProcess

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        wanted = [
            "call.policy=sfu", f"call.max_participants={count + 10}",
            f"http.max_connections_per_address={count + 100}", *settings,
        ]  # fmt: skip
        arguments = ["--announce", namespace.SERVER, "--log-level", "warning"]
        for one in wanted:
            arguments += ["--set", one]
        server = ServerProcess(Path(name) / "data", *arguments)
        await trio.to_thread.run_sync(server.start)
        try:
            async with Call(server.url, "bench") as call:
                await call.publish(namespace.WITNESS)
                await call.subscribe(namespace.WITNESS)
                for n in range(1, count):
                    await call.subscribe(namespace.subscriber_address(n))
                with trio.fail_after(60):
                    await call.wait_media()
                assert call.publisher is not None
                source, witness = call.publisher.endpoint, call.subscribers[0].endpoint
                assert source.pair is not None
                assert witness.pair is not None
                witness.listen(gro=True, stamps=False)
                driver = Driver(
                    source.socket.fileno(), source.pair, [(witness.socket.fileno(), witness.pair)],
                    payload_type=PAYLOAD_TYPE, mid_id=MID_EXTENSION, mid=MID, twcc_id=TWCC_EXTENSION,
                    ssrc=SSRC,
                )  # fmt: skip
                for packets in frames:
                    call.keep_alive()
                    await trio.sleep(0.3)
                    # Until the media flows, then into the sink.
                    await trio.to_thread.run_sync(
                        lambda size=packets: driver.run(0.5, packets=size, payload=PAYLOAD, fps=50)
                    )
                    namespace.sink(True)
                    window = max(2, WINDOW_PACKETS // packets)
                    before, began = thread_times(server.pid), await metrics(server)
                    found = await trio.to_thread.run_sync(
                        lambda size=packets, window=window: driver.run(
                            seconds, packets=size, payload=PAYLOAD, window=window
                        )
                    )
                    after, ended = thread_times(server.pid), await metrics(server)
                    namespace.sink(False)
                    engine = spent(before, after, ENGINE_THREAD)
                    everything = spent(before, after, "")
                    forwarded = ended - began
                    rows.append({
                        "what": "tandem", "consumers": count, "packets": packets, "payload": PAYLOAD,
                        "ns": engine / max(1, forwarded), "ns_process": everything / max(1, forwarded),
                        "rate": forwarded / found["seconds"], "busy": engine / found["seconds"] / 1e9,
                        "forwarded": forwarded, "sent": found["sent"], **judged(found),
                    })  # fmt: skip
        finally:
            await trio.to_thread.run_sync(server.stop)
    return rows


async def metrics(server: Any) -> int:
    """Packets that the server says it has forwarded."""
    import urllib.request

    def read() -> int:
        with urllib.request.urlopen(server.url + "metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("tandem_media_forwarded"):
                    return int(float(line.split()[-1]))
        raise RuntimeError("the server's metrics name no forwarded packets")

    return await trio.to_thread.run_sync(read)


if __name__ == "__main__":
    describe()
    sys.exit(main())
