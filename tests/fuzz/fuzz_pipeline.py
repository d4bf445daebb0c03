"""Whatever one peer sends: the pipeline takes it, answers within bounds, and still forwards afterwards.

The first byte chooses who sends and whether the rest is sealed as that peer's own SRTP or SRTCP, so that
mutations reach what lies behind authentication; or each byte is a valid check, from one of its addresses; or
each byte is a packet of those that come together.
"""

from __future__ import annotations

import pylibsrtp

from tests.harness.rtp import nack, pli, receiver_report, sender_report
from tests.rtp_core.world import Client, World, opus, vp8

SEEDS = [
    b"\x00" + vp8(3, key=True, mid="0", twcc=9).to_bytes(),
    b"\x00" + opus(3, mid="1", level=20).to_bytes(),
    b"\x01" + sender_report(0xB0, ntp=1 << 60, timestamp=5, packets=1, octets=2, cname="x"),
    b"\x03" + receiver_report(1) + nack(1, 0xC0, [1, 2, 3]) + pli(1, 0xC0),
    b"\x04\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),
    b"\x04\x16\xfe\xfd" + bytes(40),
    b"\x08\x00\x11\x02\x13\x20",
    b"\x10\x01\x01\x02\x02\x41\x42\x02",
]


def _together(world: World, client: Client, body: bytes) -> None:
    """Each byte: its payload's size, whether it has a new timestamp, an extension more, a number left out."""
    global _sequence
    batch = []
    frame = _sequence
    for byte in body:
        _sequence += 2 if byte & 128 else 1
        if byte & 64:
            frame = _sequence
        packet = vp8(_sequence, key=byte & 16 != 0, mid="0", frame=frame, twcc=9 if byte & 32 else None)
        if byte & 8:
            packet.payload = packet.payload[: 2 * (byte & 7)]
        else:
            packet.payload += bytes(byte & 7)
        batch.append((client.place, client.channel, client.out.protect(packet.to_bytes())))
    world.core.receive_batch(world.now, batch)
    world.deliver()


def _start() -> tuple[World, Client, Client]:
    world = World()
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    cam = sender.produce("0", video=True, ssrc=0xB0, rtx_ssrc=0xB1)
    mic = sender.produce("1", video=False)
    receiver.consume(cam, ssrc=0xC0, rtx_ssrc=0xC1)
    receiver.consume(mic, ssrc=0xC2, mid="1")
    return world, sender, receiver


_world, _sender, _receiver = _start()
_count = 0
_sequence = 1000


def fuzz_one(data: bytes) -> None:
    global _world, _sender, _receiver, _count
    _count += 1
    if _count % 500 == 0:
        _world, _sender, _receiver = _start()
    choice, body = (data[0], data[1:]) if data else (0, b"")
    client = _receiver if choice & 2 else _sender
    try:
        if choice & 8:
            for byte in body[:40]:
                client.move("192.0.2.1", (200 if client is _receiver else 100) + (byte & 15))
                client.check(nominate=byte & 16 != 0)
                _world.now += (byte >> 5) * 1000
        elif choice & 16:
            _together(_world, client, body[:200])
        elif choice & 4:
            client.send(body[:65535])
        elif choice & 1:
            client.send(client.out.protect_rtcp(body[:1800]))
        else:
            client.send(client.out.protect(body[:1800]))
    except (pylibsrtp.Error, TypeError, ValueError):
        return  # libsrtp itself refuses to seal this
    _world.run(0.02, tick_us=10_000)
    for far in (_sender, _receiver):
        assert far.errors == 0
        far.rtp.clear()
        far.rtcp.clear()
        far.raw.clear()
        far.answers.clear()
    _world.events.clear()
