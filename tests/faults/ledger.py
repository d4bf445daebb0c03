"""What clients were told, and whether the rows say the same: each thing once, in order, and nothing else.

A thing is *sure* when the server has answered or notified a client of it. What a client had asked for when
its server died may or may not have come about, but not twice and not elsewhere in the order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from tests.faults.witness import Entry

T = TypeVar("T")


class State(NamedTuple):
    """A participant as its row shows it."""

    present: bool
    audio: bool
    video: bool
    screen: bool


class Transition(NamedTuple):
    epoch: int
    to: str
    reason: str


@dataclass
class Fact:
    """`state` None: gone, and otherwise as before."""

    state: State | None
    sure: bool = False


@dataclass
class Ledger:
    """Facts by (call id, user id), and transitions by call id, a list for each life of the server."""

    people: dict[tuple[str, str], list[Fact]] = field(default_factory=dict)
    transitions: dict[str, list[list[Transition]]] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)  # call id: endReason
    reported: dict[str, dict[str, int]] = field(default_factory=dict)  # call id: bytes sent, by user
    deaths: int = 0

    def will_be(self, call: str, user: str, state: State | None) -> Fact:
        """A client asks for it; set `sure` when it is answered."""
        fact = Fact(state)
        self.people.setdefault((call, user), []).append(fact)
        return fact

    def now(self, call: str, user: str) -> State:
        """Of a person who is in the call."""
        state = self.people[call, user][-1].state
        assert state is not None
        return state

    def end(self, call: str, reason: str) -> None:
        """A client was told that the call is over: everybody has left."""
        self.ended[call] = reason
        for (of, user), facts in self.people.items():
            if of == call and _present(facts):
                self.will_be(of, user, None).sure = True

    def committed(self, call: str, transition: Transition) -> None:
        """A client was told of a switch; the others are told the same."""
        lives = self.transitions.setdefault(call, [])
        while len(lives) <= self.deaths:
            lives.append([])
        if transition not in lives[self.deaths]:
            lives[self.deaths].append(transition)

    def server_died(self) -> None:
        """Whoever was in may be marked as having left, until they come back."""
        self.deaths += 1
        for (call, user), facts in list(self.people.items()):
            if _present(facts):
                self.will_be(call, user, None)


def _present(facts: list[Fact]) -> bool:
    """Whether the person may be in the call: a leaving that was not answered may not have come about."""
    last = facts[-1].state
    return last is not None and (last.present or not facts[-1].sure)


def assert_as_told(ledger: Ledger, entries: Sequence[Entry]) -> None:
    """Compares what clients were told with all that was ever committed."""
    histories: dict[tuple[str, str], list[State]] = {}
    written: dict[str, list[Transition]] = {}
    calls: dict[str, dict[str, Any]] = {}
    metrics: dict[str, dict[str, Any]] = {}
    for entry in entries:
        row = entry.now
        if entry.table == "call_participants":
            state = State(
                row["leftAt"] is None, row["audioEnabled"], row["videoEnabled"], row["screenShareEnabled"]
            )
            histories.setdefault((row["callSessionId"], row["userId"]), []).append(state)
        elif entry.table == "call_metrics":
            metrics[row["callSessionId"]] = row
            written[row["callSessionId"]] = [
                Transition(one["epoch"], one["to"], one["reason"]) for one in row["modeTransitions"] or []
            ]
        elif entry.table == "call_sessions":
            calls[row["id"]] = row
    for key in ledger.people.keys() | histories.keys():
        told, found = ledger.people.get(key, []), _changes(histories.get(key, []))
        assert any(found == one for one in _possible(told)), (
            f"{key}: told {_shown(told)}, written {[tuple(map(int, one)) for one in found]}"
        )
    for call in ledger.transitions.keys() | written.keys():
        lives, found = ledger.transitions.get(call, []), written.get(call, [])
        assert _is_told(lives, found, ledger.deaths), f"{call}: told {lives}, written {found}"
        assert calls[call]["modeChangeCount"] == len(found)
    for call, row in calls.items():
        assert row["status"] == "ENDED", row
        assert row["endReason"] == ledger.ended.get(call, row["endReason"]), (row, ledger.ended)
        if ledger.deaths == 0:  # else a call's metrics hold what was stored of the life before
            people = {user for of, user in ledger.people if of == call}
            assert metrics[call]["totalParticipants"] == len(people), metrics[call]
            assert 1 <= metrics[call]["peakParticipants"] <= len(people)
            reported = ledger.reported.get(call)
            assert metrics[call]["totalDataSent"] == (sum(reported.values()) if reported else None)


def _changes(items: Sequence[T]) -> list[T]:
    return [item for item, _ in itertools.groupby(items)]


def _possible(told: Sequence[Fact]) -> Iterator[list[State]]:
    """Every history in which all that is sure has come about."""
    unsure = [n for n, fact in enumerate(told) if not fact.sure]
    for left_out in itertools.chain.from_iterable(
        itertools.combinations(unsure, size) for size in range(len(unsure) + 1)
    ):
        states: list[State] = []
        for n, fact in enumerate(told):
            if n in left_out:
                continue
            if fact.state is not None:
                states.append(fact.state)
            elif states:
                states.append(states[-1]._replace(present=False))
        yield _changes(states)


def _is_told(lives: list[list[Transition]], found: list[Transition], deaths: int) -> bool:
    """Each life's transitions in order; after those of one that was killed, one may follow that was written
    and not told."""
    lives = lives + [[]] * (deaths + 1 - len(lives))
    at = {0}
    for n, told in enumerate(lives):
        at = {start + len(told) for start in at if found[start : start + len(told)] == told}
        if n < deaths:
            newest = told[-1].epoch if told else 0
            at |= {end + 1 for end in at if end < len(found) and found[end].epoch > newest}
    return len(found) in at


def _shown(told: Sequence[Fact]) -> list[str]:
    return ["".join(str(int(x)) for x in fact.state or ()) + ("" if fact.sure else "?") for fact in told]
