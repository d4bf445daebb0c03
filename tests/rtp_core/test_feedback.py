"""RTCP through the step: loss repaired both ways, reports, arrival feedback, bounds on what is asked."""

from __future__ import annotations

import struct

import pytest

from rtp_core.srtp import Profile
from rtp_core.twcc import read_feedback
from tests.harness.rtp import nack, pli, receiver_report, sender_report
from tests.rtp_core.world import Client, World, opus, packets, vp8

NTP = (3_900_000_000 << 32) + (1 << 31)


@pytest.fixture
def world() -> World:
    return World()


def pair(world: World, *, video: bool = True) -> tuple[Client, Client, int, int]:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    producer = sender.produce("0", video=video, ssrc=0xB0 if video else 0xA0, rtx_ssrc=0xB1 if video else 0)
    consumer = receiver.consume(producer, ssrc=0xC0, rtx_ssrc=0xC1 if video else 0)
    return sender, receiver, producer, consumer


def stats(world: World, handle: int) -> dict[str, float]:
    found = world.core.stream_stats(handle)
    assert found is not None
    return found


# --- from receivers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", list(Profile))
def test_nack_is_answered_by_rtx(world: World, profile: Profile) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2, profile=profile)
    receiver.consume(sender.produce("0", video=True, ssrc=0xB0), ssrc=0xC0, rtx_ssrc=0xC1)
    for n in range(65_530, 65_550):
        sender.send_rtp(vp8(n, key=n == 65_530))
    wanted = receiver.rtp[7]
    receiver.send_rtcp(receiver_report(1) + nack(1, 0xC0, [wanted.sequence]))
    again = receiver.rtp[-1]
    assert (again.ssrc, again.payload_type, again.timestamp) == (0xC1, 97, wanted.timestamp)
    assert again.payload == struct.pack("!H", wanted.sequence) + wanted.payload
    assert again.marker == wanted.marker
    receiver.send_rtcp(nack(1, 0xC0, [wanted.sequence]))
    assert receiver.rtp[-1] is again  # within a round trip the answer is already on its way
    assert world.core.counters()["retransmissions"] == 1


def test_nack_for_what_was_never_sent_is_ignored(world: World) -> None:
    sender, receiver, _, consumer = pair(world)
    for n in range(5):
        sender.send_rtp(vp8(n, key=n == 0))
    first = receiver.rtp[0].sequence
    receiver.send_rtcp(nack(1, 0xC0, [(first + d) & 0xFFFF for d in range(-300, 0)]))
    receiver.send_rtcp(nack(1, 0xC0, [(first + d) & 0xFFFF for d in range(5, 300)]))
    receiver.send_rtcp(nack(1, 0xDEAD, [first]))
    receiver.send_rtcp(nack(1, 0xC1, [first]))
    assert len(receiver.rtp) == 5
    assert stats(world, consumer)["retransmitted"] == 0


def test_nack_flood_is_bounded(world: World) -> None:
    sender, receiver, _, _ = pair(world)
    for n in range(500):
        sender.send_rtp(vp8(n, key=n == 0))
    numbers = [p.sequence for p in receiver.rtp]
    receiver.send_rtcp(nack(1, 0xC0, numbers[:300]))
    assert len(receiver.rtp) == 500 + 256


def test_old_packets_are_not_sent_again(world: World) -> None:
    sender, receiver, _, _ = pair(world)
    sender.send_rtp(vp8(0, key=True))
    world.run(2.5)
    receiver.send_rtcp(nack(1, 0xC0, [receiver.rtp[0].sequence]))
    assert len(receiver.rtp) == 1


def test_sender_reports_are_translated(world: World) -> None:
    sender, receiver, _, _ = pair(world)
    sender.send_rtp(vp8(10, key=True))
    sender.send_rtcp(sender_report(0xB0, ntp=NTP, timestamp=10 * 3000 + 900, packets=1, octets=30, cname="x"))
    world.run(1.0)
    report = receiver.rtcp_of(200)[0]
    ssrc, ntp, timestamp, count, octets = struct.unpack_from("!IQIII", report, 4)
    assert ssrc == 0xC0
    elapsed = (ntp - NTP) / 2**32
    assert 0 <= elapsed < 1.01
    offset = (timestamp - receiver.rtp[0].timestamp) & 0xFFFFFFFF
    assert abs(offset - 900 - elapsed * 90000) < 2
    assert (count, octets) == (1, len(receiver.rtp[0].payload))
    description = receiver.rtcp_of(202)[0]
    assert struct.unpack_from("!I", description, 4)[0] == 0xC0
    assert b"someone" in description
    world.run(3)
    assert 3 <= len(receiver.rtcp_of(200)) <= 5


def test_round_trip_loss_and_jitter_from_receiver_reports(world: World) -> None:
    sender, receiver, _, consumer = pair(world)
    sender.send_rtp(vp8(10, key=True))
    sender.send_rtcp(sender_report(0xB0, ntp=NTP, timestamp=30000, packets=1, octets=30, cname="x"))
    world.step()
    report = receiver.rtcp_of(200)[-1]
    lsr = struct.unpack_from("!Q", report, 8)[0] >> 16 & 0xFFFFFFFF
    assert stats(world, consumer)["rtt_us"] == -1
    world.run(0.25)
    block = struct.pack("!IB3sIIII", 0xC0, 25, (17).to_bytes(3, "big"), 999, 900, lsr, int(0.2 * 65536))
    receiver.send_rtcp(struct.pack("!BBHI", 0x81, 201, 7, 1) + block)
    found = stats(world, consumer)
    assert 49_000 <= found["rtt_us"] <= 51_000
    assert found["lost"] == 17
    assert found["jitter_ms"] == pytest.approx(10)


def test_same_fir_twice_is_one_request(world: World) -> None:
    sender, receiver, _, consumer = pair(world)
    sender.send_rtp(vp8(0, key=True))
    world.run(2)

    def fir(number: int) -> bytes:
        return struct.pack("!BBHIIIB3x", 0x84, 206, 4, 1, 0, 0xC0, number)

    before = len(sender.rtcp_of(206, 1))
    receiver.send_rtcp(fir(3))
    receiver.send_rtcp(fir(3))
    assert stats(world, consumer)["plis"] == 1
    assert len(sender.rtcp_of(206, 1)) == before + 1


def test_feedback_on_others_streams_is_ignored(world: World) -> None:
    sender, _, _, _ = pair(world)
    stranger = Client(world, "c", port=3)
    sender.send_rtp(vp8(0, key=True))
    world.run(2)
    before = len(sender.rtcp_of(206, 1))
    stranger.send_rtcp(pli(1, 0xC0))
    stranger.send_rtcp(pli(1, 0xB0))
    stranger.send_rtcp(nack(1, 0xC0, list(range(100))))
    world.step()
    assert len(sender.rtcp_of(206, 1)) == before
    assert stranger.rtp == []


def test_receivers_reference_time_is_answered(world: World) -> None:
    _, receiver, _, _ = pair(world)
    receiver.send_rtcp(receiver_report(9) + struct.pack("!BBHIBBHQ", 0x80, 207, 4, 9, 4, 0, 2, NTP))
    world.run(1.1)
    report = receiver.rtcp_of(207)[0]
    ssrc, lrr, delay = struct.unpack_from("!III", report, 12)
    assert (ssrc, lrr) == (9, NTP >> 16 & 0xFFFFFFFF)
    assert 0 < delay <= 1.1 * 65536


# --- to senders --------------------------------------------------------------------------------------------


def test_losses_are_asked_for_and_repaired_by_rtx(world: World) -> None:
    sender, receiver, producer, _ = pair(world)
    for n in range(20):
        if n not in (7, 8):
            sender.send_rtp(vp8(n, key=n == 0))
    world.run(0.05)
    asked = sender.rtcp_of(205, 1)[0]
    media, first, following = struct.unpack_from("!IHH", asked, 8)
    assert (media, first, following) == (0xB0, 7, 1)
    for n in (7, 8):
        packet = vp8(n)
        packet.payload = struct.pack("!H", n) + packet.payload
        packet.payload_type, packet.ssrc, packet.sequence = 121, 0xB1, 400 + n
        sender.send_rtp(packet)
    assert sorted(p.payload[-5:] for p in receiver.rtp) == [b"%05d" % n for n in range(20)]
    base = receiver.rtp[0].sequence
    assert {(p.sequence - base) & 0xFFFF: p.payload[-5:] for p in receiver.rtp} == {
        n: b"%05d" % n for n in range(20)
    }
    count = len(sender.rtcp_of(205, 1))
    world.run(2)
    assert len(sender.rtcp_of(205, 1)) == count
    assert stats(world, producer)["retransmitted"] == 2


def test_requests_end_though_the_repair_never_comes(world: World) -> None:
    sender, _, _, _ = pair(world)
    for n in range(20):
        if n != 7:
            sender.send_rtp(vp8(n, key=n == 0))
    world.run(5)
    assert 2 <= len(sender.rtcp_of(205, 1)) <= 10


def test_audio_without_nack_is_not_asked_for(world: World) -> None:
    sender, receiver, _, _ = pair(world, video=False)
    for n in range(50):
        if n % 7:
            sender.send_rtp(opus(n))
    world.run(2)
    assert sender.rtcp_of(205, 1) == []
    assert len(receiver.rtp) == 42


def test_receiver_reports_each_second(world: World) -> None:
    sender, _, producer, _ = pair(world, video=False)
    for n in range(100):
        if n % 10 != 5:
            sender.send_rtp(opus(n))
        world.run(0.02)
    world.run(1)
    reports = sender.rtcp_of(201, 1)
    assert 2 <= len(reports) <= 4
    ssrc, loss, highest, jitter = struct.unpack_from("!IIII", reports[-1], 8)
    assert ssrc == 0xA0
    assert (loss & 0xFFFFFF, highest & 0xFFFF) == (10, 99)
    assert jitter < 100
    assert stats(world, producer)["lost"] == 10


def test_bitrate_is_measured(world: World) -> None:
    sender, _, producer, consumer = pair(world, video=False)
    for n in range(200):
        packet = opus(n)
        packet.payload = bytes(100)
        sender.send_rtp(packet)
        world.run(0.02)
    assert stats(world, consumer)["bitrate"] == pytest.approx(40_000, rel=0.05)
    assert stats(world, producer)["bitrate"] > stats(world, consumer)["bitrate"]


def test_arrivals_are_told_to_the_sender(world: World) -> None:
    sender, _, _, _ = pair(world)
    seen: set[int] = set()
    for n in range(300):
        if n % 11:
            sender.send_rtp(vp8(n, key=n == 0, twcc=(65_400 + n) & 0xFFFF))
        world.run(0.005)
    world.run(0.2)
    feedback = sender.rtcp_of(205, 15)
    assert 10 <= len(feedback) <= 40
    for one in feedback:
        assert struct.unpack_from("!I", one, 8)[0] == 0xB0
        parsed = read_feedback(one[12:])
        assert parsed is not None
        seen |= {status[0] for status in parsed[3] if status[1]}
    assert seen == {(65_400 + n) & 0xFFFF for n in range(300) if n % 11}
    world.run(0.5)
    assert len(sender.rtcp_of(205, 15)) == len(feedback)
    assert sender.rtcp_of(206, 15) == []


def test_remb_only_without_transport_cc(world: World) -> None:
    sender = Client(world, "a", port=1)
    sender.produce("0", video=True, ssrc=0xB0, twcc=False)
    for n in range(100):
        sender.send_rtp(vp8(n, key=n == 0))
        world.run(0.02)
    estimate = sender.rtcp_of(206, 15)[0]
    assert estimate[12:16] == b"REMB"
    count, exponent, mantissa = (
        estimate[16],
        estimate[17] >> 2,
        int.from_bytes(estimate[17:20], "big") & 0x3FFFF,
    )
    assert count == 1
    assert mantissa << exponent >= 1_900_000


def test_bye_when_a_consumer_closes(world: World) -> None:
    sender, receiver, _, consumer = pair(world, video=False)
    sender.send_rtp(opus(1))
    world.core.remove(consumer)
    world.step()
    assert [struct.unpack_from("!I", one, 4)[0] for one in receiver.rtcp_of(203)] == [0xC0]


def test_damaged_rtcp_is_counted_and_harmless(world: World) -> None:
    sender, receiver, _, _ = pair(world, video=False)
    for _ in range(300):
        junk = bytes([0x80 | world.random.randrange(32), world.random.choice([200, 201, 203, 205, 206, 207])])
        receiver.send_rtcp(junk + world.random.randbytes(world.random.randrange(6, 200)))
    receiver.send_rtcp(receiver_report(1) + b"\x80\xc9\xff\xff")
    sender.send_rtp(opus(1))
    assert len(receiver.rtp) == 1
    assert world.core.counters()["bad_rtcp"] > 0


# --- loss and reordering in both directions ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_video_comes_through_a_bad_network_whole(seed: int) -> None:
    """5 % loss and some reordering before and after us: everything is repaired, in order, nothing twice."""
    world = World(seed)
    sender, receiver, _, _ = pair(world)
    sent: dict[int, object] = {}
    rtx_sequence = 0
    waiting: list[tuple[int, int]] = []
    answered_up = answered_down = 0
    got: dict[int, bytes] = {}
    for n in range(600):
        sent[n] = packet = vp8(n, key=n == 0)
        if n == 0 or world.random.random() > 0.05:
            waiting.append((world.now + world.random.randrange(12_000), n))
        world.run(0.005)
        for _, number in sorted(item for item in waiting if item[0] <= world.now):
            sender.send_rtp(vp8(number, key=number == 0))
        waiting = [item for item in waiting if item[0] > world.now]
        for one in packets(sender.rtcp[answered_up:]):
            if one[1] == 205 and one[0] & 31 == 1:
                for first, mask in struct.iter_unpack("!HH", one[12:]):
                    for number in [first] + [first + 1 + i for i in range(16) if mask >> i & 1]:
                        packet = vp8(number, key=number == 0)
                        packet.payload = struct.pack("!H", number) + packet.payload
                        packet.payload_type, packet.ssrc, packet.sequence = 121, 0xB1, rtx_sequence
                        rtx_sequence += 1
                        sender.send_rtp(packet)
        answered_up = len(sender.rtcp)
        fresh, answered_down = receiver.rtp[answered_down:], len(receiver.rtp)
        for packet in fresh:
            if world.random.random() < 0.05 and got:
                continue
            rtx = packet.ssrc == 0xC1
            number = int.from_bytes(packet.payload[:2], "big") if rtx else packet.sequence
            payload = packet.payload[2:] if rtx else packet.payload
            assert got.setdefault(number, payload) == payload
        newest = max(got, default=0)
        oldest = min(got, default=0)
        missing = [number for number in range(oldest, newest - 3) if number not in got]
        if missing:
            receiver.send_rtcp(nack(1, 0xC0, missing[:50]))
    payloads = [got[number][-5:] for number in sorted(got)]
    assert payloads[:560] == [b"%05d" % n for n in range(560)]


def test_who_comes_just_after_a_key_frame_gets_the_next_one_soon(world: World) -> None:
    sender, first = Client(world, "a", port=1), Client(world, "b", port=2)
    producer = sender.produce("cam", video=True, ssrc=0xB0)
    first.consume(producer, ssrc=0xC0)
    world.run(1.0)
    for n in range(1, 20):
        sender.send_rtp(vp8(n, key=not sender.rtcp_of(206, 1) or n == 1))
        world.run(0.033)
    sender.rtcp.clear()
    first.send_rtcp(pli(1, 0xC0))
    assert len(sender.rtcp_of(206, 1)) == 1
    sender.send_rtp(vp8(20, key=True))
    asked = world.now
    newcomer = Client(world, "c", port=3)
    newcomer.consume(producer, ssrc=0xD0)
    sender.rtcp.clear()
    while not sender.rtcp_of(206, 1):
        world.run(0.005)
    assert 90_000 <= world.now - asked <= 110_000
    sender.send_rtp(vp8(21, key=True))
    sender.rtcp.clear()
    first.send_rtcp(pli(1, 0xC0))  # who has a picture waits as before
    asked = world.now
    while not sender.rtcp_of(206, 1):
        world.run(0.005)
    assert world.now - asked > 450_000
