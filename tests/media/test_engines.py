"""Several engines: rooms spread over them, large rooms over more than one, over loopback sockets."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from server.media.bridge import Media
from server.media.placement import engine_for, home_of_room
from server.media.router import Router
from server.media.settings import MediaSettings
from server.media.transport import Transport
from server.rtc.parameters import Direction
from tests.harness.rtc_peer import RtcPeer, wait_until
from tests.harness.rtp import RtpPacket, nack, pli
from tests.media.test_bridge import Listener, audio, rtp_parameters, video

LOCAL = ("127.0.0.1",)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def media(nursery: trio.Nursery) -> AsyncIterator[Media]:
    server = Media(MediaSettings(addresses=LOCAL, tcp_port=0, engines=2, spread_above=0))
    await nursery.start(server.run)
    assert server.running
    return server


async def join(stack: AsyncExitStack, router: Router, direction: Direction) -> tuple[Transport, RtcPeer]:
    transport = router.create_transport(direction)
    peer = await stack.enter_async_context(RtcPeer(transport.ice, transport.fingerprint))
    transport.connect(peer.dtls_parameters)
    await peer.wait_connected()
    await wait_until(lambda: transport.state == "connected")
    return transport, peer


class Call:
    """One sender of sound and picture at the room's home, a receiver on each engine."""

    def __init__(self, media: Media, listener: Listener) -> None:
        self.media = media
        self.router = media.create_router(listener)

    async def start(self, stack: AsyncExitStack) -> None:
        self.up, self.sender = await join(stack, self.router, "send")
        self.mic = self.up.produce(kind="audio", source="microphone", rtp=rtp_parameters("audio", "mic"))
        self.cam = self.up.produce(kind="video", source="camera", rtp=rtp_parameters("video", "cam"))
        self.down: list[Transport] = []
        self.receivers: list[RtcPeer] = []
        self.see: list[Any] = []
        for _ in range(3):
            transport, peer = await join(stack, self.router, "recv")
            transport.consume(self.mic, mid="0", paused=False)
            self.see.append(transport.consume(self.cam, mid="1", paused=False))
            self.down.append(transport)
            self.receivers.append(peer)

    async def send(self, numbers: Sequence[int]) -> None:
        for n in numbers:
            await self.sender.send_rtp(audio(n, level=20))
            await self.sender.send_rtp(video(n, key=n % 10 == 0))


def picture(packets: list[RtpPacket]) -> list[bytes]:
    return [packet.payload[-5:] for packet in packets if packet.payload_type == 96]


async def test_each_engine_has_its_port_and_its_rooms(media: Media, listener: Listener) -> None:
    assert len(set(media.udp_ports)) == 2
    rooms = [media.create_router(listener) for _ in range(4)]
    assert [room.home.index for room in rooms] == [0, 1, 0, 1]
    assert [room.udp_port for room in rooms] == [media.udp_ports[n % 2] for n in range(4)]
    ports = [{c.port for c in room.create_transport("send").ice.candidates} for room in rooms]
    assert ports == [{media.udp_ports[n % 2]} for n in range(4)]
    figures = media.stats()["engine"]
    assert [figures[str(n)]["udp_port"] for n in range(2)] == media.udp_ports


async def test_one_room_on_two_engines(media: Media, listener: Listener) -> None:
    call = Call(media, listener)
    with trio.fail_after(20):
        async with AsyncExitStack() as stack:
            await call.start(stack)
            assert call.up.engine.index == 0
            assert {transport.engine.index for transport in call.down} == {0, 1}
            await call.send(range(30))
            for peer in call.receivers:
                await wait_until(lambda peer=peer: len(peer.rtp) >= 60)
                assert picture(peer.rtp) == [b"%05d" % n for n in range(30)]
                assert [p.payload for p in peer.rtp if p.payload_type == 111] == [
                    b"opus%05d" % n for n in range(30)
                ]
                assert peer.errors == {}
            away = sum(transport.engine.index for transport in call.down)
            assert media.stats()["relayed_out"] == 60, f"once for {away} receivers"
            assert call.see[0].stats().packets == call.see[-1].stats().packets == 30
            await wait_until(lambda: len(listener.consumers) == 6)
            n = 30
            while call.mic not in listener.speakers:
                n += 1
                await call.sender.send_rtp(audio(n, level=20))
                await trio.sleep(0.02)
        call.router.close()
        await wait_until(lambda: all(media.stats()[kind] == 0 for kind in KINDS))
    assert [engine.objects for engine in media.engines] == [{}, {}]


KINDS = ("routers", "transports", "producers", "consumers", "relays")


async def test_repair_and_key_frames_across(media: Media, listener: Listener) -> None:
    call = Call(media, listener)
    with trio.fail_after(20):
        async with AsyncExitStack() as stack:
            await call.start(stack)
            far = next(n for n, transport in enumerate(call.down) if transport.engine.index == 1)
            peer, see = call.receivers[far], call.see[far]
            await call.send(range(5))
            await wait_until(lambda: len(picture(peer.rtp)) == 5)
            lost = next(p for p in peer.rtp if p.payload[-5:] == b"00003" and p.payload_type == 96)
            await peer.send_rtcp(nack(1, see.ssrc, [lost.sequence]))
            again = await peer.wait_rtp(lambda packet: packet.ssrc == see.rtx_ssrc)
            assert again.payload == lost.sequence.to_bytes(2, "big") + lost.payload
            call.sender.rtcp.clear()
            await trio.sleep(0.5)
            await peer.send_rtcp(pli(1, see.ssrc))
            await call.sender.wait_rtcp(lambda compound: compound[:2] == b"\x81\xce")


async def test_nobody_listening_costs_nothing_across(media: Media, listener: Listener) -> None:
    call = Call(media, listener)
    with trio.fail_after(20):
        async with AsyncExitStack() as stack:
            await call.start(stack)
            away = [n for n, transport in enumerate(call.down) if transport.engine.index == 1]
            await call.send(range(3))
            for n in away:
                await wait_until(lambda n=n: len(picture(call.receivers[n].rtp)) == 3)
                call.see[n].pause()
            await trio.sleep(0.05)
            before = media.stats()["relayed_out"]
            await call.send(range(3, 6))
            await wait_until(lambda: len(picture(call.receivers[0].rtp)) == 6)
            assert media.stats()["relayed_out"] == before + 3  # the sound
            for n in away:
                call.see[n].resume()
            await trio.sleep(0.05)
            await call.send(range(8, 12))
            for n in away:
                await wait_until(lambda n=n: picture(call.receivers[n].rtp)[-1] == b"00011")
                seen = [p for p in call.receivers[n].rtp if p.ssrc == call.see[n].ssrc]
                assert [p.payload[-5:] for p in seen] == [b"%05d" % k for k in (0, 1, 2, 10, 11)]
                assert [(p.sequence - seen[0].sequence) & 0xFFFF for p in seen] == list(range(5))


@pytest.mark.parametrize("order", list(itertools.permutations(["producer", "consumers", "up", "down"], 2)))
async def test_either_side_may_go_first(media: Media, listener: Listener, order: tuple[str, ...]) -> None:
    call = Call(media, listener)
    with trio.fail_after(20):
        async with AsyncExitStack() as stack:
            await call.start(stack)
            await call.send(range(3))
            for what in order:
                if what == "producer":
                    call.cam.close()
                elif what == "up":
                    call.up.close()
                for n in range(3):
                    if what == "consumers":
                        call.see[n].close()
                    elif what == "down":
                        call.down[n].close()
                await call.send(range(3, 5))
            call.router.close()
            await wait_until(lambda: all(media.stats()[kind] == 0 for kind in KINDS))
    assert [engine.objects for engine in media.engines] == [{}, {}]


async def test_who_comes_back_after_the_last_one_left(media: Media, listener: Listener) -> None:
    """The mirror goes with its last consumer; the next one gets another."""
    call = Call(media, listener)
    with trio.fail_after(20):
        async with AsyncExitStack() as stack:
            await call.start(stack)
            far = next(n for n, transport in enumerate(call.down) if transport.engine.index == 1)
            for n, transport in enumerate(call.down):
                if transport.engine.index == 1:
                    call.see[n].close()
            assert call.cam.mirrors == {}
            again = call.down[far].consume(call.cam, mid="2", paused=False)
            await trio.sleep(0.05)
            await call.send(range(10, 13))
            await wait_until(lambda: again.stats().packets == 3)


async def test_a_paused_producer_starts_again_at_a_key_frame(media: Media, listener: Listener) -> None:
    call = Call(media, listener)
    with trio.fail_after(20):
        async with AsyncExitStack() as stack:
            await call.start(stack)
            await call.send(range(2))
            for peer in call.receivers:
                await wait_until(lambda peer=peer: len(picture(peer.rtp)) == 2)
            call.cam.pause()
            await trio.sleep(0.05)
            await call.send(range(2, 4))
            call.cam.resume()
            await trio.sleep(0.05)
            await call.send(range(9, 12))
            for peer in call.receivers:
                await wait_until(lambda peer=peer: picture(peer.rtp)[-1] == b"00011")
                assert picture(peer.rtp) == [b"00000", b"00001", b"00010", b"00011"]


async def test_a_taken_port_is_named(media: Media) -> None:
    taken = media.udp_ports[1]
    second = Media(MediaSettings(addresses=LOCAL, udp_port=taken - 1, engines=3))
    with pytest.raises(OSError, match="in use") as caught:
        await second.run()
    assert caught.value.filename in (str(taken - 1), str(taken))
    assert not second.running


class Some:
    def __init__(self, load: int) -> None:
        self.load = load


def test_rooms_go_where_there_is_least_to_do() -> None:
    engines = [Some(3), Some(1), Some(1)]
    assert home_of_room(engines) is engines[1]


def test_receivers_of_a_large_room_spread() -> None:
    home, idle = engines = [Some(50), Some(3)]
    assert engine_for("recv", home, engines, consumers=10, spread_above=10) is home
    assert engine_for("recv", home, engines, consumers=11, spread_above=10) is idle
    assert engine_for("send", home, engines, consumers=11, spread_above=10) is home
    assert engine_for("recv", idle, engines, consumers=11, spread_above=10) is idle
    assert engine_for("recv", home, [home, Some(50)], consumers=11, spread_above=10) is home
