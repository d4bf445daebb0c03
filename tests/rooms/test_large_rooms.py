"""What a large room tells, to whom and when, and what it leaves alone."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.rooms.conftest import OTHER_FINGERPRINT, Client, House, settle

NEW = ["participants.changed"]
PEOPLE = 20  # as if that were many
PAUSE_S = (PEOPLE + 10) / 1000  # until a room of so many is told again, and some more


@pytest.fixture
def settings() -> CallSettings:
    return CallSettings(policy="sfu", media_addresses=("192.0.2.1",), tell_at_once_up_to=3)


async def room_of(house: House, people: int = PEOPLE, features: list[str] = NEW) -> list[Client]:
    """Listeners who are connected and know of each other; what they were told until then is forgotten."""
    found = [house.client(f"user{number}", features=features) for number in range(people)]
    for one in found:
        await one.join()
        await one.answer_offer()
    await trio.sleep(1)
    for one in found:
        one.wire.got.clear()
    return found


def about(client: Client) -> list[str]:
    return [method for method in client.methods() if method.startswith("participant")]


async def test_many_who_come_are_told_together(autojump_clock: MockClock, house: House) -> None:
    ann, *others = await room_of(house)
    news = [house.client(f"new{number}", features=NEW) for number in range(8)]
    for one in news:
        await one.join()
    await trio.sleep(PAUSE_S)
    assert about(ann) == about(others[-1]) == ["participants.changed"] * 2
    told = [one.name for _, said, _ in ann.wire.got for one in getattr(said, "joined", [])]
    assert sorted(told) == sorted(one.session.name for one in news)
    # Whoever came finds all that came before in the answer to its join, and is told of the others.
    assert about(news[0])[-1] == "participants.changed"


async def test_who_knows_only_the_single_messages_gets_these(autojump_clock: MockClock, house: House) -> None:
    ann, *_, gone = await room_of(house, features=["something else"])
    news = [house.client(f"new{number}") for number in range(8)]
    for one in news:
        await one.join()
    await news[7].ask("participant.update", m.ParticipantUpdate(audio_enabled=False))
    await gone.ask("call.leave")
    await trio.sleep(PAUSE_S)
    assert set(about(ann)) == {"participant.joined", "participant.left"}
    joined = {p.participant.name: p.participant for n, p, _ in ann.wire.got if n == "participant.joined"}
    assert joined.keys() == {one.session.name for one in news}
    assert not joined["New7"].audio_enabled
    for one in news:
        own = [
            p
            for n, p, _ in one.wire.got
            if n == "participant.joined" and p.participant.name == one.session.name
        ]
        assert own == []


async def test_what_many_are_sent_is_kept_once(autojump_clock: MockClock, house: House) -> None:
    ann, bob, *_ = await room_of(house)
    await house.client("new").join()
    await trio.sleep(PAUSE_S)
    assert ann.session._sent[-1][2] is bob.session._sent[-1][2]


async def test_a_join_touches_no_listener_that_is_there(
    autojump_clock: MockClock, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, *_ = await room_of(house)
    room = ann.session.room
    assert room is not None
    looked_at: list[str] = []
    for pid, peer in room.sfu._peers.items():
        monkeypatch.setattr(peer, "consume", lambda wanted, pid=pid: looked_at.append(pid))
        monkeypatch.setattr(peer, "ids", lambda pid=pid: looked_at.append(pid))
    new = house.client("new", features=NEW)
    await new.join()
    await new.answer_offer()
    await trio.sleep(1)
    assert looked_at == []


async def test_offers_keep_a_pace_and_the_newest_is_whole(autojump_clock: MockClock, house: House) -> None:
    ann, *_ = await room_of(house)
    speakers = [house.client(f"speaker{number}", features=NEW) for number in range(5)]
    for one in speakers:
        await one.enter()
        if ann.count("sfu.offer") > 0 and ann.session.room is not None:
            assert one.pid in {p.participant_id for p in ann.session.room.call.participants}
    await ann.answer_offer()
    await trio.sleep(PAUSE_S)
    assert ann.count("sfu.offer") == 2  # the first at once, the others together
    offer = await ann.answer_offer()
    assert {one.participant_id for one in offer.consumers} == {one.pid for one in speakers}
    assert len(house.transport(ann, "recv").open_consumers) == 10
    # Nobody is offered media of somebody of whom they were not told.
    known: set[str] = set()
    for _, said, _ in ann.wire.got:
        if isinstance(said, m.ParticipantsChanged):
            known |= {one.participant_id for one in said.joined}
        elif isinstance(said, m.SfuOffer):
            assert {one.participant_id for one in said.consumers} <= known


async def test_nobody_is_offered_media_of_whom_they_were_not_told(
    autojump_clock: MockClock, house: House
) -> None:
    ann, *_ = await room_of(house)
    await house.client("listener", features=NEW).join()
    await settle()
    assert about(ann) == ["participants.changed"]  # the next of these has to wait, an offer has not
    speaker = house.client("speaker", features=NEW)
    await speaker.enter()
    await settle()
    assert [one for one in ann.methods() if one != "sfu.transport"] == [
        "participants.changed",
        "participants.changed",
        "sfu.offer",
    ]
    assert [one.participant_id for one in ann.last("participants.changed").joined] == [speaker.pid]


async def test_who_is_not_connected_yet_is_offered_at_once(autojump_clock: MockClock, house: House) -> None:
    await room_of(house)
    first, second = house.client("first", features=NEW), house.client("second", features=NEW)
    await first.join()
    await second.join()  # in the same moment
    assert second.count("sfu.offer") == 1
    await second.answer_offer()
    await second.ask("sfu.restart", m.SfuRestart())
    await settle()
    assert second.count("sfu.offer") == 2


async def test_a_share_of_the_screen_after_a_pause_is_offered_at_once(
    autojump_clock: MockClock, house: House
) -> None:
    ann, *_ = await room_of(house)
    bob = house.client("bob", features=NEW)
    await bob.enter()
    await trio.sleep(1)
    await ann.answer_offer()
    await bob.ask("participant.update", m.ParticipantUpdate(screen_share_enabled=True))
    await settle()
    assert {one.source for one in ann.last("sfu.offer").consumers} == {"microphone", "camera", "screen"}


async def test_levels_keep_the_pace(autojump_clock: MockClock, house: House) -> None:
    ann, *_ = await room_of(house)
    bob = house.client("bob", features=NEW)
    await bob.enter()
    microphone = house.transport(bob, "send").open_producers["microphone"]
    for _ in range(10):
        house.router.levels([(microphone, -20.0)])
        await trio.sleep(PAUSE_S / 5)
    assert 1 < ann.count("audio.levels") <= 4
    await trio.sleep(1)
    house.router.levels([(microphone, -120.0)])
    await settle()
    assert ann.last("audio.levels").levels == {}


async def test_all_who_are_cut_in_one_moment_are_gone_in_one(
    autojump_clock: MockClock, house: House, settings: CallSettings
) -> None:
    ann, *others = await room_of(house)
    for one in others:
        one.cut()
    await trio.sleep(settings.resume_grace_s + 1)
    assert len(about(ann)) <= 4
    gone = {one.participant_id for _, said, _ in ann.wire.got for one in getattr(said, "left", [])}
    assert len(gone) == len(others)
    assert ann.session.room is not None
    assert ann.session.room.call.present == 1
    assert len(house.router.open_transports) == 2


MUTED = {"audio_enabled": False, "video_enabled": False}


async def test_who_has_never_sent_anything_costs_the_others_nothing(
    autojump_clock: MockClock, house: House
) -> None:
    ann, *_ = await room_of(house)
    bob = house.client("bob", features=NEW)
    await bob.join(**MUTED)
    await bob.publish()
    await trio.sleep(1)
    assert house.transport(bob, "send").open_producers == {}
    assert ann.count("sfu.offer") == 0
    await bob.ask("participant.update", m.ParticipantUpdate(audio_enabled=True))
    await settle()
    assert set(house.transport(bob, "send").open_producers) == {"microphone"}
    assert [one.source for one in ann.last("sfu.offer").consumers] == ["microphone"]
    await ann.answer_offer()
    await bob.ask("participant.update", m.ParticipantUpdate(audio_enabled=False))
    await trio.sleep(1)
    await bob.ask("participant.update", m.ParticipantUpdate(audio_enabled=True))
    await trio.sleep(1)
    assert ann.count("sfu.offer") == 1  # once it has been on, it is at the ready
    await bob.ask("participant.update", m.ParticipantUpdate(audio_enabled=False))
    await bob.publish(OTHER_FINGERPRINT)  # its connection is made anew
    await settle()
    assert set(house.transport(bob, "send").open_producers) == {"microphone"}


async def test_in_a_small_call_all_have_media_at_the_ready(autojump_clock: MockClock, house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    for one in (ann, bob):
        await one.join(**MUTED)
        await one.publish()
    await settle()
    assert set(house.transport(ann, "send").open_producers) == {"microphone", "camera"}
    for number in range(5):  # what is there stays when the call becomes large
        await house.client(f"user{number}").join()
    await ann.ask("participant.update", m.ParticipantUpdate(name="Anna"))
    await trio.sleep(1)
    assert set(house.transport(ann, "send").open_producers) == {"microphone", "camera"}
