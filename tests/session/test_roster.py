"""How the others learn who came, changed and went."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.session.roster import MESSAGES_PER_S, MOST, Pace
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.session.world import START, World, joiner

LARGE = CallSettings(policy="sfu", max_participants=2000, tell_at_once_up_to=3)


def large(people: int) -> World:
    """A call of so many, who know of each other; the first one's notifications of that are forgotten."""
    world = World(joiner("p0"), settings=LARGE)
    for number in range(1, people):
        world.join(f"p{number}")
    world.advance(5)
    for client in world.clients.values():
        client.got.clear()
    return world


def told(world: World, name: str = "p0") -> list[m.ParticipantsChanged]:
    return [one for _, one in world.client(name).got if isinstance(one, m.ParticipantsChanged)]


def test_in_a_small_call_each_is_told_at_once() -> None:
    world = World(joiner("p0"), settings=LARGE)
    world.join("p1")
    world.join("p2")
    assert [name for name in world.client("p0").methods() if name.startswith("participant")] == [
        "participant.joined",
        "participant.joined",
    ]
    world.call.leave(world.id("p2"), world.now)
    world.run()
    assert world.client("p0").methods()[-1] == "participant.left"


def test_after_a_pause_a_large_call_is_told_at_once_too() -> None:
    world = large(10)
    world.join("new")
    (changed,) = told(world)
    assert [one.name for one in changed.joined] == ["new"]


def test_many_who_come_together_are_told_together() -> None:
    world = large(100)
    for number in range(50):
        world.join(f"new{number}")
    assert [len(one.joined) for one in told(world)] == [1]  # the first; the others wait
    timeout = world.call.next_timeout(world.now)
    assert timeout == (world.now + 150 / MESSAGES_PER_S, "roster")
    world.advance(0.2)
    assert [len(one.joined) for one in told(world)] == [1, 49]
    assert set(world.client("p0").others) == set(world.call.participant_ids) - {world.id("p0")}
    # Those who came meanwhile had found some present, and know the same in the end.
    assert set(world.client("new7").others) == set(world.call.participant_ids) - {world.id("new7")}


def test_of_each_only_the_newest_counts() -> None:
    world = large(100)
    world.join("first")
    world.join("stays")
    pid = world.id("stays")
    world.call.update(pid, m.ParticipantUpdate(audio_enabled=False), world.now)
    world.call.update(pid, m.ParticipantUpdate(name="Renamed"), world.now)
    world.join("goes")
    world.call.leave(world.id("goes"), world.now)
    world.call.update(world.id("p1"), m.ParticipantUpdate(video_enabled=False), world.now)
    world.advance(1)
    last = told(world)[-1]
    assert [(one.name, one.audio_enabled) for one in last.joined] == [("Renamed", False)]
    assert [one.participant_id for one in last.updated] == [world.id("p1")]
    assert len(last.left) == 1


def test_who_comes_back_meanwhile_is_in_both() -> None:
    world = large(100)
    world.join("first")
    pid = world.id("p5")
    world.call.leave(pid, world.now)
    world.run()
    assert world.join("p5") == pid
    world.advance(1)
    last = told(world)[-1]
    assert [one.participant_id for one in last.left] == [one.participant_id for one in last.joined] == [pid]
    assert pid in world.client("p0").others


def test_what_names_people_comes_after_them() -> None:
    world = large(100)
    world.join("first")
    world.join("second")
    world.call.chat(world.id("second"), "hello", world.now)
    world.run()
    assert world.client("p0").methods()[-2:] == ["participants.changed", "chat.message"]
    assert world.id("second") in world.client("p0").others


def test_one_message_is_about_so_many_at_most() -> None:
    world = large(4)
    world.join("first")
    for number in range(2 * MOST + 10):
        world.join(f"new{number}")
    sizes = [len(one.joined) for one in told(world)]
    assert sizes[1:] == [MOST, MOST]
    world.advance(1)
    assert len(told(world)[-1].joined) == 10


def test_a_call_that_becomes_small_tells_what_waits_first() -> None:
    world = large(5)
    world.join("first")
    for name in ("p4", "p3", "first"):
        world.call.leave(world.id(name), world.now)
    world.join("late")
    world.call.leave(world.id("p2"), world.now)
    world.run()
    world.advance(1)
    assert set(world.client("p0").others) == {world.id("p1"), world.id("late")}
    assert world.call.next_timeout(world.now) is None or not world.call.roster.waits


def test_nobody_is_left_to_be_told() -> None:
    world = large(4)
    world.join("first")
    for name in ("first", "p0", "p1", "p2", "p3"):
        world.call.leave(world.id(name), world.now)
    world.run()
    world.advance(LARGE.empty_grace_s + 1)
    assert world.call.over


def test_a_thousand_who_join_at_once_cost_a_few_messages_each() -> None:
    """And not one for each of the others."""
    world = World(joiner("p0"), settings=LARGE)
    for number in range(1, 1000):
        world.join(f"p{number}")
        world.now += 0.004  # in four seconds
        if number % 5 == 0:
            world.advance(0)
    world.advance(2)
    assert len(told(world)) < 30
    assert len(world.client("p0").others) == 999


@given(
    people=st.integers(0, 5000),
    at_once=st.integers(0, 50),
    told_ago=st.none() | st.floats(-1e6, 1e6),
)
def test_the_pace(people: int, at_once: int, told_ago: float | None) -> None:
    pace = Pace(at_once)
    now = START
    if told_ago is not None:
        pace.told(now - told_ago)
    due = pace.due(people, now)
    assert now <= due <= now + people / MESSAGES_PER_S
    if people <= at_once or told_ago is None or told_ago >= people / MESSAGES_PER_S + 1e-3:
        assert due == now
