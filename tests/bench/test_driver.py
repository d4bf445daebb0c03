"""The driver of one stream, looped back to itself: what it counts as its own."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from bench.native.driver import Driver
from rtp_core.srtp import Profile, SrtpPair

SSRC, PAYLOAD_TYPE = 2001, 96
KEY = bytes(range(28))
Loop = tuple[Driver, socket.socket, SrtpPair]


def pair() -> SrtpPair:
    return SrtpPair(Profile.AEAD_AES_128_GCM, KEY, KEY)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """The driver, the socket that it receives on, and keys for what comes from elsewhere."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.setblocking(False)
        receiver.bind(("127.0.0.1", 0))
        sender.connect(receiver.getsockname())
        receivers = [(receiver.fileno(), pair())]
        driver = Driver(
            sender.fileno(), pair(), receivers,
            payload_type=PAYLOAD_TYPE, mid_id=1, mid=b"1", twcc_id=2, ssrc=SSRC,
        )  # fmt: skip
        yield driver, receiver, pair()


def send(loop: Loop, ssrc: int, payload: bytes) -> None:
    _, receiver, keys = loop
    packet = struct.pack("!BBHII", 0x80, PAYLOAD_TYPE, 1, 0, ssrc) + payload
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(keys.seal_rtp(packet), receiver.getsockname())


def test_what_it_sends_it_finds_whole(loop: Loop) -> None:
    found = loop[0].run(0.05, packets=2, payload=200, fps=200)
    assert found["received"] == found["sent"] >= 8
    assert not any(found[name] for name in ("missing", "twice", "forged", "disorder"))


def test_a_servers_own_probe_is_neither_the_stream_nor_a_fault(loop: Loop) -> None:
    send(loop, 1234, bytes(400))  # before the stream: its SSRC must not pass for the stream's
    found = loop[0].run(0.05, packets=2, payload=200, fps=200)
    assert found["received"] == found["sent"]
    assert not any(found[name] for name in ("missing", "twice", "forged", "disorder"))


def test_what_is_under_other_keys_is_forged(loop: Loop) -> None:
    other = SrtpPair(Profile.AEAD_AES_128_GCM, KEY[::-1], KEY[::-1])
    send((loop[0], loop[1], other), SSRC, bytes(400))
    assert loop[0].run(0.05, packets=2, payload=200, fps=200)["forged"] == 1
