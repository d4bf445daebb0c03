"""How the others learn who came, changed and went: at once in a small call, together in a large one.

Each of these concerns everybody. Told one by one, N who join cost N² messages; so in a large call they wait
for a moment, and what has happened meanwhile is one message, the same for all.
"""

from __future__ import annotations

from collections.abc import Callable

from server.session.effects import Effect, Notify, NotifyChanged
from server.session.participants import Participant, Participants
from server.signaling import messages as m

MESSAGES_PER_S = 1000.0  # that one large call spends on one kind of news
MOST = 200  # participants that one message is about


class Pace:
    """How often a call may tell everybody something: in a large one, so that all of it together stays within
    `MESSAGES_PER_S`. After a pause that is at once, in a call of up to `at_once` people always."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._told: float | None = None

    def due(self, people: int, now: float) -> float:
        """From when on (Unix seconds); never before `now`."""
        if people <= self._at_once or self._told is None:
            return now
        pause = people / MESSAGES_PER_S
        # A clock that was set back makes nobody wait for longer.
        return min(max(self._told + pause, now), now + pause)

    def told(self, now: float) -> None:
        self._told = now


class Roster:
    """What of the participants the others do not know yet. Of each only the newest counts."""

    def __init__(self, people: Participants, *, at_once: int, emit: Callable[[Effect], None]) -> None:
        self._people = people
        self._at_once = at_once
        self._emit = emit
        self._pace = Pace(at_once)
        # By participant id, in order. One who left may be among `_joined` too: they came back.
        self._left: dict[str, str] = {}  # with the reason
        self._joined: dict[str, None] = {}
        self._updated: dict[str, None] = {}

    def joined(self, one: Participant) -> None:
        if self._gathers():
            self._joined[one.id] = None
            self._limit()
        else:
            self._tell(one.id, "participant.joined", m.ParticipantEvent(one.info()))

    def updated(self, one: Participant) -> None:
        if not self._gathers():
            self._tell(one.id, "participant.updated", m.ParticipantEvent(one.info()))
        elif one.id not in self._joined:
            self._updated[one.id] = None
            self._limit()

    def left(self, participant_id: str, reason: str) -> None:
        if self._gathers():
            self._left[participant_id] = reason  # whoever has joined meanwhile found them present
            self._limit()
        else:
            self._tell(participant_id, "participant.left", m.ParticipantGone(participant_id, reason))

    def tell(self) -> None:
        """All that waits, now: something else that may name these people is about to be told."""
        if not self.waits:
            return
        changed = m.ParticipantsChanged(
            joined=self._infos(self._joined),
            updated=self._infos(self._updated),
            left=[m.ParticipantGone(one, reason) for one, reason in self._left.items()],
        )
        self._left.clear()
        self._joined.clear()
        self._updated.clear()
        everybody = self._people.ids()
        if everybody:
            self._emit(NotifyChanged(everybody, changed))

    def tick(self, now: float) -> None:
        due = self.next_timeout(now)
        if due is not None and due <= now:
            self._pace.told(now)
            self.tell()

    def next_timeout(self, now: float) -> float | None:
        return self._pace.due(len(self._people), now) if self.waits else None

    @property
    def waits(self) -> bool:
        """There is something that the others do not know."""
        return bool(self._left or self._joined or self._updated)

    def _gathers(self) -> bool:
        """Also while something waits still in a call that has become small: what came first is told first."""
        return len(self._people) > self._at_once or self.waits

    def _limit(self) -> None:
        if len(self._left) + len(self._joined) + len(self._updated) >= MOST:
            self.tell()

    def _infos(self, participant_ids: dict[str, None]) -> list[m.ParticipantInfo]:
        """Of those who are still here."""
        found = [self._people.get(one) for one in participant_ids]
        return [one.info() for one in found if one is not None]

    def _tell(self, but: str, method: str, params: m.Wire) -> None:
        others = self._people.ids(but=but)
        if others:
            self._emit(Notify(others, method, params))
