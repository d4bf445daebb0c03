"""Messages on their way to a kernel that may have no room: what joins, what waits, what is given up."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtp_core.srtp import Profile
from rtp_core.wire import Wire
from tests.harness.rtp import RtpPacket, is_rtcp
from tests.rtp_core.world import Client, World

ROOMY = 10_000


class Line:
    """Rooms of one sender with a camera and a microphone, and receivers, behind a wire that may refuse."""

    def __init__(self, *, rooms: int = 1, receivers: int = 3, segments: bool = True) -> None:
        self.world = World(seed=9)
        self.senders: list[Client] = []
        self.receivers: list[list[Client]] = []
        for room in range(rooms):
            if room:
                self.world.router = self.world.core.add_router({})
            sender = Client(self.world, f"s{room}", port=1 + room)
            cam, mic = (
                sender.produce("cam", video=True, ssrc=0xB0),
                sender.produce("mic", video=False, ssrc=0xA0),
            )
            far = [Client(self.world, f"r{room}-{n}", port=100 * (1 + room) + n) for n in range(receivers)]
            for one in far:
                one.consume(cam, ssrc=0x100)
                one.consume(mic, ssrc=0x200)
            self.senders.append(sender)
            self.receivers.append(far)
        self.wire = Wire(self.world.core, segments=segments)
        self.number = 0

    def batch(self, room: int, packets: list[RtpPacket]) -> None:
        sender = self.senders[room]
        self.world.now += 1_000
        self.world.core.receive_batch(
            self.world.now, [(sender.place, 0, sender.out.protect(p.to_bytes())) for p in packets]
        )

    def frame(self, room: int = 0, sizes: tuple[int, ...] = (500,) * 4) -> None:
        """Each a key frame, so that only the wire decides what arrives."""
        packets = []
        for size in sizes:
            body = b"\x10\x00\x9d\x01\x2a" + self.number.to_bytes(4, "big") + bytes(size)
            packets.append(RtpPacket(120, self.number, 3000 * self.number, 0xB0, body, marker=True))
            self.number += 1
        self.batch(room, packets)

    def sound(self, room: int = 0) -> None:
        self.batch(room, [RtpPacket(109, self.number, 960 * self.number, 0xA0, b"opus%06d" % self.number)])
        self.number += 1

    def flush(self, room: int | None = None, *, error: int = errno.EAGAIN) -> None:
        self.wire.flush(self.world.now, room=room, error=error)

    def arrived(self) -> dict[int, list[RtpPacket]]:
        """Of each port, in order."""
        out: dict[int, list[RtpPacket]] = {}
        for (_, port), datagrams in self.wire.taken():
            client = next(one for far in self.receivers for one in far if one.place[1] == port)
            for data in datagrams:
                if not is_rtcp(data):
                    out.setdefault(port, []).append(RtpPacket.from_bytes(client.into.unprotect(data)))
        return out

    def counters(self, *names: str) -> tuple[int, ...]:
        found = self.world.core.counters()
        return tuple(found[name] for name in names)


def test_what_one_receiver_gets_of_several_senders_is_one_message() -> None:
    world = World()
    senders = [Client(world, f"s{n}", port=1 + n) for n in range(4)]
    receivers = [Client(world, f"r{n}", port=10 + n) for n in range(3)]
    for k, sender in enumerate(senders):
        mic = sender.produce("mic", video=False, ssrc=0xA0)
        for one in receivers:
            one.consume(mic, ssrc=0x100 + k)
    wire = Wire(world.core)
    world.core.receive_batch(
        world.now,
        [
            (one.place, 0, one.out.protect(RtpPacket(109, n, n * 960, 0xA0, b"x" * 100).to_bytes()))
            for n in range(3)
            for one in senders
        ],
    )
    wire.flush(world.now)
    messages = wire.taken()
    assert [len(datagrams) for _, datagrams in messages] == [12, 12, 12]
    for (place, datagrams), client in zip(messages, reversed(receivers), strict=True):
        assert place == client.place
        found = [RtpPacket.from_bytes(client.into.unprotect(one)) for one in datagrams]
        assert sorted({p.ssrc for p in found}) == [0x100, 0x101, 0x102, 0x103]


@pytest.mark.parametrize(
    ("sizes", "messages"),
    [
        ((300, 300, 300), [3]),
        ((300, 300, 299), [3]),
        ((300, 299, 299), [2, 1]),
        ((299, 300, 300), [1, 2]),
        ((300, 10, 10), [2, 1]),
        ((100,) * 70, [64, 6]),
        ((1300,) * 60, [48, 12]),
    ],
)
def test_equal_packets_join_and_the_last_may_be_shorter(sizes: tuple[int, ...], messages: list[int]) -> None:
    line = Line(receivers=1)
    line.frame(sizes=sizes)
    line.flush()
    assert [len(datagrams) for _, datagrams in line.wire.taken()] == messages


def test_without_segments_each_packet_is_a_message() -> None:
    line = Line(segments=False, receivers=2)
    line.frame(sizes=(300,) * 5)
    line.flush()
    assert [len(datagrams) for _, datagrams in line.wire.taken()] == [1] * 10


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOBUFS])
def test_sound_waits_and_excess_video_is_given_up(segments: bool, error: int) -> None:
    line = Line(segments=segments)
    for _ in range(2):  # windows before, so that a mean is known
        line.world.now += 50_000
        line.sound()
        line.flush()
    line.arrived()
    line.frame(sizes=(500,) * 8)
    line.sound()
    line.flush(0, error=error)
    assert line.arrived() == {}
    assert line.wire.waits
    line.flush(None)
    assert {port: [p.ssrc for p in found] for port, found in line.arrived().items()} == {
        100: [0x200],
        101: [0x200],
        102: [0x200],
    }
    assert line.counters("send_refused", "send_delayed", "shed_socket_video", "shed_socket_sound") == (
        27,
        3,
        24,
        0,
    )
    assert line.counters("overloads")[0] > 0
    assert not line.wire.waits


def test_video_of_a_room_within_its_share_waits_too() -> None:
    line = Line(rooms=2, receivers=2)
    for _ in range(3):
        line.world.now += 50_000
        for _ in range(5):
            line.frame(0)
        line.frame(1)
        line.flush()
    line.arrived()
    line.world.now += 50_000
    for _ in range(5):
        line.frame(0)
        line.flush()
    line.arrived()
    line.frame(0)
    line.frame(1)
    line.flush(0)
    line.flush()
    found = {port: len(packets) for port, packets in line.arrived().items()}
    assert found == {200: 4, 201: 4}, "the busy room's is given up, the quiet room's waits"


def test_what_waits_keeps_its_order_and_does_not_grow_old() -> None:
    line = Line(receivers=1)
    for n in range(30):
        line.sound()
        line.flush(0 if n < 20 else None)
    numbers = [int(p.payload[4:]) for p in line.arrived()[100]]
    assert numbers == list(range(30))
    line.sound()
    line.flush(0)
    line.world.now += 300_000
    line.sound()
    line.flush()
    assert [int(p.payload[4:]) for p in line.arrived()[100]] == [31]
    assert line.counters("shed_socket_sound") == (1,)


def test_what_waits_is_bounded() -> None:
    line = Line(receivers=1)
    for n in range(10):
        line.batch(0, [RtpPacket(109, 60 * n + k, 0, 0xA0, b"%04d" % (60 * n + k)) for k in range(60)])
    line.flush(0)
    line.flush()
    assert [int(p.payload) for p in line.arrived()[100]] == list(range(256 * 7 // 8))
    assert line.counters("shed_socket_sound") == (600 - 256 * 7 // 8,)


@pytest.mark.parametrize("error", [errno.EHOSTUNREACH, errno.EPERM, errno.EMSGSIZE])
def test_an_error_is_its_messages_own(error: int) -> None:
    """One that cannot be reached costs its own packets and nobody else's."""
    line = Line(receivers=3)
    line.frame()
    line.flush(1, error=error)
    assert sorted(line.arrived()) == [102]
    assert line.counters("send_refused", "send_errors") == (0, 8)
    assert not line.wire.waits
    line.frame()
    line.flush()
    assert sorted(line.arrived()) == [100, 101, 102]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 5), st.one_of(st.none(), st.integers(0, 6))),
        min_size=1,
        max_size=40,
    ),
    st.booleans(),
)
def test_whatever_the_wire_takes(steps: list[tuple[int, int, int | None]], segments: bool) -> None:
    """Nothing twice, each stream in order, everything accounted for."""
    line = Line(rooms=2, receivers=2, segments=segments)
    for room, what, space in steps:
        if what == 0:
            line.frame(room, sizes=(400, 400, 399))
        elif what == 5:
            line.world.now += 40_000
        else:
            line.sound(room)
        line.flush(space)
    line.flush()
    found = line.arrived()
    for packets in found.values():
        for ssrc in (0x100, 0x200):
            stamps = [p.timestamp for p in packets if p.ssrc == ssrc]
            assert stamps == sorted(stamps)
        assert len({(p.ssrc, p.sequence) for p in packets}) == len(packets)
    forwarded, refused, delayed, video, sound = line.counters(
        "forwarded", "send_refused", "send_delayed", "shed_socket_video", "shed_socket_sound"
    )
    assert refused == delayed + video + sound
    assert forwarded == sum(map(len, found.values())) + video + sound
    assert not line.wire.waits


def test_another_profile_joins_as_well() -> None:
    world = World()
    sender = Client(world, "s", port=1)
    receiver = Client(world, "r", port=2, profile=Profile.AES128_CM_SHA1_80)
    receiver.consume(sender.produce("mic", video=False, ssrc=0xA0), ssrc=5)
    wire = Wire(world.core)
    packets = [
        sender.out.protect(RtpPacket(109, n, n * 960, 0xA0, b"%0100d" % n).to_bytes()) for n in range(9)
    ]
    world.core.receive_batch(world.now, [(sender.place, 0, one) for one in packets])
    wire.flush(world.now)
    ((_, datagrams),) = wire.taken()
    assert [RtpPacket.from_bytes(receiver.into.unprotect(one)).payload for one in datagrams] == [
        b"%0100d" % n for n in range(9)
    ]
