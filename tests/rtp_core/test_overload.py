"""Who gives way: a table of cases, and what holds whatever comes, for the rule and for rooms under it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtp_core.overload import Shares
from tests.harness.rtp import RtpPacket, nack
from tests.rtp_core.world import Client, World, opus, vp8

WINDOW = 50_000


def offer(shares: Shares, now: int, rooms: dict[int, int], rank: str = "video") -> dict[int, int]:
    """Each room's packets in one window, evenly over its time; what got through."""
    shares.turn(now)
    out = dict.fromkeys(rooms, 0)
    most = max(rooms.values())
    for n in range(most):
        for room, wanted in rooms.items():
            if n * wanted // most != (n + 1) * wanted // most:
                out[room] += shares.admit(room, now + n * WINDOW // most, rank) is not None
    return out


def test_without_pressure_all_goes_through() -> None:
    shares = Shares()
    for n in range(1, 30):
        assert offer(shares, n * WINDOW, {1: 5000, 2: 3}) == {1: 5000, 2: 3}
    assert shares.ceiling is None


def test_the_largest_gives_way_and_nobody_else() -> None:
    shares = Shares()
    for n in range(1, 7):
        offer(shares, n * WINDOW, {1: 1000, 2: 100, 3: 50})
        shares.press(n * WINDOW + 1)
    for n in range(7, 10):
        found = offer(shares, n * WINDOW, {1: 1000, 2: 100, 3: 50})
    assert found[1] < 300
    assert (found[2], found[3]) == (100, 50)


def test_of_a_room_in_debt_some_receivers_give_way_and_others_do_not() -> None:
    shares = Shares()
    offer(shares, WINDOW, {1: 800})
    shares.press(2 * WINDOW - 1)
    passed = []
    for n in range(8, 200):  # a packet for each of eight receivers, each 500 µs: 800 packets a window
        for receiver in range(8):
            if shares.admit(1, n * 500 + WINDOW, "video", lot=32 * receiver) is not None:
                passed.append(receiver)
    counts = [passed.count(receiver) for receiver in range(8)]
    assert counts == sorted(counts)
    assert 0 < counts[0] < 192
    assert counts[4:] == [192] * 4


def test_what_was_taken_comes_back_slowly() -> None:
    shares = Shares()
    offer(shares, WINDOW, {1: 1000})
    shares.press(WINDOW + 1)
    assert shares.ceiling == 750
    shares.press(WINDOW + 2)
    assert shares.ceiling == 750, "once a window"
    seen = [offer(shares, n * WINDOW, {1: 1000})[1] for n in range(2, 100)]
    assert 700 <= min(seen) == seen[2]
    assert seen[2:] == sorted(seen[2:])
    assert seen[10] < 900
    assert seen[-1] == 1000
    offer(shares, 100 * 100 * WINDOW, {1: 1000})
    assert shares.ceiling is None, "a pause ends it"


@pytest.mark.parametrize(
    ("rank", "through"), [("repair", 0), ("begin", 18), ("video", 37), ("sound", 37 + 225)]
)
def test_ranks_stop_one_after_the_other(rank: str, through: int) -> None:
    """A room begins with half a window's credit of 75 packets; this is what it gets before time adds more."""
    shares = Shares()
    offer(shares, WINDOW, {1: 100})
    shares.press(2 * WINDOW - 1)
    got = sum(shares.admit(2, 2 * WINDOW - 1, rank) is not None for _ in range(1000))
    assert got == through


def test_beyond_the_mean_is_excess() -> None:
    shares = Shares()
    offer(shares, WINDOW, {1: 90, 2: 10})
    shares.turn(2 * WINDOW)
    assert shares.fair == 50
    now = 2 * WINDOW
    assert [shares.admit(1, now, "video", 50), shares.admit(1, now, "video", 1)] == ["video", "excess"]
    assert shares.admit(1, now, "sound") == "sound"
    assert shares.admit(1, now, "sound", 99) == "sound"
    assert shares.admit(1, now, "sound", 2) == "excess"
    assert shares.admit(2, now, "video", 10) == "video"
    assert shares.admit(2, now, "repair", 100) == "repair"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 300), min_size=2, max_size=6),
    st.lists(st.booleans(), min_size=1, max_size=30),
)
def test_a_room_below_the_ceiling_loses_nothing(wanted: list[int], pressed: list[bool]) -> None:
    shares, rooms = Shares(), dict(enumerate(wanted))
    if not any(wanted):
        return
    for n, press in enumerate(pressed, 1):
        ceiling = shares.ceiling
        found = offer(shares, n * WINDOW, rooms)
        for room, packets in rooms.items():
            if ceiling is None or packets <= ceiling:
                assert found[room] == packets
            else:
                assert found[room] >= ceiling // 2 - 1
        if press:
            shares.press(n * WINDOW + 1)
            assert shares.ceiling is not None
            assert shares.ceiling >= 16


class Rooms:
    """A busy room and a quiet one with a single receiver; each has a camera and a microphone."""

    def __init__(self, receivers: int = 8) -> None:
        self.world = World(seed=3)
        self.senders, self.receivers, self.cameras = [], [], []
        for room, count in enumerate((receivers, 1)):
            if room:
                self.world.router = self.world.core.add_router({})
            sender = Client(self.world, f"s{room}", port=1 + room)
            cam, mic = sender.produce("cam", video=True), sender.produce("mic", video=False)
            far = [Client(self.world, f"r{room}-{n}", port=100 * (1 + room) + n) for n in range(count)]
            for one in far:
                one.consume(cam, ssrc=0x100, rtx_ssrc=0x101)
                one.consume(mic, ssrc=0x200)
            self.senders.append(sender)
            self.receivers.append(far)
            self.cameras.append(cam)
        self.number = 0

    def frames(self, count: int, *, key: bool = False, spare: bool = False) -> None:
        """In each room: `count` frames of eight packets and a packet of sound, 10 ms apart."""
        for _ in range(count):
            self.world.now += 10_000
            for sender in self.senders:
                sender.send_rtp(opus(self.number, ssrc=0xA0, mid="mic"))
                for n in range(8):
                    packet = vp8(
                        self.number * 8 + n, key=key and n == 0, ssrc=0xB0, mid="cam", frame=self.number
                    )
                    if spare:
                        packet.payload = bytes([packet.payload[0] | 0x20]) + packet.payload[1:]
                    sender.send_rtp(packet)
            self.number += 1
            self.world.step()
            key = False

    def heard(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Per room, of each receiver: (packets of video, of sound) since the last time."""
        out = []
        for far in self.receivers:
            rows = []
            for one in far:
                ssrcs = [p.ssrc for p in one.rtp]
                rows.append((ssrcs.count(0x100), ssrcs.count(0x200)))
            out.append(rows)
        return out[0], out[1]

    def forget(self) -> None:
        for far in self.receivers:
            for one in far:
                one.rtp.clear()

    def press(self, times: int = 1) -> None:
        for _ in range(times):
            self.world.core.press(self.world.now)


def continuous(packets: list[RtpPacket], ssrc: int) -> bool:
    numbers = [p.sequence for p in packets if p.ssrc == ssrc]
    return all((b - a) & 0xFFFF == 1 for a, b in itertools.pairwise(numbers))


def test_video_of_the_busy_room_gives_way_and_sound_goes_on() -> None:
    rooms = Rooms()
    rooms.frames(10, key=True)
    for _ in range(4):
        rooms.frames(5)
        rooms.press()
    rooms.forget()
    rooms.frames(20)
    busy, quiet = rooms.heard()
    assert quiet == [(160, 20)], "the quiet room notices nothing"
    assert [sound for _, sound in busy] == [20] * 8, "nobody loses sound"
    assert sum(video for video, _ in busy) < 8 * 160 * 0.6
    assert any(video == 160 for video, _ in busy), "some keep a whole picture, instead of all a broken one"
    counters = rooms.world.core.counters()
    assert counters["shed_load_video"] > 0
    assert counters["shed_load_sound"] == 0
    assert counters["shed_consumers"] > 0
    assert all(one.errors == 0 for far in rooms.receivers for one in far)


def test_shed_video_comes_back_at_a_key_frame_without_a_gap() -> None:
    rooms = Rooms()
    rooms.frames(10, key=True)
    for _ in range(4):
        rooms.frames(5)
        rooms.press()
    rooms.frames(30)
    before = rooms.world.core.counters()["plis_sent"]
    rooms.world.now += 4_000_000  # nobody presses any more
    rooms.frames(1)
    assert rooms.world.core.counters()["plis_sent"] > before
    rooms.forget()
    rooms.frames(10, key=True)
    assert rooms.heard()[0] == [(80, 10)] * 8
    for one in rooms.receivers[0]:
        assert continuous(one.rtp, 0x100)


def test_spare_frames_may_be_missing_without_a_key_frame() -> None:
    rooms = Rooms()
    rooms.frames(10, key=True)
    rooms.press()
    rooms.frames(5, spare=True)
    rooms.press()
    rooms.frames(5, spare=True)
    counters = rooms.world.core.counters()
    assert counters["shed_load_video"] > 0
    assert counters["shed_consumers"] == 0
    for one in rooms.receivers[0]:
        assert continuous(one.rtp, 0x100), "numbers close up"


def test_retransmissions_stop_first() -> None:
    rooms = Rooms(receivers=1)
    rooms.frames(5, key=True)
    rooms.press()
    rooms.frames(1)
    one = rooms.receivers[0][0]
    numbers = [p.sequence for p in one.rtp if p.ssrc == 0x100]
    one.rtp.clear()
    for number in numbers:
        one.send_rtcp(nack(1, 0x100, [number]))
    resent = [p for p in one.rtp if p.ssrc == 0x101]
    counters = rooms.world.core.counters()
    assert counters["shed_load_repair"] > 0
    assert len(resent) + counters["shed_load_repair"] == len(numbers)
