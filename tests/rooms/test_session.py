"""Numbering, replay and takeover of one session's notifications."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from server.rooms.session import REPLAY_BYTES, REPLAY_COUNT, Encoded, Session
from server.session.identity import Grants, Identity
from server.signaling import messages as m
from tests.rooms.conftest import Wire


def session() -> Session:
    return Session(Identity(user_id="u", name="U", guest=False, grants=Grants()), name="U", device=None)


def say(one: Session, text: str = "x") -> None:
    one.notify("chat.message", m.ChatMessage("p", "n", text, 0))


def seqs(wire: Wire) -> list[int]:
    return [seq for _, _, seq in wire.got]


def test_parameters_carry_their_number() -> None:
    one, wire = session(), Wire()
    one.attach(wire)
    one.notify("speaker", m.ActiveSpeaker(None))
    one.notify("server.draining", m.Draining(5))
    assert wire.got == [("speaker", m.ActiveSpeaker(None), 1), ("server.draining", m.Draining(5), 2)]


def test_what_many_are_sent_is_numbered_for_each() -> None:
    params = Encoded(m.ChatMessage("p", "n", "to all", 0))
    for before in range(3):
        one, wire = session(), Wire()
        one.attach(wire)
        for _ in range(before):
            say(one)
        one.notify("chat.message", params)
        assert wire.got[-1] == ("chat.message", m.ChatMessage("p", "n", "to all", 0), before + 1)


def test_even_an_empty_object_gets_a_number() -> None:
    one = session()
    raws: list[msgspec.Raw] = []

    class Raws(Wire):
        def send_nowait(self, method: str, params: msgspec.Raw) -> bool:
            raws.append(params)
            return True

    one.attach(Raws())
    one.notify("x", m.Empty())
    assert bytes(raws[0]) == b'{"seq":1}'


def test_what_was_missed_follows_in_order() -> None:
    one, first, second = session(), Wire(), Wire()
    one.attach(first)
    say(one)
    assert one.detach(first)
    say(one)
    say(one)
    assert one.can_replay_after(1)
    one.rewind(1)
    one.attach(second)
    say(one)
    assert seqs(second) == [2, 3, 4]


def test_a_connection_that_refuses_gets_nothing_more_until_the_next() -> None:
    one, first, second = session(), Wire(), Wire()
    one.attach(first)
    say(one)
    first.full = True
    say(one)
    one.rewind(1)
    one.attach(second)
    assert seqs(second) == [2]


def test_takeover_returns_the_old_connection_and_its_detach_does_nothing() -> None:
    one, first, second = session(), Wire(), Wire()
    assert one.attach(first) is None
    assert one.attach(first) is None
    assert one.attach(second) is first
    assert not one.detach(first)
    assert one.sink is second


def test_notifications_wait_for_the_answer() -> None:
    one, wire = session(), Wire()
    one.attach(wire)
    with one.answering():
        say(one)
        one.notify("audio.levels", m.AudioLevels({}), lossy=True)
        assert wire.got == []
    assert seqs(wire) == [1]


def offer(one: Session, number: int) -> None:
    one.notify("sfu.offer", m.SfuOffer(number, "t", "v=0", []), supersedes=True)


def test_what_is_superseded_is_neither_kept_nor_replayed() -> None:
    one, first, second = session(), Wire(), Wire()
    one.attach(first)
    offer(one, 1)
    say(one)
    assert one.detach(first)
    offer(one, 2)
    say(one)
    offer(one, 3)
    assert one.can_replay_after(0)  # nothing is missing that anybody needs
    one.rewind(0)
    one.attach(second)
    assert seqs(second) == [2, 4, 5]
    assert [method for method, _, _ in second.got] == ["chat.message", "chat.message", "sfu.offer"]
    assert not one.can_replay_after(6)


def test_offers_without_end_take_the_room_of_one() -> None:
    one = session()
    for number in range(10 * REPLAY_COUNT):
        offer(one, number)
    assert one.can_replay_after(0)
    assert len(one._sent) == 1
    assert one._sent_bytes == len(one._sent[0][2])


def test_nothing_is_kept_without_bounds() -> None:
    one = session()
    for _ in range(REPLAY_COUNT + 10):
        say(one)
    assert not one.can_replay_after(9)
    assert one.can_replay_after(10)
    one = session()
    for _ in range(20):
        say(one, "y" * (REPLAY_BYTES // 8))
    assert not one.can_replay_after(10)
    assert one.can_replay_after(13)
    assert not one.can_replay_after(21)  # from the future


@given(st.lists(st.sampled_from(["say", "cut", "resume", "lossy"]), max_size=60))
def test_a_client_that_resumes_by_what_it_saw_misses_nothing(steps: list[str]) -> None:
    one, wire = session(), Wire()
    one.attach(wire)
    seen: list[int] = []
    for step in steps:
        if step == "say":
            say(one)
        elif step == "lossy":
            one.notify("audio.levels", m.AudioLevels({}), lossy=True)
        elif step == "cut":
            one.detach(wire)
        elif one.sink is None:
            seen += seqs(wire)
            last = seen[-1] if seen else 0
            assert one.can_replay_after(last)
            one.rewind(last)
            wire = Wire()
            one.attach(wire)
    one.detach(wire)
    seen += seqs(wire)
    wire = Wire()
    one.rewind(seen[-1] if seen else 0)
    one.attach(wire)
    assert seen + seqs(wire) == list(range(1, one.seq + 1))


def test_what_is_forgotten_is_not_replayed_and_missed_by_nobody() -> None:
    one, first, second = session(), Wire(), Wire()
    one.attach(first)
    say(one)
    offer(one, 1)
    say(one)
    one.forget("sfu.offer")
    assert one.detach(first)
    assert one.can_replay_after(0)
    one.rewind(0)
    one.attach(second)
    assert seqs(second) == [1, 3]
