"""What comes together is fanned out together, and nobody can tell but by the order between receivers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.rtp import RtpPacket, nack, receiver_report
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


# --- pieces of a frame that differ by a byte ---------------------------------------------------------------

VIDEO = 96  # as the router calls it
RTX = 97


def pieces(sizes: list[int], *, first: int = 1, timestamp: int = 3000, **more: Any) -> list[RtpPacket]:
    """Of a key frame, whose payloads have these sizes."""
    out = [vp8(first + n, key=n == 0, ssrc=0x10, mid="cam", **more) for n in range(len(sizes))]
    for packet, size in zip(out, sizes, strict=True):
        packet.timestamp = timestamp
        packet.payload += bytes(size - len(packet.payload))
    return out


def sent_of(room: Room, packets: list[RtpPacket]) -> list[bytes]:
    """What the first receiver is sent for what comes together, sealed; it has taken it."""
    sender, receiver = room.senders[0], room.receivers[0]
    sealed = [(sender.place, 0, sender.out.protect(packet.to_bytes())) for packet in packets]
    receiver.raw.clear()
    receiver.rtp.clear()
    room.world.core.receive_batch(room.world.now, sealed)
    room.world.deliver()
    return [data for data in receiver.raw if data[1] & 0x7F == VIDEO]


@pytest.mark.parametrize(
    ("sizes", "padded"),
    [
        ([40, 40, 41, 41], "1100"),
        ([40, 41], "10"),
        ([41, 41, 40], "000"),  # the last of a message may be shorter
        ([40, 42], "00"),
        ([40, 41, 42], "100"),  # never more than a byte
        ([41, 40, 41, 41], "0100"),
        ([40, 40, 40], "000"),
        ([40], "0"),
        ([1300, 1301], "10"),
    ],
)
def test_smaller_pieces_of_a_frame_get_a_byte_of_padding(sizes: list[int], padded: str) -> None:
    room = Room()
    packets = pieces(sizes)
    sent = sent_of(room, packets)
    assert "".join("1" if data[0] & 0x20 else "0" for data in sent) == padded
    assert [p.payload for p in room.receivers[0].rtp] == [p.payload for p in packets]
    overhead = {len(data) - size - int(flag) for data, size, flag in zip(sent, sizes, padded, strict=True)}
    assert len(overhead) == 1
    assert all(one.errors == 0 for one in room.receivers)
    stats = room.world.core.stream_stats(room.consumers[0])
    assert stats is not None
    assert stats["bytes"] == sum(sizes), "padding is no payload"


def test_pieces_of_two_frames_or_with_other_extensions_stay_as_they_are() -> None:
    room = Room()
    two = [*pieces([40]), *pieces([41], first=2, timestamp=6000)]
    other = [*pieces([40], first=3), *pieces([41], first=4, twcc=5)]
    for packets in (two, other):
        assert not any(data[0] & 0x20 for data in sent_of(room, packets))


def test_sound_is_not_padded() -> None:
    room = Room()
    packets = [opus(n, ssrc=0xA0, mid="mic") for n in (1, 2)]
    packets[1].payload += b"!"
    packets[1].timestamp = packets[0].timestamp
    room.feed([(0, packet) for packet in packets], 2)
    sound = [data for data in room.receivers[0].raw if data[1] & 0x7F == 111]
    assert len(sound) == 2
    assert not any(data[0] & 0x20 for data in sound)


@given(st.lists(st.integers(30, 34), min_size=1, max_size=20), st.integers(0, 3))
def test_padding_changes_no_payload_and_costs_at_most_a_byte(sizes: list[int], probes: int) -> None:
    room = Room()
    packets = pieces(sizes)
    for packet in packets[1:][::5][:probes]:  # some have padding alone; the first begins the picture
        packet.payload = b""
    sent = sent_of(room, packets)
    kept = [p for p in packets if p.payload]
    assert [p.payload for p in room.receivers[0].rtp] == [p.payload for p in kept]
    plain = min(len(data) - len(p.payload) for data, p in zip(sent, kept, strict=True))
    grown = [len(data) - len(p.payload) - plain for data, p in zip(sent, kept, strict=True)]
    assert set(grown) <= {0, 1}
    assert [bool(data[0] & 0x20) for data in sent] == [bool(one) for one in grown]
    assert max(map(len, sent)) == plain + max(len(p.payload) for p in kept)


def test_a_retransmission_is_without_the_padding() -> None:
    world = World(seed=6)
    sender, receiver = Client(world, "a", port=1), Client(world, "c", port=10)
    camera = sender.produce("cam", video=True)
    receiver.consume(camera, ssrc=0x100, rtx_ssrc=0x101)
    packets = pieces([40, 41])
    world.core.receive_batch(
        world.now, [(sender.place, 0, sender.out.protect(p.to_bytes())) for p in packets]
    )
    world.deliver()
    first = receiver.rtp[0]
    assert receiver.raw[-2][0] & 0x20
    receiver.rtp.clear()
    receiver.send_rtcp(receiver_report(9) + nack(9, 0x100, [first.sequence]))
    again = [p for p in receiver.rtp if p.ssrc == 0x101]
    assert [p.payload for p in again] == [first.sequence.to_bytes(2, "big") + packets[0].payload]
    assert len(first.payload) == 40
