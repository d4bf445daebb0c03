"""What comes together is fanned out together, and nobody can tell but by the order between receivers."""

from __future__ import annotations

import random

import pytest

from tests.harness.rtp import RtpPacket
from tests.rtp_core.world import Client, World, opus, vp8


class Room:
    """Two senders, four receivers: one of them paused, one without keys of its own until later."""

    def __init__(self) -> None:
        self.world = World(seed=5)
        self.senders = [Client(self.world, name, port=port) for port, name in enumerate("ab", 1)]
        self.receivers = [Client(self.world, name, port=port) for port, name in enumerate("cdef", 10)]
        cameras = [one.produce("cam", video=True) for one in self.senders]
        microphones = [one.produce("mic", video=False) for one in self.senders]
        self.consumers = [
            one.consume(producer, ssrc=0x100 * n + k, mid="m" * (1 + n % 2), paused=n == 2)
            for n, one in enumerate(self.receivers)
            for k, producer in enumerate([*cameras, *microphones])
        ]

    def feed(self, packets: list[tuple[int, RtpPacket]], size: int) -> None:
        """In batches of `size`; every seventeenth packet is late by two."""
        sealed = [
            (self.senders[who].place, 0, self.senders[who].out.protect(packet.to_bytes()))
            for who, packet in packets
        ]
        for at in range(0, len(sealed) - 3, 17):
            sealed[at], sealed[at + 2] = sealed[at + 2], sealed[at]
        for at in range(0, len(sealed), size):
            self.world.core.receive_batch(self.world.now, sealed[at : at + size])
            self.world.deliver()

    def heard(self) -> list[dict[int, list[tuple[int, int, bytes, bool]]]]:
        """Of each receiver, by SSRC: (sequence, timestamp, payload, marker)."""
        out = []
        for one in self.receivers:
            streams: dict[int, list[tuple[int, int, bytes, bool]]] = {}
            for p in one.rtp:
                streams.setdefault(p.ssrc, []).append((p.sequence, p.timestamp, p.payload, p.marker))
            out.append(streams)
        return out


def traffic(seed: int) -> list[tuple[int, RtpPacket]]:
    """Loss, repetition, lateness, padding, jumps of the numbering, and senders that begin anew."""
    rng = random.Random(seed)
    out: list[tuple[int, RtpPacket]] = []
    numbers, ssrcs = [100, 65_500], [0x10, 0x20]
    for n in range(300):
        who = rng.randrange(2)
        event = rng.random()
        if event < 0.03:
            numbers[who] += 5_000  # a jump: the core starts afresh
        elif event < 0.05:
            ssrcs[who] += 1
        elif event < 0.1:
            numbers[who] += 1  # lost
        numbers[who] += 1
        packet = vp8(numbers[who] % 65536, key=n < 4 or event > 0.85, ssrc=ssrcs[who], mid="cam")
        packet.timestamp = n * 3000
        if event > 0.95:
            packet.payload = b""
        out.append((who, packet))
        if rng.random() < 0.3:
            out.append((who, opus(n, ssrc=0xA0 + who, mid="mic")))
    return out


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [2, 7, 64, 400])
def test_a_batch_means_the_same_as_its_packets(seed: int, size: int) -> None:
    alone, together = Room(), Room()
    alone.feed(traffic(seed), 1)
    together.feed(traffic(seed), size)
    assert together.heard() == alone.heard()
    assert sum(len(stream) for streams in alone.heard() for stream in streams.values()) > 500
    assert all(one.errors == 0 for one in together.receivers)
    assert [one.rtp for one in together.receivers[2:3]] == [[]]
    for one, other in zip(alone.consumers, together.consumers, strict=True):
        mine, theirs = alone.world.core.stream_stats(one), together.world.core.stream_stats(other)
        assert mine is not None
        assert theirs is not None
        names = ("packets", "bytes", "key_frames")
        assert [mine[name] for name in names] == [theirs[name] for name in names]


def test_a_frame_reaches_each_receiver_in_one_piece() -> None:
    room = Room()
    frame = [(0, vp8(n, key=n == 1, ssrc=0x10, mid="cam")) for n in range(1, 9)]
    place = room.senders[0].place
    sealed = [(place, 0, room.senders[0].out.protect(packet.to_bytes())) for _, packet in frame]
    room.world.core.receive_batch(room.world.now, sealed)
    order = [remote for remote, _, data in room.world.core.take_sent() if data[1] & 0x7F == 96]
    assert len(order) == 24
    assert sum(order[n] != order[n - 1] for n in range(1, 24)) == 2


def test_mids_of_different_length_share_a_packet() -> None:
    room = Room()
    room.feed([(0, vp8(n, key=n == 1, ssrc=0x10, mid="cam")) for n in range(1, 4)], 3)
    for n in (0, 1, 3):
        assert {p.extensions[1] for p in room.receivers[n].rtp} == {b"m" * (1 + n % 2)}
        numbers = [int.from_bytes(p.extensions[4], "big") for p in room.receivers[n].rtp]
        assert numbers == list(range(numbers[0], numbers[0] + 3)), "each transport counts for itself"
