"""How objects of the core come and go, and what they leave behind: nothing."""

from __future__ import annotations

import os

import pytest

from rtp_core.ext import Kind
from rtp_core.pipeline import Pipeline
from rtp_core.srtp import Profile
from tests.harness.rtp import RtpPacket, nack, pli
from tests.rtp_core.world import CLIENT_EXTENSIONS, Client, World, address, opus, vp8

PROFILES = list(Profile)


@pytest.fixture
def world() -> World:
    return World()


def counters(world: World, *names: str) -> tuple[int, ...]:
    found = world.core.counters()
    return tuple(found[name] for name in names)


def test_removal_takes_what_belongs_to_it(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    producer = sender.produce("mic", video=False, ssrc=0xA0)
    consumer = receiver.consume(producer, ssrc=0xC0)
    sender.send_rtp(opus(1))
    world.core.remove(world.router)
    world.step()
    gone = {event[1] for event in world.of("removed")}
    assert gone == {world.router, sender.handle, receiver.handle, producer, consumer}
    assert len(receiver.rtcp_of(203)) == 1
    assert counters(world, "routers", "transports", "producers", "consumers") == (0, 0, 0, 0)
    sender.send_rtp(opus(2))
    sender.check()
    assert sender.answers[-1].error == 401


def test_removed_consumer_leaves_no_stream_behind(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    producer = sender.produce("cam", video=True, ssrc=0xB0)
    for ssrc in range(0xC0, 0xD0, 2):
        consumer = receiver.consume(producer, ssrc=ssrc, rtx_ssrc=ssrc + 1)
        sender.send_rtp(vp8(ssrc, key=True))
        receiver.send_rtcp(nack(1, ssrc, [receiver.rtp[-1].sequence]))
        world.core.remove(consumer)
        world.step()
        assert receiver.pair.outbound_ssrcs == []  # they were the consumer's own
    assert receiver.errors == 0
    assert len(receiver.rtcp_of(203)) == 8


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("fresh_producer", [True, False])
def test_camera_off_and_on_many_times(world: World, profile: Profile, fresh_producer: bool) -> None:
    """Each time under new SSRCs, of media and of RTX, that speak RTCP too."""
    sender, receiver = Client(world, "a", port=1, profile=profile), Client(world, "b", port=2)
    producer = 0
    for n in range(80):
        if fresh_producer or not producer:
            producer = sender.produce("cam", video=True)
            receiver.consume(producer, ssrc=0x1000 + n)
        ssrc = 0x2000 + 2 * n
        before = len(receiver.rtp)
        sender.send_rtp(vp8(1, key=True, ssrc=ssrc, mid="cam"))
        sender.send_rtp(rtx(vp8(2, ssrc=ssrc), ssrc + 1, mid="cam"))
        assert [p.sequence for p in receiver.rtp[before:]] == [
            receiver.rtp[before].sequence,
            (receiver.rtp[before].sequence + 1) & 0xFFFF,
        ]
        sender.send_rtcp(pli(ssrc, 1))
        if fresh_producer:
            world.core.remove(producer)
            world.step()
        sender.send_rtcp(pli(ssrc + 1, 1))
    assert len(sender.pair.ssrcs) <= 49
    stats = world.core.transport_stats(sender.handle)
    assert stats is not None
    assert stats["srtp_errors"] == 0


def rtx(original: RtpPacket, ssrc: int, *, mid: str) -> RtpPacket:
    extensions = {CLIENT_EXTENSIONS[Kind.MID]: mid.encode()}
    body = original.sequence.to_bytes(2, "big") + original.payload
    return RtpPacket(121, 1, original.timestamp, ssrc, body, extensions=extensions)


def test_handles_are_not_confused_when_places_are_used_again(world: World) -> None:
    sender = Client(world, "a", port=1)
    first = sender.produce("mic", video=False)
    world.core.remove(first)
    world.step()
    second = sender.produce("mic", video=False)
    assert first != second
    assert first & 0xFFFFFFFF == second & 0xFFFFFFFF
    world.core.remove(first)
    world.core.pause(first)
    world.step()
    assert world.core.stream_stats(first) is None
    assert world.core.stream_stats(second) is not None


def test_object_of_something_gone_is_declined(world: World) -> None:
    sender = Client(world, "a", port=1)
    world.core.remove(sender.handle)
    orphan = sender.produce("mic", video=False)
    world.step()
    assert ("removed", orphan, None) in world.events
    assert counters(world, "producers") == (0,)


def test_more_commands_than_the_ring_holds(world: World) -> None:
    sender = Client(world, "a", port=1)
    for _ in range(5000):
        world.core.pause(sender.handle)
    world.core.send_dtls(sender.handle, b"\x16last")
    assert counters(world, "command_backlog")[0] > 0
    world.step()
    assert sender.raw[-1] == b"\x16last"
    assert counters(world, "command_backlog") == (0,)


def test_limits_are_errors_of_the_caller(world: World) -> None:
    with pytest.raises(ValueError, match="ufrag"):
        world.core.add_transport(world.router, bytes(33), b"x", 1)
    with pytest.raises(ValueError, match="payload"):
        world.core.add_producer(
            1, video=False, mid=b"0", ssrc=0, rtx_ssrc=0, payloads=[], extensions=dict(CLIENT_EXTENSIONS)
        )
    for i in range(64):
        world.core.add_transport(world.router, b"u%d" % i, b"p", 1)
    with pytest.raises(MemoryError):
        world.core.add_transport(world.router, b"one more", b"p", 1)


def test_junk_never_hurts(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    receiver.consume(sender.produce("mic", video=False), ssrc=0xC0)
    for size in (*range(40), 1200, 1901, 2048, 65535):
        for first in (0, 1, 3, 16, 22, 63, 64, 79, 128, 191, 192, 255):
            data = bytes([first]) + world.random.randbytes(max(0, size - 1))
            sender.send(data[:size])
    sender.send_rtp(opus(1, mid="mic"))
    assert len(receiver.rtp) == 1
    assert address("192.0.2.1", 1) == sender.place


def test_commands_of_a_round_ring_once_where_that_is_wanted() -> None:
    flags = os.EFD_NONBLOCK | os.EFD_CLOEXEC
    bell, other = os.eventfd(0, flags), os.eventfd(0, flags)
    try:
        core = Pipeline(scale=16)
        asked: list[int] = []
        core.defer(lambda: asked.append(1))  # without a bell: nothing has been rung yet that counts
        core.attach_bells(bell, other)
        for _ in range(3):
            core.add_router({})
        assert asked == [1]
        core.ring()
        core.add_router({})
        assert asked == [1, 1]
        assert core.apply(0) == 4  # to be woken late costs no command
        core.defer(None)
        core.add_router({})
        assert asked == [1, 1]
        core.attach_bells(-1, -1)
    finally:
        os.close(bell)
        os.close(other)
