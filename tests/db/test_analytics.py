"""A call's summary: made once when the call ends, from its rows, and the same when made anew."""

from __future__ import annotations

from typing import Any

import pytest

from server.db import backfill as backfill_module
from server.db.backfill import Progress, backfill
from server.db.changes import (
    AnyChange,
    CallCreated,
    CallEnded,
    CallMetricsUpdate,
    ParticipantJoined,
    ParticipantLeft,
    SfuIds,
    SwitchedToP2p,
    SwitchedToSfu,
    TransitionGaps,
)
from server.db.connection import Connection
from server.db.pool import Database
from server.db.queries import (
    analytics_summary,
    call_analytics,
    create_call_session,
    end_call,
    refresh_call_analytics,
)
from server.db.startup import close_interrupted, register_instance
from server.db.upkeep import verify
from server.db.writes import apply_change
from tests.harness.postgres import psql

T0 = 1_760_000_000.0


def joined(name: str, at: float, participant: str | None = None) -> ParticipantJoined:
    return ParticipantJoined(
        at=T0 + at,
        participant_id=participant or f"p-{name}",
        call_id="c",
        user_id=name,
        anonymous_id=None,
        name=name,
        role="participant",
        audio_enabled=True,
        video_enabled=True,
    )


def left(participant: str, at: float) -> ParticipantLeft:
    return ParticipantLeft(at=T0 + at, participant_id=participant, reason="left")


CREATED = CallCreated(
    at=T0, call_id="c", room_id="r", call_type="VIDEO", status="ACTIVE", mode="p2p", initiator_id="ann"
)
IDS = SfuIds(participant_id="p-ann", send_transport_id="s", recv_transport_id="t")
TO_SFU = SwitchedToSfu(
    at=T0 + 20,
    call_id="c",
    epoch=1,
    reason="participant_joined",
    duration=1.0,
    sfu_room_id="router",
    sfu_rtp_capabilities={},
    participants=[IDS],
)
TO_P2P = SwitchedToP2p(at=T0 + 70, call_id="c", epoch=2, reason="participant_left", duration=2.0)
ENDED = CallEnded(at=T0 + 100, call_id="c", status="ENDED", reason="ended", ended_by="ann")


def a_call(participant: str = "p-ben2") -> list[AnyChange]:
    """Ben comes twice, by default under another id, as after a crash of the server."""
    return [
        CREATED,
        joined("ann", 0),
        joined("ben", 10),
        joined("cem", 20),
        TO_SFU,
        TransitionGaps(at=T0 + 21, call_id="c", epoch=1, max_video_gap_ms=40.0, max_audio_gap_ms=None),
        left("p-cem", 50),
        left("p-ben", 55),
        joined("ben", 65, participant),  # away for ten seconds
        TO_P2P,
        CallMetricsUpdate(
            at=T0 + 100,
            call_id="c",
            avg_packet_loss=0.01,
            avg_jitter=5.0,
            avg_rtt=60.0,
            peak_participants=3,
            total_participants=3,
            reconnections=2,
        ),
        ENDED,
    ]


A_CALL = a_call()
SUMMARY = {
    "callSessionId": "c",
    "outcome": "completed",
    "answerSeconds": 0.0,
    "totalParticipants": 3,
    "peakParticipants": 3,
    "joins": 4,
    "reconnections": 2,
    "participantSeconds": 100.0 + (90.0 - 10.0) + 30.0,
    "p2pSeconds": 50.0,
    "sfuSeconds": 50.0,
    "modeChanges": 2,
    "avgSwitchSeconds": 1.5,
    "maxVideoGapMs": 40.0,
    "maxAudioGapMs": None,
}


async def play(connection: Connection, changes: list[AnyChange]) -> None:
    for change in changes:
        await apply_change(connection, change, "server")


async def summary(db: Database, call: str = "c") -> dict[str, Any]:
    found = await db.run(call_analytics, call)
    assert found is not None
    return found


@pytest.mark.parametrize(("together", "participant"), [(True, "p-ben"), (False, "p-ben"), (True, "p-ben2")])
async def test_the_summary_of_a_call(db: Database, together: bool, participant: str) -> None:
    """In one transaction, as the recorder writes what had to wait, or each fact in its own."""
    call = a_call(participant)
    for batch in [call] if together else [[one] for one in call]:
        assert await db.run(call_analytics, "c") is None
        await db.run(play, batch)
    found = await summary(db)
    # R = 93.2 - (60 / 2 + 2 * 5 + 10) / 40 - 2.5 per cent of loss
    r = 93.2 - 50 / 40 - 2.5
    assert found["qualityScore"] == pytest.approx(1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r))
    assert {name: found[name] for name in SUMMARY} == SUMMARY
    assert await verify(db) == []
    again = await db.run(refresh_call_analytics, "c")
    assert again is not None
    assert {**again, "updatedAt": None} == {**found, "updatedAt": None}


async def test_what_is_said_twice_is_summed_up_once(db: Database) -> None:
    await db.run(play, [*A_CALL, ENDED])
    await db.run(play, [ENDED])
    assert await db.run(_rows) == 1
    assert {name: (await summary(db))[name] for name in SUMMARY} == SUMMARY


async def _rows(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM call_analytics"))


async def test_a_call_that_goes_on_after_a_crash_has_no_summary_until_it_ends(db: Database) -> None:
    await db.run(register_instance, "server", "node", at=T0)
    await db.run(play, A_CALL[:-2])
    await db.run(close_interrupted, "next", "node", at=T0 + 90)
    found = await summary(db)
    assert (found["outcome"], found["p2pSeconds"], found["sfuSeconds"]) == ("failed", 20.0, 50.0)
    assert found["peakParticipants"] == 3  # from the rows: the server's own count went with it
    await db.run(play, [CREATED])  # its people came back
    assert await db.run(call_analytics, "c") is None
    await db.run(play, A_CALL[-2:])
    found = await summary(db)
    assert (found["outcome"], found["p2pSeconds"], found["sfuSeconds"]) == ("completed", 50.0, 50.0)


@pytest.mark.parametrize(
    ("status", "reason", "people", "outcome"),
    [
        ("ENDED", "ended", 2, "completed"),
        ("ENDED", "empty", 1, "alone"),
        ("ENDED", "server_error", 2, "failed"),
        ("MISSED", "ring_timeout", 1, "unanswered"),
        ("REJECTED", "rejected", 1, "rejected"),
    ],
)
async def test_outcomes(db: Database, status: Any, reason: str, people: int, outcome: str) -> None:
    first = "ACTIVE" if status == "ENDED" else "INITIATED"
    await db.run(create_call_session, "c", room_id="r", call_type="AUDIO", at=T0, status=first)  # type: ignore[arg-type]
    await db.run(play, [joined(name, 1) for name in ("ann", "ben")[:people]])
    await db.run(end_call, "c", at=T0 + 30, status=status, reason=reason)
    found = await summary(db)
    assert found["outcome"] == outcome
    assert found["p2pSeconds"] == (30.0 if status == "ENDED" else 0.0)
    assert (found["answerSeconds"] is None) == (status != "ENDED")
    assert found["qualityScore"] is None


NONSENSE = """[1, null, {"to": "sfu"},
  {"from": "p2p", "to": "sfu", "timestamp": "yesterday-ish", "duration": "1"},
  {"from": "p2p", "to": "sfu", "timestamp": "1990-01-01T00:00:00Z", "maxVideoGapMs": "x"}]"""


@pytest.mark.parametrize("transitions", [NONSENSE, "{}", '"text"', "null"])
async def test_what_other_applications_write_does_not_keep_a_call_from_ending(
    db: Database, url: str, transitions: str
) -> None:
    await db.run(play, A_CALL[:3])
    psql(
        url,
        f"""INSERT INTO call_metrics (id, "callSessionId", "modeTransitions", "updatedAt")
            VALUES ('m', 'c', '{transitions}', now())""",
    )
    assert await db.run(end_call, "c", at=T0 + 100)
    found = await summary(db)
    assert found["p2pSeconds"] + found["sfuSeconds"] == 100.0
    assert found["peakParticipants"] == 2


async def test_applications_calls_are_summed_up_too(db: Database, url: str) -> None:
    """As the first document updates them: the call first, and who was in it afterwards or never."""
    psql(
        url,
        """
        INSERT INTO chat_rooms (id) VALUES ('r'); INSERT INTO users (id) VALUES ('u'), ('v');
        INSERT INTO call_sessions (id, "roomId", "callType", status, "startedAt")
            VALUES ('app', 'r', 'VIDEO', 'ACTIVE', '2025-01-01 10:00Z');
        INSERT INTO call_participants (id, "callSessionId", "userId", "joinedAt") VALUES
            ('p', 'app', 'u', '2025-01-01 10:00Z'), ('q', 'app', 'v', '2025-01-01 10:01Z');
        UPDATE call_sessions SET status = 'ENDED', "endedAt" = '2025-01-01 10:02Z', duration = 120;
        """,
    )
    found = await summary(db, "app")
    assert (found["participantSeconds"], found["p2pSeconds"], found["peakParticipants"]) == (180.0, 120.0, 2)
    psql(url, "DELETE FROM call_sessions")
    assert await db.run(_rows) == 0


async def test_backfill_sums_up_what_was_over_before(
    db: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_module, "SUMS", 2)
    psql(
        url,
        """
        INSERT INTO chat_rooms (id) VALUES ('r');
        INSERT INTO call_sessions (id, "roomId", "callType", status, "startedAt", "endedAt", "createdAt")
        SELECT 'c' || n, 'r', 'VIDEO', CASE n WHEN 0 THEN 'ACTIVE' ELSE 'ENDED' END::"CallStatus",
               '2025-01-01 10:00Z', CASE n WHEN 0 THEN NULL ELSE '2025-01-01 10:02Z'::timestamptz END,
               '2025-01-01 10:00Z' FROM generate_series(0, 5) AS n;
        """,
    )
    await backfill(db)
    assert await db.run(_rows) == 5
    psql(url, 'UPDATE call_analytics SET "p2pSeconds" = 1')
    assert [one.table for one in await backfill(db)] == []
    steps: list[Progress] = []
    [done] = await backfill(db, steps.append, recompute=True)
    assert done == Progress("call_analytics", 5, 5, 5)
    assert [one.done for one in steps] == [2, 4, 5]
    assert psql(url, 'SELECT sum("p2pSeconds") FROM call_analytics') == "600"


async def test_many_calls_add_up(db: Database) -> None:
    await db.run(play, A_CALL)
    await db.run(create_call_session, "missed", room_id="r", call_type="AUDIO", at=T0 + 5)
    await db.run(end_call, "missed", at=T0 + 35, status="MISSED")
    await db.run(create_call_session, "else", room_id="x", call_type="AUDIO", at=T0 + 6)
    await db.run(end_call, "else", at=T0 + 36, status="REJECTED")
    found = await db.run(analytics_summary, T0, T0 + 5, room_id="r")
    assert found["outcomes"] == {"completed": 1, "unanswered": 1}
    assert (found["calls"], found["participants"], found["joins"]) == (2, 3, 4)
    assert (found["callSeconds"], found["p2pSeconds"], found["sfuSeconds"]) == (100.0, 50.0, 50.0)
    assert (found["avgCallSeconds"], found["avgSwitchSeconds"], found["maxVideoGapMs"]) == (100.0, 1.5, 40.0)
    assert (await db.run(analytics_summary, T0, T0 + 60))["calls"] == 3
    nothing = await db.run(analytics_summary, T0 - 60, T0 - 1)
    assert (nothing["calls"], nothing["outcomes"], nothing["avgCallSeconds"]) == (0, {}, None)
