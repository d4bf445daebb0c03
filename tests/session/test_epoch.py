"""One epoch's books."""

from __future__ import annotations

from typing import Any

import pytest

from server.session.epoch import TRANSITIONS, Epoch, State, pairs_of

NOW = 100.0


def epoch(**given: Any) -> Epoch:
    fields: dict[str, Any] = {
        "number": 2, "from_mode": "p2p", "to_mode": "sfu", "reason": "participant_joined", "offerer": None,
        "participants": ["a", "b", "c"], "away": [], "old_path": pairs_of("ab"), "now": NOW, "timeout_s": 8.0,
        "linger_s": 3.0,
    }  # fmt: skip
    return Epoch(**(fields | given))


def swap_all(one: Epoch, members: str = "abc") -> None:
    for receiver, sender in pairs_of(members):
        one.swap(receiver, sender)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", ["commit", "abort", "release"])
def test_every_event_in_every_state(state: State, event: str) -> None:
    one = epoch()
    one.state = state
    step = {"commit": lambda: one.commit(NOW), "abort": one.abort, "release": one.release}[event]
    target = TRANSITIONS.get((state, event))
    assert step() is (target is not None)
    assert one.state is (target or state)


def test_complete_when_every_pair_has_swapped() -> None:
    one = epoch()
    for receiver, sender in sorted(pairs_of("abc")):
        assert not one.complete
        assert one.swap(receiver, sender)
        assert not one.swap(receiver, sender)  # no news
    assert one.complete


@pytest.mark.parametrize("pair", [("a", "a"), ("a", "x"), ("x", "a")])
def test_pairs_that_are_none(pair: tuple[str, str]) -> None:
    assert not epoch().swap(*pair)


def test_stragglers_are_those_of_the_old_path() -> None:
    one = epoch()
    one.swap("a", "b")
    assert one.stragglers == {("b", "a")}
    one.commit(NOW + 8)
    assert one.release_at is None
    one.swap("b", "a")
    assert one.release_at == NOW + 11


def test_nothing_lingers_for_nobody() -> None:
    one = epoch()
    swap_all(one)
    one.commit(NOW + 1)
    assert one.release_at == NOW + 4
    one.leave("b")
    assert one.release_at == NOW + 1


def test_those_who_are_away_hold_nothing_on_the_way_to_the_sfu() -> None:
    one = epoch(away=["b"])
    one.swap("a", "c")
    assert not one.complete
    one.swap("c", "a")
    assert one.complete
    assert one.stragglers == {("a", "b"), ("b", "a")}


def test_p2p_waits_for_those_who_are_away() -> None:
    one = epoch(to_mode="p2p", participants=["a", "b"], old_path=set())
    one.waive("b")
    assert one.disturbed
    assert not one.complete
    swap_all(one, "ab")
    assert one.complete


def test_leaving_takes_the_pairs_along_and_a_newcomer_holds_nothing() -> None:
    one = epoch()
    one.swap("a", "b")
    one.swap("b", "a")
    one.leave("c")
    assert one.complete
    one.join("d")
    assert one.complete
    assert one.swap("d", "a")


def test_a_broken_path_takes_its_swaps_back_until_the_commit() -> None:
    one = epoch()
    swap_all(one)
    one.unswap("a", receiving=True)
    assert one.swapped == pairs_of("abc") - {("a", "b"), ("a", "c")}
    one.unswap("b", receiving=False)
    assert one.swapped == {("b", "a"), ("b", "c"), ("c", "a")}
    swap_all(one)
    one.commit(NOW)
    one.unswap("a", receiving=True)
    assert one.swapped == pairs_of("abc")
