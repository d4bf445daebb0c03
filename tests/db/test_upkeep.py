"""Each invariant finds the row that breaks it, and only that; what can be mended is."""

from __future__ import annotations

import pytest
import trio

from server.db import upkeep
from server.db.changes import (
    CallCreated,
    CallEnded,
    CallMetricsUpdate,
    ParticipantJoined,
    ParticipantMedia,
    SfuIds,
    SwitchedToP2p,
    SwitchedToSfu,
)
from server.db.invariants import INVARIANTS
from server.db.pool import Database
from server.db.queries import call_by_id, switch_to_sfu
from server.db.queries.switches import Transition
from server.db.startup import register_instance
from server.db.upkeep import cleanup, verify
from server.db.writes import apply_change
from tests.harness.postgres import psql

T0 = 1_760_000_000.0

# A call in P2P mode of two users, and one that is over; both as the documents' applications write them.
GOOD = """
INSERT INTO users (id) VALUES ('u1'), ('u2'); INSERT INTO chat_rooms (id) VALUES ('r');
INSERT INTO anonymous_participants (id) VALUES ('g');
INSERT INTO call_sessions (id, "roomId", "callType", status, "startedAt", "endedAt", duration) VALUES
    ('open', 'r', 'VIDEO', 'ACTIVE', '2025-01-01 10:00Z', NULL, NULL),
    ('over', 'r', 'VIDEO', 'ENDED', '2025-01-01 10:00Z', '2025-01-01 10:02Z', 120);
INSERT INTO call_participants (id, "callSessionId", "userId", "joinedAt", "leftAt", status, "hadVideo")
VALUES
    ('p1', 'open', 'u1', '2025-01-01 10:00Z', NULL, 'connected', true),
    ('p2', 'open', 'u2', '2025-01-01 10:00Z', NULL, 'connected', true),
    ('q1', 'over', 'u1', '2025-01-01 10:00Z', '2025-01-01 10:02Z', 'left', true);
INSERT INTO call_metrics (id, "callSessionId", "updatedAt") VALUES ('m', 'open', now());
INSERT INTO call_recordings (id, "callSessionId", status) VALUES ('rec', 'over', 'processing');
INSERT INTO call_transcriptions (id, "callSessionId", "participantId", text, "startedAt", "endedAt")
    VALUES ('said', 'over', 'q1', 'hello', '2025-01-01 10:01Z', '2025-01-01 10:01:01Z');
SELECT call_analytics_refresh('over'); UPDATE call_analytics SET id = 'sum';
"""
CALL, PEOPLE, METRICS = "UPDATE call_sessions SET", "UPDATE call_participants SET", "UPDATE call_metrics SET"
SUM, RECORDING, SAID = (
    "UPDATE call_analytics SET",
    "UPDATE call_recordings SET",
    "UPDATE call_transcriptions SET",
)
STRANGER = "SET session_replication_role = replica;"  # foreign keys sleep

# invariant: (how to break it, the row that breaks it)
BROKEN = {
    "participant_without_call": (f"{STRANGER} {PEOPLE} \"callSessionId\" = 'x' WHERE id = 'p2'", "p2"),
    "metrics_without_call": (f"{STRANGER} {METRICS} \"callSessionId\" = 'x'", "m"),
    "active_call_without_start": (f"{CALL} \"startedAt\" = NULL WHERE id = 'open'", "open"),
    "over_without_end": (f"{CALL} \"endedAt\" = NULL WHERE id = 'over'", "over"),
    "open_call_with_end": (f"{CALL} \"endReason\" = 'why' WHERE id = 'open'", "open"),
    "end_before_start": (f"{CALL} \"endedAt\" = '2025-01-01 09:00Z' WHERE id = 'over'", "over"),
    "wrong_duration": (f"{CALL} duration = 118 WHERE id = 'over'", "over"),
    "open_call_without_server": (f"{CALL} \"serverInstanceId\" = 'gone' WHERE id = 'open'", "open"),
    "p2p_call_with_sfu_data": (f"{CALL} \"sfuRoomId\" = 'x' WHERE id = 'open'", "open"),
    "p2p_participant_with_sfu_data": (f"{PEOPLE} \"sfuScreenProducerId\" = 'x' WHERE id = 'p1'", "p1"),
    "sfu_call_without_router": (f"{CALL} mode = 'sfu' WHERE id = 'open'", "open"),
    "last_mode_change": (f"{CALL} \"modeChangeCount\" = 1 WHERE id = 'open'", "open"),
    "transitions_counted": (
        f"""INSERT INTO server_instances VALUES ('s', 'n', now(), now());
            {CALL} "serverInstanceId" = 's' WHERE id = 'open';
            {METRICS} "modeTransitions" = '[{{"from": "p2p", "to": "sfu", "timestamp": "t", "epoch": 1}}]'""",
        "open",
    ),
    "transitions_shape": (f"{METRICS} \"modeTransitions\" = '[{{\"from\": \"p2p\", \"to\": \"p2p\"}}]'", "m"),
    "transition_doubled": (
        f"""{METRICS} "modeTransitions" = jsonb_build_array(e, e)
              FROM (SELECT '{{"from": "p2p", "to": "sfu", "timestamp": "t", "epoch": 1}}'::jsonb) AS v (e)""",
        "m",
    ),
    "metrics_out_of_range": (f'{METRICS} "avgPacketLoss" = 1.5', "m"),
    "in_call_that_is_over": (f"{PEOPLE} \"leftAt\" = NULL WHERE id = 'q1'", "q1"),
    "left_or_not": (f"{PEOPLE} status = 'left' WHERE id = 'p1'", "p1"),
    "left_before_joining": (f"{PEOPLE} \"leftAt\" = '2025-01-01 09:00Z' WHERE id = 'q1'", "q1"),
    "unknown_participant_status": (f"{PEOPLE} status = 'there' WHERE id = 'p1'", "p1"),
    "mute_not_remembered": (
        f"""INSERT INTO server_instances VALUES ('s', 'n', now(), now());
            {CALL} "serverInstanceId" = 's' WHERE id = 'over';
            {PEOPLE} "audioEnabled" = false WHERE id = 'q1'""",
        "q1",
    ),
    "two_people_in_one": (f"{PEOPLE} \"anonymousUserId\" = 'g' WHERE id = 'p1'", "p1"),
    "analytics_without_call": (f"{STRANGER} {SUM} \"callSessionId\" = 'x'", "sum"),
    "recording_without_call": (f"{STRANGER} {RECORDING} \"callSessionId\" = 'x'", "rec"),
    "transcription_without_call": (f"{STRANGER} {SAID} \"callSessionId\" = 'x'", "said"),
    "negative_absence": (f'{PEOPLE} "awaySeconds" = -1 WHERE id = \'q1\'', "q1"),
    "analytics_missing": (
        f"""INSERT INTO server_instances VALUES ('s', 'n', now(), now());
            {CALL} "serverInstanceId" = 's' WHERE id = 'over'; DELETE FROM call_analytics""",
        "over",
    ),
    "analytics_of_open_call": (f"{SUM} \"callSessionId\" = 'open'", "sum"),
    "analytics_do_not_add_up": (f'{SUM} "sfuSeconds" = 3', "sum"),
    "recording_left_running": (f"{RECORDING} status = 'recording'", "rec"),
    "recording_and_file": (f"{RECORDING} \"fileKey\" = 'key'", "rec"),
    "transcription_of_a_stranger": (f"{SAID} \"participantId\" = 'p1'", "said"),
    "transcription_out_of_range": (f"{SAID} confidence = 1.1", "said"),
    "alias_of_itself": ("INSERT INTO participant_aliases VALUES ('p1', 'p2')", "p1"),
}  # fmt: skip


@pytest.mark.parametrize("one", INVARIANTS, ids=lambda one: one.name)
async def test_each_invariant(db: Database, url: str, one: upkeep.Invariant) -> None:
    statement, row = BROKEN[one.name]
    psql(url, GOOD)
    assert await verify(db) == []
    psql(url, statement)
    [finding] = await verify(db)
    assert (finding.name, finding.count, finding.examples) == (one.name, 1, [row])
    [mended] = await cleanup(db)
    if one.mend is None:
        assert (mended.mendable, mended.mended) == (False, 0)
        assert await verify(db) == [finding]
        assert "cleanup" not in one.advice
    else:
        assert (mended.mendable, mended.mended) == (True, 1)
        assert await verify(db) == []


def test_every_invariant_is_broken_once_here() -> None:
    assert sorted(BROKEN) == sorted(one.name for one in INVARIANTS)


async def test_what_mending_writes(db: Database, url: str) -> None:
    psql(url, GOOD)
    psql(url, f"{CALL} \"endedAt\" = NULL, duration = NULL WHERE id = 'over'")
    psql(url, f"""{PEOPLE} "leftAt" = '2025-01-01 10:01:30.5Z' WHERE id = 'q1'""")
    psql(url, "INSERT INTO call_participants (id, \"callSessionId\", \"userId\", \"joinedAt\")"
              " VALUES ('q2', 'over', 'u2', '2025-01-01 10:00:10Z')")  # fmt: skip
    psql(url, f"""{CALL} mode = 'p2p', "sfuRoomId" = 'x', "sfuRtpCapabilities" = '{{}}' WHERE id = 'open'""")
    await cleanup(db)
    call = await db.run(call_by_id, "over")
    assert call is not None
    assert (call["endedAt"].isoformat(), call["duration"]) == ("2025-01-01T10:01:30.500000+00:00", 90)
    assert [(p["id"], p["status"], p["leftAt"]) for p in call["participants"]] == [
        ("q1", "left", call["endedAt"]),
        ("q2", "left", call["endedAt"]),
    ]
    still = await db.run(call_by_id, "open")
    assert still is not None
    assert (still["sfuRoomId"], still["sfuRtpCapabilities"]) == (None, None)
    assert await verify(db) == []


async def test_more_rows_than_a_batch(db: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 10)
    psql(url, GOOD)
    psql(
        url,
        """INSERT INTO call_sessions (id, "roomId", "callType", status, "sfuRoomId")
           SELECT 'c' || n, 'r', 'AUDIO', 'ACTIVE', 'x' FROM generate_series(1, 35) AS n""",
    )
    [finding] = await verify(db)
    assert (finding.count, len(finding.examples)) == (35, upkeep.EXAMPLES)
    [mended] = await cleanup(db)
    assert mended.mended == 35


async def until_some(url: str, rows: str) -> None:
    with trio.fail_after(5):
        while psql(url, f"SELECT count(*) FROM {rows}") == "0":  # noqa: ASYNC110 - another process
            await trio.sleep(0.01)


async def test_a_switch_during_a_cleanup_keeps_its_ids(db: Database, url: str) -> None:
    """The participant has SFU data when the cleanup finds it; by the time that it may write, rightly so."""
    psql(url, GOOD)
    psql(url, f"{PEOPLE} \"sfuSendTransportId\" = 'stale' WHERE id = 'p1'")
    ids = [SfuIds(participant_id="p1", send_transport_id="new", recv_transport_id="r")]

    async def switch() -> None:
        await db.run(
            switch_to_sfu, "open", sfu_room_id="x", sfu_rtp_capabilities={}, participants=ids,
            transition=Transition(reason="requested"), at=T0,
        )  # fmt: skip

    async with trio.open_nursery() as nursery:
        blocker = await trio.lowlevel.open_process(
            ["psql", "-XAtq", url, "-c", "BEGIN; SELECT FROM call_sessions FOR UPDATE; SELECT pg_sleep(0.5)"]
        )
        await until_some(url, "pg_stat_activity WHERE wait_event = 'PgSleep'")
        nursery.start_soon(switch)  # queues for the call's row before the cleanup does
        await until_some(url, "pg_locks WHERE NOT granted")
        await cleanup(db)
        await blocker.wait()
    row = psql(url, "SELECT \"sfuSendTransportId\" FROM call_participants WHERE id = 'p1'")
    assert row == "new"
    assert await verify(db) == []


async def test_what_tandem_writes_is_clean_at_every_moment(db: Database) -> None:
    await db.run(register_instance, "s", "node", at=T0 + 10**9)
    person = {"call_id": "c", "role": "participant", "audio_enabled": True, "video_enabled": True}
    ids = [SfuIds(participant_id="p1", send_transport_id="s", recv_transport_id="r", audio_producer_id="a")]
    story = [
        CallCreated(at=T0, call_id="c", room_id="r", call_type="VIDEO", status="INITIATED", mode="p2p",
                    initiator_id="u1"),
        ParticipantJoined(at=T0, participant_id="p1", user_id="u1", anonymous_id=None, name="A", **person),
        ParticipantJoined(at=T0, participant_id="p2", user_id=None, anonymous_id="g", name="G", **person),
        ParticipantMedia(at=T0 + 1, participant_id="p2", audio_enabled=False, video_enabled=False),
        SwitchedToSfu(at=T0 + 2, call_id="c", epoch=1, reason="requested", duration=1.0, sfu_room_id="x",
                      sfu_rtp_capabilities={}, participants=ids),
        SwitchedToP2p(at=T0 + 3, call_id="c", epoch=2, reason="requested", duration=1.0),
        CallMetricsUpdate(at=T0 + 4, call_id="c", avg_packet_loss=0.1, peak_participants=2),
        CallEnded(at=T0 + 4.5, call_id="c", status="ENDED", reason="hangup", ended_by="u1"),
    ]  # fmt: skip
    for change in story:
        await db.run(apply_change, change, "s")
        assert await verify(db) == [], change
