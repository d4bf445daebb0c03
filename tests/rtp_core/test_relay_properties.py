"""Mirrors under whatever comes: far is like near, and objects may go in any order on either side."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from tests.harness.rtp import nack, pli, sender_report
from tests.rtp_core.engines import Engines
from tests.rtp_core.world import Client, opus, vp8

Stream = list[tuple[int, int, bytes, bool]]


def streams(client: Client, video: int, sound: int) -> tuple[Stream, Stream]:
    """Numbers and timestamps from the first packet on, which begin at random."""
    out = []
    for ssrc in (video, sound):
        found = [p for p in client.rtp if p.ssrc == ssrc]
        out.append(
            [
                (
                    (p.sequence - found[0].sequence) & 0xFFFF,
                    (p.timestamp - found[0].timestamp) & 0xFFFFFFFF,
                    p.payload,
                    p.marker,
                )
                for p in found
            ]
        )
    return out[0], out[1]


def traffic(seed: int, first: int, sender: Client) -> list[bytes | str]:
    """Loss, repetition, lateness, padding, jumps of the numbering, new sources, pauses, and sound."""
    rng = random.Random(seed)
    number, ssrc, late = first, 0xB0, list[bytes]()
    out: list[bytes | str] = []
    for n in range(250):
        event = rng.random()
        if event < 0.02:
            number += 5_000
        elif event < 0.04:
            ssrc += 1
        elif event < 0.08:
            number += 1
        elif event < 0.1:
            out.append(rng.choice(["pause", "resume", "pause far", "resume far", "report"]))
        number += 1
        packet = vp8(number & 0xFFFF, key=n < 3 or event > 0.85, ssrc=ssrc, mid="cam")
        packet.timestamp = n * 3000
        if 0.8 < event < 0.83:
            packet.payload = b""
        sealed = sender.out.protect(packet.to_bytes())
        if event > 0.95:
            late.append(sealed)
        else:
            out.append(sealed)
        if event > 0.9 and late:
            out.append(late.pop(0))
        if 0.3 < event < 0.35:
            out.append(sealed)
        if rng.random() < 0.3:
            out.append(sender.out.protect(opus(n, level=30).to_bytes()))
    return out


@pytest.mark.parametrize("first", [0, 100, 32_700, 65_400])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), batch=st.sampled_from([1, 3, 20]))
def test_far_is_like_near(first: int, seed: int, batch: int) -> None:
    engines = Engines()
    home, away = engines.worlds
    sender, near, far = Client(home, "a", port=1), Client(home, "b", port=2), Client(away, "c", port=3)
    cam, mic = sender.produce("cam", video=True), sender.produce("mic", video=False, ssrc=0xA0)
    cam_mirror, _ = engines.mirror(cam, video=True)
    mic_mirror, _ = engines.mirror(mic, video=False)
    handles = [near.consume(cam, ssrc=0xC0, rtx_ssrc=0xC1), far.consume(cam_mirror, ssrc=0xD0, rtx_ssrc=0xD1)]
    near.consume(mic, ssrc=0xC2)
    far.consume(mic_mirror, ssrc=0xD2)
    engines.step()
    for count, item in enumerate(traffic(seed, first, sender)):
        if isinstance(item, bytes):
            sender.send(item)
            if count % batch:
                continue
        elif item == "report":
            sender.send_rtcp(
                sender_report(0xA0, ntp=count << 32, timestamp=0, packets=1, octets=1, cname="x")
            )
        else:
            engines.step()  # commands find both engines at the same packet
            targets = (cam, cam_mirror) if item in ("pause", "resume") else handles
            for world, handle in zip(engines.worlds, targets, strict=True):
                getattr(world.core, item.split()[0])(handle)
        engines.step()
    engines.step()
    for world, *both in zip(engines.worlds, (cam, cam_mirror), handles, strict=True):
        for handle in both:
            world.core.resume(handle)
    engines.step()
    for n in range(5):
        sender.send_rtp(vp8(n, key=n == 0, ssrc=0xFFF, mid="cam"))
        engines.step()
    assert streams(far, 0xD0, 0xD2) == streams(near, 0xC0, 0xC2)
    assert near.errors == far.errors == 0
    assert engines.count(0, "relay_video_dropped") == 0
    for client, ssrc in ((near, 0xC0), (far, 0xD0)):
        for packet in [p for p in client.rtp if p.ssrc == ssrc][-20:]:
            client.send_rtcp(nack(1, ssrc, [packet.sequence]))
    repaired = [[p.payload[2:] for p in one.rtp if p.ssrc == rtx] for one, rtx in ((near, 0xC1), (far, 0xD1))]
    assert repaired[0] == repaired[1]
    assert len(repaired[0]) >= 5


class Lives(RuleBasedStateMachine):
    """Two engines that step when they like; what is made on either may go at any moment."""

    producers = Bundle("producers")  # (engine, handle, sender, SSRC, video)
    mirrors = Bundle("mirrors")  # (engine, handle)
    consumers = Bundle("consumers")  # (engine, handle, receiver, SSRC)

    @initialize(slots=st.sampled_from([16, 64]))
    def start(self, slots: int) -> None:
        self.engines = Engines(slots=slots)
        self.count = 0
        self.relays: list[tuple[int, int]] = []
        self.clients: list[Client] = []
        self.sent: dict[int, int] = {}  # SSRC -> the last number

    def next(self) -> int:
        self.count += 1
        return self.count

    def client(self, engine: int) -> Client:
        number = self.next()
        client = Client(self.engines.worlds[engine], f"c{number}", port=number)
        self.clients.append(client)
        return client

    @rule(target=producers, engine=st.integers(0, 1), video=st.booleans())
    def produce(self, engine: int, video: bool) -> tuple[int, int, Client, int, bool]:
        sender, ssrc = self.client(engine), 0x1000 + self.next()
        return engine, sender.produce("0", video=video, ssrc=ssrc), sender, ssrc, video

    @rule(producer=producers, target=mirrors)
    def mirror(self, producer: tuple[int, int, Client, int, bool]) -> tuple[int, int]:
        home, handle, _, _, video = producer
        mirror, relay = self.engines.mirror(handle, video=video, home=home, away=1 - home)
        self.relays.append((home, relay))
        return 1 - home, mirror

    @rule(source=mirrors, target=consumers)
    def consume_mirror(self, source: tuple[int, int]) -> tuple[int, int, Client, int]:
        return self.consume(*source)

    @rule(source=producers, target=consumers)
    def consume_producer(self, source: tuple[int, int, Client, int, bool]) -> tuple[int, int, Client, int]:
        return self.consume(*source[:2])

    def consume(self, engine: int, handle: int) -> tuple[int, int, Client, int]:
        receiver, ssrc = self.client(engine), 0x9000 + 2 * self.next()
        return engine, receiver.consume(handle, ssrc=ssrc, rtx_ssrc=ssrc + 1), receiver, ssrc

    @rule(producer=producers, count=st.integers(1, 40), gap=st.sampled_from([0, 1, 4_000]))
    def send(self, producer: tuple[int, int, Client, int, bool], count: int, gap: int) -> None:
        _, _, sender, ssrc, video = producer
        self.sent[ssrc] = self.sent.get(ssrc, 65_500) + gap
        for n in range(count):
            self.sent[ssrc] += 1
            number = self.sent[ssrc] & 0xFFFF
            sender.send_rtp(vp8(number, key=n % 7 == 0, ssrc=ssrc) if video else opus(number, ssrc=ssrc))

    @rule(consumer=consumers)
    def ask(self, consumer: tuple[int, int, Client, int]) -> None:
        _, _, receiver, ssrc = consumer
        receiver.send_rtcp(pli(1, ssrc))
        if receiver.rtp:
            receiver.send_rtcp(nack(1, ssrc, [receiver.rtp[-1].sequence]))

    @rule(engine=st.integers(0, 1), milliseconds=st.sampled_from([0, 1, 100, 1000]))
    def step_one(self, engine: int, milliseconds: int) -> None:
        for world in self.engines.worlds:
            world.now += milliseconds * 1000
        self.engines.worlds[engine].step()

    @rule(what=st.one_of(mirrors, consumers), pause=st.booleans())
    def pause(self, what: tuple[int, int], pause: bool) -> None:
        core = self.engines.worlds[what[0]].core
        (core.pause if pause else core.resume)(what[1])

    @rule(what=st.one_of(consumes(mirrors), consumes(consumers), consumes(producers)))
    def remove(self, what: tuple[int, int]) -> None:
        self.engines.worlds[what[0]].core.remove(what[1])

    @rule(number=st.integers(0, 20), remove=st.booleans())
    def stop_relaying(self, number: int, remove: bool) -> None:
        if number < len(self.relays):
            engine, relay = self.relays[number]
            core = self.engines.worlds[engine].core
            (core.remove if remove else core.pause)(relay)

    @rule(what=producers)
    def remove_senders_transport(self, what: tuple[int, int, Client, int, bool]) -> None:
        self.engines.worlds[what[0]].core.remove(what[2].handle)

    @rule(engine=st.integers(0, 1))
    def remove_router(self, engine: int) -> None:
        """Rare and final: what is added afterwards is declined."""
        if self.count > 12:
            world = self.engines.worlds[engine]
            world.core.remove(world.router)

    def teardown(self) -> None:
        if not hasattr(self, "engines"):
            return
        for world in self.engines.worlds:
            world.core.remove(world.router)
        self.engines.run(0.02)
        for engine in range(2):
            for name in ("routers", "transports", "producers", "consumers", "relays"):
                assert self.engines.count(engine, name) == 0, name
        assert sum(client.errors for client in self.clients) == 0
        for client in self.clients:
            for ssrc in {packet.ssrc for packet in client.rtp}:
                numbers = [packet.sequence for packet in client.rtp if packet.ssrc == ssrc]
                assert len(numbers) == len(set(numbers)), "one number twice"


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
