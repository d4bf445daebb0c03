"""One switch between paths: prepare → commit → release, or abort.

A *pair* (receiver, sender) is one direction of media between two participants. The pairs that were there at
the prepare hold the commit until each has swapped or the deadline has passed. A pair that played on the old
path and has not swapped when the commit comes is a *straggler*: the old path stays up for it. On the way to
the SFU a pair of a participant whose connection is cut holds nothing up, but is a straggler until it catches
up or leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from server.signaling.messages import Mode, SwitchReason

PairKey = tuple[str, str]  # receiver, sender


class State(Enum):
    PREPARING = "preparing"
    COMMITTED = "committed"
    RELEASED = "released"
    ABORTED = "aborted"


# Events with no row are illegal and change nothing.
TRANSITIONS: dict[tuple[State, str], State] = {
    (State.PREPARING, "commit"): State.COMMITTED,
    (State.PREPARING, "abort"): State.ABORTED,
    (State.COMMITTED, "release"): State.RELEASED,
}


def pairs_of(participants: Iterable[str]) -> set[PairKey]:
    """All ordered pairs of different participants."""
    everyone = list(participants)
    return {(a, b) for a in everyone for b in everyone if a != b}


def _without(participant_id: str, pairs: set[PairKey]) -> set[PairKey]:
    return {pair for pair in pairs if participant_id not in pair}


class Epoch:
    """The bookkeeping of one epoch. It decides when; the call does what follows."""

    def __init__(
        self,
        *,
        number: int,
        from_mode: Mode | None,
        to_mode: Mode,
        reason: SwitchReason,
        offerer: str | None,
        participants: Iterable[str],
        away: Iterable[str],  # participants whose connection is cut
        old_path: set[PairKey],  # the pairs that play on the old path
        now: float,
        timeout_s: float,
        linger_s: float,
    ) -> None:
        self.number = number
        self.from_mode = from_mode
        self.to_mode = to_mode
        self.reason = reason
        self.offerer = offerer
        self.began_at = now
        self.deadline = now + timeout_s
        self.linger_s = linger_s
        self.committed_at: float | None = None
        self.state = State.PREPARING
        self.members = set(participants)
        self.old_path = old_path & pairs_of(self.members)
        self.swapped: set[PairKey] = set()
        self.disturbed = False  # to P2P: a connection was cut, so no swap in time says nothing of the path
        self._holding = pairs_of(self.members)
        for participant_id in away:
            self.waive(participant_id)

    @property
    def preparing(self) -> bool:
        return self.state is State.PREPARING

    @property
    def lingering(self) -> bool:
        """Committed, and the old path is still up."""
        return self.state is State.COMMITTED

    @property
    def complete(self) -> bool:
        """Every pair that holds the commit has swapped."""
        return self._holding <= self.swapped

    @property
    def stragglers(self) -> set[PairKey]:
        """Pairs that still need the old path."""
        return self.old_path - self.swapped

    def swap(self, receiver: str, sender: str) -> bool:
        """`receiver` plays `sender` from the new path; False if that is no pair of this epoch, or no news."""
        pair = (receiver, sender)
        unknown = receiver == sender or not {receiver, sender} <= self.members
        if unknown or pair in self.swapped or self.state not in (State.PREPARING, State.COMMITTED):
            return False
        self.swapped.add(pair)
        return True

    def unswap(self, participant_id: str, *, receiving: bool) -> None:
        """The new path broke for one participant before the commit: its pairs are back on the old one."""
        if self.preparing:
            self.swapped = {p for p in self.swapped if p[0 if receiving else 1] != participant_id}

    def join(self, participant_id: str) -> None:
        """A newcomer has no old path to leave, so its pairs may swap but hold nothing up."""
        self.members.add(participant_id)

    def leave(self, participant_id: str) -> None:
        self.members.discard(participant_id)
        self._holding = _without(participant_id, self._holding)
        self.old_path = _without(participant_id, self.old_path)
        self.swapped = _without(participant_id, self.swapped)

    def waive(self, participant_id: str) -> None:
        """Its connection is cut: it can't report, so on the way to the SFU the others don't wait for it.

        P2P is made of its signals, so there is nothing to commit without it.
        """
        if self.to_mode == "p2p":
            self.disturbed = True
        else:
            self._holding = _without(participant_id, self._holding)

    def commit(self, now: float) -> bool:
        if not self._step("commit"):
            return False
        self.committed_at = now
        return True

    def abort(self) -> bool:
        return self._step("abort")

    def release(self) -> bool:
        return self._step("release")

    @property
    def release_at(self) -> float | None:
        """When the old path may go; None while a straggler needs it, or none of this applies."""
        if self.committed_at is None or not self.lingering or self.stragglers:
            return None
        # With nobody left who shared the old path, there is nothing to wait for.
        return self.committed_at + (self.linger_s if self.old_path else 0.0)

    def _step(self, event: str) -> bool:
        target = TRANSITIONS.get((self.state, event))
        if target is None:
            return False
        self.state = target
        return True
