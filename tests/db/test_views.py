"""Applications written against the second document's names read and write through the views."""

from __future__ import annotations

import subprocess

import pytest
import trio

from server.db.connection import Connection
from server.db.pool import Database
from server.db.queries import call_analytics, call_by_id
from server.db.upkeep import verify
from tests.harness.postgres import psql

ROWS = """
INSERT INTO users (id, name) VALUES ('u1', 'Ann'), ('u2', 'Ben'); INSERT INTO chat_rooms (id) VALUES ('conv');
INSERT INTO "CallSession" ("_id", "conversationId", "initiatorId", mode, type, status)
    VALUES ('c', 'conv', 'u1', 'p2p', 'video', 'initiated');
INSERT INTO "CallParticipant" ("callSessionId", "userId", status)
    VALUES ('c', 'u1', 'connected'), ('c', 'u2', 'connected');
"""


async def test_a_call_through_the_views(db: Database, url: str) -> None:
    psql(url, ROWS)
    call = await db.run(call_by_id, "c")
    assert call is not None
    assert (call["status"], call["callType"], call["roomId"]) == ("INITIATED", "VIDEO", "conv")
    assert (call["startedAt"], call["modeChangeCount"], call["sfuRoomId"]) == (None, 0, None)
    assert {one["user"]["name"] for one in call["participants"]} == {"Ann", "Ben"}
    started = psql(
        url,
        """UPDATE "CallSession" SET status = 'active' WHERE "_id" = 'c' RETURNING "startedAt" IS NOT NULL""",
    )
    assert started.split()[0] == "t"
    psql(
        url,
        """
        UPDATE "CallSession" SET mode = 'sfu', "sfuRoomId" = 'router',
            "sfuRtpCapabilities" = '{"codecs": []}', "lastModeChange" = now(),
            "modeChangeCount" = "modeChangeCount" + 1 WHERE "_id" = 'c';
        INSERT INTO "CallMetrics" ("callSessionId", "modeTransitions")
            VALUES ('c', '[{"from": "p2p", "to": "sfu", "timestamp": "2025-10-28T10:30:45Z"}]');
        UPDATE "CallParticipant" SET "sfuAudioProducerId" = 'producer' WHERE "userId" = 'u1';
        """,
    )
    active = """SELECT s."_id", p."userId" FROM "CallSession" s
                  JOIN "CallParticipant" p ON p."callSessionId" = s."_id"
                 WHERE s.mode = 'sfu' AND s.status = 'active' AND p."sfuAudioProducerId" = 'producer'"""
    assert psql(url, active) == "c|u1"
    assert await verify(db) == []
    psql(
        url,
        """UPDATE "CallSession" SET status = 'ended', "endedAt" = "startedAt" + interval '60 s',
                 duration = 60 WHERE "_id" = 'c'""",
    )
    summary = await db.run(call_analytics, "c")
    assert summary is not None
    assert summary["p2pSeconds"] + summary["sfuSeconds"] == 60.0
    assert psql(url, 'SELECT outcome FROM "CallAnalytics"') == "completed"
    psql(
        url,
        """
        INSERT INTO "CallTranscription" ("callSessionId", "participantId", text, "startedAt", "endedAt")
            SELECT 'c', "_id", 'hello', now(), now() FROM "CallParticipant" WHERE "userId" = 'u1';
        INSERT INTO "CallRecording" ("callSessionId") VALUES ('c');
        INSERT INTO "AnonymousParticipant" (name) VALUES ('Gus');
        """,
    )
    assert psql(url, 'SELECT text, "isFinal" FROM "CallTranscription"') == "hello|t"
    assert psql(url, 'SELECT status, length("_id") FROM "CallRecording"') == "starting|25"
    psql(url, """DELETE FROM "CallSession" WHERE "_id" = 'c'""")
    for table in ("call_sessions", "call_participants", "call_metrics", "call_transcriptions"):
        assert psql(url, f"SELECT count(*) FROM {table}") == "0"


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE "CallSession" SET status = 'over'""",
        """UPDATE "CallSession" SET mode = 'mesh'""",
        """INSERT INTO "CallSession" ("conversationId", mode, type) VALUES ('nowhere', 'p2p', 'video')""",
        """INSERT INTO "CallSession" (mode, type) VALUES ('p2p', 'video')""",
    ],
)
async def test_what_the_tables_refuse_the_views_refuse(db: Database, url: str, statement: str) -> None:
    psql(url, ROWS)
    with pytest.raises(subprocess.CalledProcessError):
        psql(url, statement)


async def test_who_writes_one_column_leaves_what_others_write_meanwhile(db: Database, url: str) -> None:
    psql(url, ROWS)

    async def first(connection: Connection) -> None:
        await connection.execute(
            """UPDATE "CallSession" SET status = 'active', "modeChangeCount" = "modeChangeCount" + 1"""
        )

    async def second(connection: Connection) -> None:
        await connection.execute(
            """UPDATE "CallSession" SET settings = '{"a": 1}', "modeChangeCount" = "modeChangeCount" + 1"""
        )

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(db.run, first)
            nursery.start_soon(db.run, second)
    found = psql(url, 'SELECT status, settings, "modeChangeCount" FROM call_sessions')
    assert found == 'ACTIVE|{"a": 1}|10'
