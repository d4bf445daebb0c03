"""The status table, whole."""

from __future__ import annotations

import pytest

from server.session.lifecycle import END_REASON, TRANSITIONS, Event, Lifecycle

STATUSES = ("INITIATED", "ACTIVE", "ENDED", "MISSED", "REJECTED")


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("event", Event)
def test_every_event_in_every_status(status: str, event: Event) -> None:
    call = Lifecycle(status)  # type: ignore[arg-type]
    target = TRANSITIONS.get((call.status, event))
    assert call.apply(event) is (target is not None)
    assert call.status == (target or status)
    assert call.over == (target in ("ENDED", "MISSED", "REJECTED"))


def test_an_end_is_final() -> None:
    assert not any(status in ("ENDED", "MISSED", "REJECTED") for status, _ in TRANSITIONS)
    ends = {key for key, target in TRANSITIONS.items() if target not in STATUSES[:2]}
    assert ends == set(END_REASON)


@pytest.mark.parametrize(
    ("events", "status", "reason"),
    [
        ([Event.RING_TIMEOUT], "MISSED", "ring_timeout"),
        ([Event.ALL_REJECTED], "REJECTED", "rejected"),
        ([Event.CANCELLED], "MISSED", "cancelled"),
        ([Event.ANSWERED, Event.EMPTIED], "ENDED", "empty"),
        ([Event.ANSWERED, Event.RING_TIMEOUT, Event.ALL_REJECTED, Event.ENDED], "ENDED", "ended"),
        ([Event.ANSWERED, Event.ENDED, Event.SERVER_ERROR], "ENDED", "ended"),
        ([Event.SERVER_SHUTDOWN], "ENDED", "server_shutdown"),
    ],
)
def test_ways_of_a_call(events: list[Event], status: str, reason: str) -> None:
    call = Lifecycle("INITIATED")
    for event in events:
        call.apply(event)
    assert (call.status, call.end_reason) == (status, reason)
