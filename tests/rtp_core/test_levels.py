from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core.levels import Meter, Speaker
from tests.rtp_core.world import ROUTER_EXTENSIONS, Client, World, opus

MS = 1000
WINDOW = 200 * MS


def settle(meter: Meter, packets: list[int], windows: int = 40) -> float:
    level = 0.0
    for _ in range(windows):
        for one in packets:
            meter.packet(one)
        level = meter.window()
    return level


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        ([0], 0),
        ([30], -30),
        ([30] * 10, -30),
        ([20, 127], -23.01),  # half the energy
        ([20, 40], 10 * math.log10((1e-2 + 1e-4) / 2)),
        ([127] * 10, -127),
        ([126], -126),
        ([], -127),
        ([128 + 30], -30),  # the voice activity bit is not the level's
    ],
)
def test_settles_at_the_average_energy(packets: list[int], expected: float) -> None:
    assert settle(Meter(), packets) == pytest.approx(expected, abs=0.01)


def test_begins_silent_and_moves_halfway() -> None:
    meter = Meter()
    assert meter.window() == -127
    meter.packet(27)
    assert meter.window() == pytest.approx(-77)
    meter.packet(27)
    assert meter.window() == pytest.approx(-52)


def test_no_packets_fall_silent() -> None:
    meter = Meter()
    settle(meter, [20])
    levels = [meter.window() for _ in range(10)]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == pytest.approx(-73.5, abs=0.01)
    assert levels[-1] == -127


@given(st.lists(st.lists(st.integers(0, 255), max_size=20), max_size=20))
def test_stays_within_its_scale(windows: list[list[int]]) -> None:
    meter = Meter()
    for packets in windows:
        for one in packets:
            meter.packet(one)
        assert -127 <= meter.window() <= 0


class Room:
    """Windows of 200 ms through a selector; `run` tells who spoke after each."""

    def __init__(self) -> None:
        self.selector = Speaker()
        self.now = 0

    def run(self, levels: dict[int, float], windows: int) -> list[int | None]:
        found = []
        for _ in range(windows):
            before = self.selector.speaker
            changed = self.selector.update(levels, self.now)
            assert changed == (self.selector.speaker != before)
            found.append(self.selector.speaker)
            self.now += WINDOW
        return found


def test_nobody_speaks() -> None:
    assert Room().run({1: -60, 2: -127}, 20) == [None] * 20
    assert Room().run({}, 3) == [None] * 3


def test_takes_the_floor_after_a_while() -> None:
    assert Room().run({1: -30, 2: -70}, 4) == [None, None, 1, 1]


def test_a_cough_does_not() -> None:
    room = Room()
    assert room.run({1: -20}, 2) == [None, None]
    assert room.run({1: -90}, 1) == [None]
    assert room.run({1: -20}, 2) == [None, None], "counted from anew"


def test_louder_takes_over_once_the_hold_is_over() -> None:
    room = Room()
    room.run({1: -30}, 3)  # from 400 ms on
    assert room.run({1: -30, 2: -25}, 6) == [1, 1, 1, 1, 2, 2]


def test_a_little_louder_does_not() -> None:
    room = Room()
    room.run({1: -30}, 3)
    assert room.run({1: -30, 2: -27.5}, 20) == [1] * 20


def test_keeps_the_floor_in_a_pause_and_loses_it_in_silence() -> None:
    room = Room()
    room.run({1: -30}, 3)
    assert room.run({1: -80}, 14) == [1] * 14
    assert room.run({1: -30}, 1) == [1]
    assert room.run({1: -80}, 16) == [1] * 14 + [None] * 2


def test_another_may_speak_in_the_pause() -> None:
    room = Room()
    room.run({1: -30}, 10)
    assert room.run({1: -80, 2: -45}, 3) == [1, 1, 2]


def test_who_leaves_is_not_the_speaker() -> None:
    room = Room()
    room.run({1: -30, 2: -40}, 5)
    assert room.run({2: -40}, 3) == [None, None, 2]


def test_two_challengers_by_turns_do_not_block_each_other() -> None:
    room = Room()
    found: list[int | None] = []
    for n in range(4):
        found += room.run({1: -30 - n % 2, 2: -31 + n % 2}, 1)
    assert found[-1] == 1, "who began first, for both were loud enough throughout"


def test_changes_are_never_closer_than_the_hold() -> None:
    room = Room()
    changes = []
    for n in range(200):
        loud, other = (1, 2) if n // 3 % 2 else (2, 1)
        before = room.selector.speaker
        room.run({loud: -20, other: -50}, 1)
        if before is not None and room.selector.speaker != before:
            changes.append(room.now)
    assert changes
    assert all(b - a >= 1000 * MS for a, b in pairwise(changes))


def test_id_zero_is_somebody() -> None:
    assert Room().run({0: -30}, 3) == [None, None, 0]


def test_all_rooms_tell_their_levels_at_the_same_moments() -> None:
    """However different their beginnings are: Python is woken once for them all."""
    world = World()
    talkers = []
    for n in range(3):
        world.router = world.core.add_router(dict(ROUTER_EXTENSIONS))
        client = Client(world, f"c{n}", port=4000 + n)
        client.produce("0", video=False, ssrc=0xA0)
        talkers.append((world.router, client))
        world.run(0.07)
    told: dict[int, set[int]] = {router: set() for router, _ in talkers}
    for n in range(30):
        for _, client in talkers:
            client.send_rtp(opus(n, level=5))
        world.events.clear()
        world.run(0.02)
        for event in world.of("levels"):
            told[event[1]].add(n)
    moments = list(told.values())
    assert len(moments[0]) == 3
    assert moments[0] == moments[1] == moments[2]
