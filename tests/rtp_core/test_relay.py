"""A consumer on another engine than its producer gets what it would get on the same one."""

from __future__ import annotations

import pytest

from rtp_core.mesh import Mesh
from rtp_core.pipeline import Pipeline
from tests.harness.rtp import RtpPacket, nack, pli, sender_report
from tests.rtp_core.engines import Engines
from tests.rtp_core.world import Client, opus, vp8

PLI = 206, 1
NACK = 205, 1


class Call:
    """A sender on engine 0 with camera and microphone; `near` consumes both there, `far` on engine 1."""

    def __init__(self, *, slots: int = 1024, key: bool = True) -> None:
        self.engines = Engines(slots=slots)
        home, away = self.engines.worlds
        self.sender = Client(home, "a", port=1)
        self.near, self.far = Client(home, "b", port=2), Client(away, "c", port=3)
        self.cam = self.sender.produce("cam", video=True, ssrc=0xB0, rtx_ssrc=0xB1)
        self.mic = self.sender.produce("mic", video=False, ssrc=0xA0)
        self.pipe = self.engines.pipe(1)
        self.cam_mirror, self.cam_relay = self.engines.mirror(self.cam, video=True, pipe=self.pipe)
        self.mic_mirror, self.mic_relay = self.engines.mirror(self.mic, video=False, pipe=self.pipe)
        self.near.consume(self.cam, ssrc=0xC0, rtx_ssrc=0xC1)
        self.near.consume(self.mic, ssrc=0xC2)
        self.see = self.far.consume(self.cam_mirror, ssrc=0xD0, rtx_ssrc=0xD1)
        self.hear = self.far.consume(self.mic_mirror, ssrc=0xD2)
        self.engines.step()
        if key:
            self.send(vp8(0, key=True))

    def send(self, *packets: RtpPacket) -> None:
        for packet in packets:
            self.sender.send_rtp(packet)
        self.engines.step()

    def seen(self) -> list[bytes]:
        return [packet.payload for packet in self.far.rtp if packet.ssrc == 0xD0]

    def heard(self) -> list[bytes]:
        return [packet.payload for packet in self.far.rtp if packet.ssrc == 0xD2]

    def numbers(self) -> list[int]:
        """Of the video as received, the first of them 0."""
        found = [packet.sequence for packet in self.far.rtp if packet.ssrc == 0xD0]
        return [(number - found[0]) & 0xFFFF for number in found]


def test_sound_and_picture_cross() -> None:
    call = Call()
    call.send(*(opus(n, level=30) for n in range(5)), *(vp8(n) for n in range(1, 6)))
    assert call.heard() == [b"opus%05d" % n for n in range(5)]
    assert [body[-5:] for body in call.seen()] == [b"%05d" % n for n in range(6)]
    assert call.numbers() == [0, 1, 2, 3, 4, 5]
    near, far = ([p for p in one.rtp if p.payload_type == 96] for one in (call.near, call.far))
    assert [p.payload for p in near] == [p.payload for p in far]
    assert [p.timestamp - near[0].timestamp for p in near] == [p.timestamp - far[0].timestamp for p in far]
    sound = [p for p in call.far.rtp if p.ssrc == 0xD2]
    assert {p.extensions[2] for p in sound} == {bytes([0x80 | 30])}  # under the router's id
    assert call.far.errors == 0


def test_one_copy_per_engine_however_many_listen() -> None:
    call = Call()
    others = [Client(call.engines.worlds[1], f"o{n}", port=10 + n) for n in range(5)]
    for n, other in enumerate(others):
        other.consume(call.mic_mirror, ssrc=0x100 + n)
    before = call.engines.count(0, "relayed_out")
    call.send(*(opus(n) for n in range(4)))
    assert call.engines.count(0, "relayed_out") - before == 4
    assert [len(other.rtp) for other in others] == [4] * 5


def test_three_engines_have_a_mirror_each() -> None:
    engines = Engines(3)
    sender = Client(engines.worlds[1], "a", port=1)
    mic = sender.produce("mic", video=False, ssrc=0xA0)
    far = []
    for away in (0, 2):
        far.append(Client(engines.worlds[away], f"r{away}", port=5 + away))
        mirror, _ = engines.mirror(mic, video=False, home=1, away=away)
        far[-1].consume(mirror, ssrc=0xD0)
    sender.send_rtp(opus(1))
    engines.step()
    assert [len(one.rtp) for one in far] == [1, 1]


def test_losses_are_repaired_from_the_mirrors_cache() -> None:
    call = Call()
    call.send(*(vp8(n) for n in range(1, 4)))
    lost = [p for p in call.far.rtp if p.ssrc == 0xD0][2]
    asked = len(call.sender.rtcp_of(*NACK))
    call.engines.run(0.1)
    call.far.send_rtcp(nack(1, 0xD0, [lost.sequence]))
    again = [p for p in call.far.rtp if p.ssrc == 0xD1]
    assert [(p.payload[:2], p.payload[2:]) for p in again] == [
        (lost.sequence.to_bytes(2, "big"), lost.payload)
    ]
    assert len(call.sender.rtcp_of(*NACK)) == asked


def test_losses_on_the_way_in_are_repaired_once_for_all() -> None:
    call = Call()
    call.send(vp8(1), vp8(3))
    call.engines.run(0.1)
    assert len(call.sender.rtcp_of(*NACK)) >= 1
    call.send(RtpPacket(121, 1, 2 * 3000, 0xB1, b"\0\2" + vp8(2).payload))
    assert sorted(body[-5:] for body in call.seen()) == [b"%05d" % n for n in range(4)]
    assert call.numbers() == [0, 1, 3, 2]


def test_key_frames_are_asked_for_across_and_rationed_at_home() -> None:
    call = Call(key=False)
    assert len(call.sender.rtcp_of(*PLI)) >= 1  # at the first consumer
    call.send(vp8(0, key=True))
    call.engines.run(1.0)
    before = len(call.sender.rtcp_of(*PLI))
    for _ in range(30):
        call.far.send_rtcp(pli(1, 0xD0))
        call.engines.run(0.01)
    assert len(call.sender.rtcp_of(*PLI)) - before == 1
    call.send(vp8(1, key=True))
    call.engines.run(1.0)
    assert len(call.sender.rtcp_of(*PLI)) - before == 1


def test_a_request_that_is_not_answered_is_repeated() -> None:
    call = Call()
    call.engines.run(1.0)
    before = len(call.sender.rtcp_of(*PLI))
    call.far.send_rtcp(pli(1, 0xD0))
    call.engines.run(1.2)
    assert len(call.sender.rtcp_of(*PLI)) - before >= 2


def test_video_begins_at_a_key_frame() -> None:
    call = Call()
    call.engines.worlds[1].core.pause(call.see)
    call.engines.step()
    call.send(vp8(1), vp8(2))
    call.engines.worlds[1].core.resume(call.see)
    call.engines.step()
    call.send(vp8(3), vp8(4, key=True), vp8(5))
    assert [body[-5:] for body in call.seen()] == [b"00000", b"00004", b"00005"]
    assert call.numbers() == [0, 1, 2]


def test_sender_reports_keep_sound_and_picture_aligned() -> None:
    call = Call()
    call.send(opus(0))
    call.sender.send_rtcp(sender_report(0xA0, ntp=5 << 32, timestamp=0, packets=1, octets=1, cname="x"))
    call.send(opus(1))
    call.engines.run(0.1)
    reports = [one for one in call.far.rtcp_of(200) if one[4:8] == (0xD2).to_bytes(4, "big")]
    assert reports
    ntp = int.from_bytes(reports[0][8:16], "big") / 2**32
    timestamp = int.from_bytes(reports[0][16:20], "big")
    first = next(p for p in call.far.rtp if p.ssrc == 0xD2)
    assert ((timestamp - first.timestamp) & 0xFFFFFFFF) / 48000 == pytest.approx(ntp - 5, abs=0.001)


def test_the_senders_new_source_goes_on_without_a_break() -> None:
    call = Call()
    call.send(vp8(1), vp8(2))
    call.engines.run(0.03)
    call.send(*(vp8(n, key=n == 900, ssrc=0xB8, mid="cam") for n in range(900, 903)))
    assert call.numbers() == [0, 1, 2, 3, 4, 5]
    near, far = ([p for p in one.rtp if p.payload_type == 96] for one in (call.near, call.far))
    assert [p.timestamp - near[0].timestamp for p in near] == [p.timestamp - far[0].timestamp for p in far]


def test_a_jump_of_the_senders_numbers_closes_up() -> None:
    call = Call()
    call.send(vp8(1), vp8(30_000), vp8(30_001), vp8(30_002, key=True), vp8(30_003))
    assert [p.payload for p in call.near.rtp] == [p.payload for p in call.far.rtp]
    assert call.numbers() == list(range(len(call.seen())))


def test_padding_only_packets_leave_no_gap() -> None:
    call = Call()
    call.send(vp8(1), RtpPacket(120, 2, 3000, 0xB0, b""), vp8(3))
    assert call.numbers() == [0, 1, 2]


def test_a_paused_producer_sends_nothing_across() -> None:
    call = Call()
    for world, handle in zip(call.engines.worlds, (call.cam, call.cam_mirror), strict=True):
        world.core.pause(handle)
    call.engines.step()
    before = call.engines.count(0, "relayed_out")
    call.send(vp8(1))
    assert call.engines.count(0, "relayed_out") == before
    for world, handle in zip(call.engines.worlds, (call.cam, call.cam_mirror), strict=True):
        world.core.resume(handle)
    call.engines.step()
    call.send(vp8(2), vp8(3, key=True))
    assert [body[-5:] for body in call.seen()] == [b"00000", b"00003"]


def test_a_paused_relay_sends_nothing_across() -> None:
    """Nobody there wants it; who does later begins at a key frame, without a gap in its numbers."""
    call = Call()
    call.engines.worlds[0].core.pause(call.cam_relay)
    call.engines.step()
    call.send(vp8(1), vp8(2))
    assert len(call.seen()) == 1
    call.engines.worlds[0].core.resume(call.cam_relay)
    call.engines.step()
    call.send(vp8(3), vp8(4, key=True))
    assert [body[-5:] for body in call.seen()] == [b"00000", b"00004"]
    assert call.numbers() == [0, 1]


def test_where_the_other_engine_lags_video_goes_before_audio() -> None:
    call = Call(slots=64)
    call.engines.run(1.0)
    asked = len(call.sender.rtcp_of(*PLI))
    for n in range(1, 101):
        call.sender.send_rtp(vp8(n))
    for n in range(20):
        call.sender.send_rtp(opus(n))
    assert call.engines.count(0, "relay_video_dropped") == 100 - 48
    assert call.engines.count(0, "relay_audio_dropped") == 20 - (60 - 48)
    call.engines.step()
    assert len(call.heard()) == 12
    assert [body[-5:] for body in call.seen()] == [b"%05d" % n for n in range(49)]
    call.send(vp8(101))
    call.engines.run(0.5)
    assert len(call.seen()) == 49  # no picture without what was dropped
    assert len(call.sender.rtcp_of(*PLI)) > asked
    call.send(vp8(102, key=True), vp8(103))
    assert [body[-5:] for body in call.seen()[49:]] == [b"00102", b"00103"]
    assert call.numbers() == list(range(51))


def test_one_rooms_excess_costs_no_other_room() -> None:
    call = Call(slots=64)
    home, away = call.engines.worlds
    rooms = home.router, away.router
    home.router, away.router = (world.core.add_router({}) for world in (home, away))
    other, listener = Client(home, "d", port=11), Client(away, "e", port=12)
    cam = other.produce("cam", video=True, ssrc=0xB9)
    mirror, _ = call.engines.mirror(cam, video=True)
    listener.consume(mirror, ssrc=0xE0)
    home.router, away.router = rooms
    other.send_rtp(vp8(0, key=True, ssrc=0xB9))
    call.engines.step()
    for n in range(1, 13):
        other.send_rtp(vp8(n, ssrc=0xB9))
        for k in range(20):
            call.sender.send_rtp(vp8(20 * n + k))
    call.engines.step()
    assert call.engines.count(0, "relay_video_dropped") > 100
    assert [packet.payload[-5:] for packet in listener.rtp] == [b"%05d" % n for n in range(13)]
    assert 16 <= len(call.seen()) <= 1 + 64


def test_requests_find_room_where_media_does_not() -> None:
    call = Call(slots=16)
    call.engines.run(1.0)
    asked = len(call.sender.rtcp_of(*PLI))
    far = Client(call.engines.worlds[1], "d", port=9)
    mic = far.produce("mic", video=False, ssrc=0xA9)
    mirror, _ = call.engines.mirror(mic, video=False, home=1, away=0)
    call.near.consume(mirror, ssrc=0xC9)
    for n in range(50):
        far.send_rtp(opus(n, ssrc=0xA9))
    assert call.engines.count(1, "relay_audio_dropped") > 0
    call.far.send_rtcp(pli(1, 0xD0))
    assert call.engines.count(1, "relay_requests_dropped") == 0
    call.engines.step()
    assert len(call.sender.rtcp_of(*PLI)) == asked + 1


def test_consumers_that_come_late_have_the_senders_clock() -> None:
    call = Call()
    call.sender.send_rtcp(sender_report(0xA0, ntp=5 << 32, timestamp=0, packets=1, octets=1, cname="x"))
    late = Client(call.engines.worlds[1], "late", port=20)
    mirror, _ = call.engines.mirror(call.mic, video=False)
    late.consume(mirror, ssrc=0xE0)
    call.send(opus(1))
    call.send(opus(2))
    call.engines.run(0.05)
    assert late.rtcp_of(200)


def test_levels_and_the_speaker_are_the_senders_engines_matter() -> None:
    call = Call()
    for n in range(100):
        call.send(opus(n, level=5))
        call.engines.run(0.02, tick_us=10_000)
    home, away = call.engines.worlds
    assert ("speaker", home.router, call.mic) in home.events
    assert away.of("levels") == away.of("speaker") == []


def test_limits_are_errors_of_the_caller() -> None:
    with pytest.raises(ValueError, match="pipelines"):
        Mesh([])
    with pytest.raises(ValueError, match="slots"):
        Mesh([Pipeline(scale=1)], slots=8)
    core = Pipeline(scale=1)
    with pytest.raises(ValueError, match="no such other engine"):
        core.add_relay(1, 0, 1)
    Mesh([core])
    with pytest.raises(RuntimeError, match="mesh already"):
        Mesh([core, Pipeline(scale=1)])
    with pytest.raises(ValueError, match="no such other engine"):
        core.add_relay(1, 0, 1)


def test_pieces_of_a_frame_are_evened_out_on_either_engine() -> None:
    call = Call()
    frame = [vp8(n, frame=1) for n in (1, 2)]
    frame[1].payload += b"!"
    for one in (call.near, call.far):
        one.raw.clear()
    home, away = call.engines.worlds
    sealed = [(call.sender.place, 0, call.sender.out.protect(packet.to_bytes())) for packet in frame]
    home.core.receive_batch(home.now, sealed)
    home.deliver()
    away.core.receive_relayed(away.now)
    away.deliver()
    for one in (call.near, call.far):
        assert [data[0] & 0x20 for data in one.raw[-2:]] == [0x20, 0]
        assert len(one.raw[-1]) == len(one.raw[-2])
        assert [p.payload for p in one.rtp[-2:]] == [p.payload for p in frame]
        assert one.errors == 0
