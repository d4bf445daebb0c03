"""Who came, changed and went in a large call, in the form that each client knows (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Iterable

from server.rooms.session import Encoded, Session
from server.signaling import messages as m

TOGETHER = "participants.changed"  # the feature, and the notification


def announce(changed: m.ParticipantsChanged, to: Iterable[tuple[str, Session]]) -> None:
    """`to` are sessions with their participant ids. One message each, the same for all; those who know only
    the single ones get these, save what is about themselves."""
    together = Encoded(changed)
    singly: list[tuple[str, str, Encoded]] | None = None
    for participant_id, session in to:
        if TOGETHER in session.features:
            session.notify(TOGETHER, together)
            continue
        if singly is None:
            singly = one_by_one(changed)
        for about, method, params in singly:
            if about != participant_id:
                session.notify(method, params)


def one_by_one(changed: m.ParticipantsChanged) -> list[tuple[str, str, Encoded]]:
    """Of whom, which notification, its parameters."""
    return [
        *((one.participant_id, "participant.left", Encoded(one)) for one in changed.left),
        *(_event("participant.joined", one) for one in changed.joined),
        *(_event("participant.updated", one) for one in changed.updated),
    ]


def _event(method: str, one: m.ParticipantInfo) -> tuple[str, str, Encoded]:
    return one.participant_id, method, Encoded(m.ParticipantEvent(one))
