"""Rooms over the real media core: three clients on loopback, from standby to hearing each other."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from server.db.changes import CallMetricsUpdate
from server.media.bridge import Media
from server.media.settings import MediaSettings
from server.rooms.directory import Directory
from server.rtc.capabilities import router_capabilities
from server.rtc.certificate import Certificate
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.harness.rtc_peer import RtcPeer
from tests.harness.rtp import RtpPacket
from tests.harness.sdp_client import MID_ID, OPUS, recv_answer, remote_side, send_offer
from tests.rooms.conftest import Client, House


class Caller:
    """A client with both of its connections up."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        self.client = client
        self._nursery = nursery
        self._certificate = Certificate.generate(time.time())
        self._keys = {"send": self._fresh_keys(), "recv": self._fresh_keys()}
        self.send: RtcPeer
        self.recv: RtcPeer
        self.ssrc = secrets.randbelow(2**31) + 1
        self.voice = b""  # what its packets carry
        self._answered = 0

    @staticmethod
    def _fresh_keys() -> tuple[str, str]:
        return secrets.token_hex(4), secrets.token_hex(16)

    async def enter(self) -> None:
        await self.client.join()
        self.voice = self.client.pid.encode()
        ufrag, pwd = self._keys["send"]
        fingerprint = self._certificate.fingerprint("sha-256")
        offer = send_offer(ufrag=ufrag, pwd=pwd, fingerprint=fingerprint)
        answer = await self.client.ask("sfu.publish", m.SfuPublish(offer))
        self.send = await self._connect("send", answer.sdp)
        first = self.client.last("sfu.offer")
        await self.answer(first)
        self.recv = await self._connect("recv", first.sdp)
        for peer in (self.send, self.recv):
            await peer.wait_connected()

    async def answer(self, offer: m.SfuOffer) -> None:
        ufrag, pwd = self._keys["recv"]
        sdp = recv_answer(
            offer.sdp, ufrag=ufrag, pwd=pwd, fingerprint=self._certificate.fingerprint("sha-256")
        )
        await self.client.ask("sfu.answer", m.SfuAnswer(offer.offer_id, sdp))
        self._answered = offer.offer_id

    async def answer_until(self, consumers: int) -> m.SfuOffer:
        """Answer offers until one has so many consumers."""
        with trio.fail_after(10):
            while True:
                offer = self.client.last("sfu.offer")
                if offer.offer_id != self._answered:
                    await self.answer(offer)
                elif len(offer.consumers) == consumers:
                    return offer
                else:
                    await self.client.wire.arrived.wait()

    async def _connect(self, direction: str, sdp: str) -> RtcPeer:
        ice, fingerprint, role = remote_side(sdp)
        ufrag, pwd = self._keys[direction]
        peer = RtcPeer(ice, fingerprint, dtls_role=role, certificate=self._certificate, ufrag=ufrag, pwd=pwd)
        await self._nursery.start(_hold, peer)
        return peer

    async def talk(self) -> None:
        """Opus packets, found by their MID, until cancelled."""
        for n in range(10_000):
            await self.send.send_rtp(
                RtpPacket(OPUS, n, 960 * n, self.ssrc, self.voice, extensions={MID_ID: b"0"})
            )
            await trio.sleep(0.02)

    async def hears(self, other: Caller) -> RtpPacket:
        with trio.fail_after(10):
            return await self.recv.wait_rtp(lambda packet: packet.payload == other.voice)


async def _hold(peer: RtcPeer, *, task_status: trio.TaskStatus[None]) -> None:
    async with peer:
        task_status.started()
        await trio.sleep_forever()


@asynccontextmanager
async def open_house(settings: CallSettings, engines: int = 1) -> AsyncIterator[tuple[House, trio.Nursery]]:
    media = Media(
        MediaSettings(addresses=("127.0.0.1",), announce=("127.0.0.1",), engines=engines, spread_above=0)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(media.run)
        house = House(settings)
        house.directory = Directory(settings, media, house.recorder, time.time)
        await nursery.start(house.directory.run)
        async with trio.open_nursery() as callers:
            yield house, callers
            callers.cancel_scope.cancel()
        await house.directory.shutdown()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("engines", [1, 2])
async def test_three_hear_each_other_through_the_sfu(engines: int) -> None:
    settings = CallSettings(linger_s=0.05, back_to_p2p_delay_s=0.05)
    async with open_house(settings, engines) as (house, nursery):
        ann, bob, cid = callers = [Caller(house.client(name), nursery) for name in ("ann", "bob", "cid")]
        for one in (ann, bob):
            await one.enter()
        opus = router_capabilities().codecs[0].payload_type
        # Standby is up before it is needed, and both directions are told.
        for one in (ann, bob):
            await one.client.until("sfu.transport", 2)
        await ann.client.swap(bob.client)
        await bob.client.swap(ann.client)
        for one in (ann, bob):
            nursery.start_soon(one.talk)
        await cid.enter()
        nursery.start_soon(cid.talk)
        for one in callers:
            await one.answer_until(4)
        for one in callers:
            for other in callers:
                if one is not other:
                    packet = await one.hears(other)
                    assert packet.payload_type == opus
                    await one.client.swap(other.client)
        commit = await ann.client.until("epoch.commit", 2)
        assert (commit.mode, commit.stragglers) == ("sfu", [])

        # And with two, the SFU goes to standby: nothing is heard there any more, the connections stay.
        await cid.client.ask("call.leave")
        await ann.client.until("epoch.prepare", 3)
        await ann.client.swap(bob.client)
        await bob.client.swap(ann.client)
        await ann.client.until("epoch.release", 2)
        assert (await ann.answer_until(0)).consumers == []
        heard = len(ann.recv.rtp)
        await trio.sleep(0.1)
        assert len(ann.recv.rtp) <= heard + 1  # one may have been under way
        assert ann.recv.errors == {}

        # What the core counted of all that, though every producer and consumer is closed, is kept.
        await ann.client.ask("call.end")
        [metrics] = house.recorder.of(CallMetricsUpdate)
        assert metrics.media is not None
        received, sent = metrics.media["received"], metrics.media["sent"]
        assert 2 * received["packets"] >= sent["packets"] > 0  # the others were not always there
        assert received["bytes"] > received["packets"]
        assert received["packetLoss"] == 0.0


async def test_one_who_joins_on_the_sfu_hears_at_once() -> None:
    async with open_house(CallSettings(policy="sfu")) as (house, nursery):
        ann, bob = (Caller(house.client(name), nursery) for name in ("ann", "bob"))
        await ann.enter()
        nursery.start_soon(ann.talk)
        await bob.enter()
        await bob.hears(ann)
        levels = await bob.client.until("sfu.transport", 2)
        assert levels.protocol == "udp"
