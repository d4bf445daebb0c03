"""Which changes of a batch may be written together, and in what order.

People come and go at the same time in many calls, and a statement costs far more than a row of it. So
changes of one kind are drawn together, past others that they have nothing to do with. What has to do with
one another keeps its order: the rows are what they would be one by one.

In one stream a person keeps the participant id in a call, whoever often comes again (`session.participants`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from server.db.changes import (
    CallCreated,
    CallMetricsUpdate,
    CallStarted,
    CaptionSaid,
    Change,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantMedia,
    ParticipantQuality,
    ParticipantSfu,
    ParticipantStatusChanged,
    TransitionGaps,
    UserSeen,
)

Touched = tuple[tuple[str, ...], tuple[str, ...]]  # ids whose rows it changes, and whose it only goes by


def _participant(change: Any) -> Touched:
    return (change.participant_id,), ()


def _call(change: Any) -> Touched:
    return (change.call_id,), ()


def _joined(change: ParticipantJoined) -> Touched:
    person = change.user_id or change.anonymous_id or change.participant_id
    return (change.participant_id, person), (change.call_id,)


# The others stay where they are: a call that ends or switches is about everybody in it, and a guest's new
# name about that guest in every call.
_TOUCHED: dict[type[Change], Callable[[Any], Touched]] = {
    UserSeen: lambda change: ((change.user_id,), ()),
    CallCreated: lambda change: ((change.call_id,), (change.initiator_id or "",)),
    CallStarted: _call,
    CallMetricsUpdate: _call,
    TransitionGaps: _call,
    ParticipantJoined: _joined,
    ParticipantLeft: _participant,
    ParticipantMedia: _participant,
    ParticipantQuality: _participant,
    ParticipantStatusChanged: _participant,
    ParticipantSfu: lambda change: ((change.ids.participant_id,), (change.call_id,)),
    CaptionSaid: lambda change: ((change.transcription_id,), (change.participant_id, change.call_id)),
}
_LAST_COUNTS = ParticipantQuality  # of these one may say several of the same, the last of which counts


def arranged(changes: Sequence[Change]) -> list[list[Change]]:
    """Runs of one kind. But for those of which the last counts, no two of a run touch the same row."""
    runs: list[list[Change]] = []
    wrote: dict[str, int] = {}  # id -> the last run that changes its row
    read: dict[str, int] = {}  # … that goes by it
    fixed = -1  # the last run that nothing may pass
    for change in changes:
        kind = type(change)
        touched = _TOUCHED.get(kind)
        if touched is None:
            fixed = len(runs)
            runs.append([change])
            continue
        writes, reads = touched(change)
        after = fixed
        for one in writes:
            after = max(after, wrote.get(one, -1), read.get(one, -1))
        for one in reads:
            after = max(after, wrote.get(one, -1))
        first = after if kind is _LAST_COUNTS and after > fixed else after + 1
        place = next((n for n in range(first, len(runs)) if type(runs[n][0]) is kind), len(runs))
        if place == len(runs):
            runs.append([])
        runs[place].append(change)
        wrote.update((one, place) for one in writes)
        read.update((one, max(place, read.get(one, -1))) for one in reads)
    return runs
