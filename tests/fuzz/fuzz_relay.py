"""Whatever a sender sends, and a receiver on another engine asks: mirrors take it, and all goes on.

The first byte chooses who sends, whether the rest is sealed as that peer's own SRTP or SRTCP, and whether the
other engine lags behind, so that records wait, or are dropped.
"""

from __future__ import annotations

import pylibsrtp

from tests.harness.rtp import nack, pli, receiver_report, sender_report
from tests.rtp_core.engines import Engines
from tests.rtp_core.world import Client, opus, vp8

SEEDS = [
    b"\x00" + vp8(3, key=True, mid="0", twcc=9).to_bytes(),
    b"\x00" + vp8(4, ssrc=0xB8, mid="0").to_bytes(),
    b"\x08" + vp8(9_000).to_bytes(),
    b"\x00" + opus(3, mid="1", level=20).to_bytes(),
    b"\x01" + sender_report(0xB0, ntp=1 << 60, timestamp=5, packets=1, octets=2, cname="x"),
    b"\x03" + receiver_report(1) + nack(1, 0xD0, [1, 2, 3]) + pli(1, 0xD0),
]


class _Call:
    def __init__(self) -> None:
        self.engines = Engines(slots=16)
        home, away = self.engines.worlds
        self.sender, self.far = Client(home, "a", port=1), Client(away, "b", port=2)
        cam = self.sender.produce("0", video=True, ssrc=0xB0, rtx_ssrc=0xB1)
        mic = self.sender.produce("1", video=False)
        self.far.consume(self.engines.mirror(cam, video=True)[0], ssrc=0xD0, rtx_ssrc=0xD1)
        self.far.consume(self.engines.mirror(mic, video=False)[0], ssrc=0xD2, mid="1")


_call = _Call()
_count = 0


def fuzz_one(data: bytes) -> None:
    global _call, _count
    _count += 1
    if _count % 500 == 0:
        _call = _Call()
    choice, body = (data[0], data[1:]) if data else (0, b"")
    client = _call.far if choice & 2 else _call.sender
    body = body[:1800]
    if not choice & 1 and len(body) >= 12:  # numbers that go on: libsrtp seals none twice
        number = _count * (1 + (choice >> 4) * 200)
        body = bytes([0x80 | body[0] & 0x3F, body[1]]) + (number & 0xFFFF).to_bytes(2, "big") + body[4:]
    try:
        sealed = (client.out.protect_rtcp if choice & 1 else client.out.protect)(body)
    except (pylibsrtp.Error, TypeError, ValueError):
        return  # libsrtp itself refuses to seal this
    client.send(sealed)
    if not choice & 8:
        _call.engines.run(0.01)
    for far in (_call.sender, _call.far):
        assert far.errors == 0
        far.rtp.clear()
        far.rtcp.clear()
        far.raw.clear()
        far.answers.clear()
    for world in _call.engines.worlds:
        world.events.clear()
