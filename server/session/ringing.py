"""Whom a call rings, and who has answered or declined."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from server.session.effects import Effect, NotifyUser
from server.signaling.messages import Cancelled, Incoming


class _Invitee(Enum):
    RINGS = auto()
    ANSWERED = auto()
    REJECTED = auto()
    MISSED = auto()


class Ringing:
    """`until` is None when nobody is rung (any more)."""

    def __init__(
        self, incoming: Incoming, *, invite: list[str], until: float, emit: Callable[[Effect], None]
    ) -> None:
        self.incoming = incoming
        self.until: float | None = until if invite else None  # Unix seconds
        self._emit = emit
        self._invitees = dict.fromkeys(invite, _Invitee.RINGS)
        for user_id in self._invitees:
            emit(NotifyUser(user_id, "call.incoming", incoming))

    def rings(self, user_id: str) -> bool:
        return self._invitees.get(user_id) is _Invitee.RINGS

    def still(self) -> list[str]:
        return [user_id for user_id in self._invitees if self.rings(user_id)]

    def invited(self, user_id: str) -> bool:
        return user_id in self._invitees

    @property
    def all_rejected(self) -> bool:
        return bool(self._invitees) and all(one is _Invitee.REJECTED for one in self._invitees.values())

    def answered(self, user_id: str | None, session_id: str) -> None:
        """The user is in the call by this session; its other devices stop ringing."""
        if user_id is not None and self.rings(user_id):
            self._silence(user_id, _Invitee.ANSWERED, "answered_elsewhere", session_id)

    def rejected(self, user_id: str, session_id: str) -> None:
        self._silence(user_id, _Invitee.REJECTED, "cancelled", session_id)

    def stop(self, reason: str) -> None:
        """Nobody rings any more."""
        for user_id in self.still():
            self._silence(user_id, _Invitee.MISSED, reason, None)
        self.until = None

    def _silence(self, user_id: str, outcome: _Invitee, reason: str, but: str | None) -> None:
        self._invitees[user_id] = outcome
        self._emit(NotifyUser(user_id, "call.cancelled", Cancelled(self.incoming.call_id, reason), but))
        if not any(one is _Invitee.RINGS for one in self._invitees.values()):
            self.until = None
