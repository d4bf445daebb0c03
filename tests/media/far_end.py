"""Run as a process: two endpoints of a media server elsewhere, one sending audio to the other, timed.

Reads a JSON line with both transports, writes one with the endpoints' DTLS parameters, then on "go" sends a
packet every 5 ms for as many seconds as it is told, and writes what it saw.
"""

from __future__ import annotations

import json
import sys
import time

import msgspec
import trio

from server.rtc.parameters import Fingerprint, IceParameters
from tests.harness.rtc_peer import RtcPeer
from tests.harness.rtp import RtpPacket


async def main() -> None:
    told = json.loads(sys.stdin.readline())
    peers = [
        RtcPeer(msgspec.convert(ice, IceParameters), msgspec.convert(fingerprint, Fingerprint))
        for ice, fingerprint in told
    ]
    print(json.dumps([msgspec.to_builtins(peer.dtls_parameters) for peer in peers]), flush=True)
    up, down = peers
    async with up, down:
        await up.wait_connected()
        await down.wait_connected()
        print(json.dumps("connected"), flush=True)
        seconds = float(await trio.to_thread.run_sync(sys.stdin.readline))
        sent: dict[bytes, float] = {}
        late: list[float] = []

        def received(packet: RtpPacket, now: float) -> None:
            late.append(time.monotonic() - sent[packet.payload])

        down.on_rtp = received
        for n in range(int(seconds / 0.005)):
            payload = b"%06d" % n
            sent[payload] = time.monotonic()
            await up.send_rtp(RtpPacket(109, n, n * 240, 7, payload, extensions={4: b"mic"}))
            await trio.sleep(0.005)
        await trio.sleep(0.2)
        late.sort()
        result = {"sent": len(sent), "received": len(late), "p50": late[len(late) // 2], "max": late[-1]}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    trio.run(main)
