from __future__ import annotations

import json

import msgspec
import pytest

from server.db.persons import Erased, InCall, Kind, erase_person, export_person
from server.db.pool import Database
from server.db.upkeep import verify
from tests.harness.postgres import psql

NOW = 1_760_000_000.0
ROWS = """
INSERT INTO users (id, name, avatar) VALUES ('ann', 'Ann Secret', 'a.png'), ('ben', 'Ben Other', NULL);
INSERT INTO anonymous_participants (id, name) VALUES ('guest', 'Gus Secret');
INSERT INTO chat_rooms (id) VALUES ('r');
INSERT INTO call_sessions (id, "roomId", "callType", status, "startedAt", "endedAt", duration, "initiatorId",
                           "endedBy")
VALUES ('c', 'r', 'VIDEO', 'ENDED', '2025-01-01 10:00Z', '2025-01-01 10:02Z', 120, 'ann', 'ann'),
       ('d', 'r', 'VIDEO', 'ENDED', '2025-01-02 10:00Z', '2025-01-02 10:02Z', 120, 'ben', 'ben');
INSERT INTO call_participants (id, "callSessionId", "userId", "anonymousUserId", "joinedAt", "leftAt", status,
                               "deviceInfo", "qualityMetrics", "hadVideo")
SELECT p, c, u, g, '2025-01-01 10:00Z', '2025-01-03 10:00Z', 'left', '{"browser": "B"}', '{"rttMs": 5}', true
  FROM (VALUES ('p1', 'c', 'ann', NULL), ('p2', 'c', 'ben', NULL), ('p3', 'c', NULL, 'guest'),
               ('p4', 'd', 'ann', NULL)) AS v (p, c, u, g);
INSERT INTO call_metrics (id, "callSessionId", "avgRtt", "updatedAt") VALUES ('m', 'c', 5, now());
INSERT INTO call_transcriptions (id, "callSessionId", "participantId", text, "startedAt", "endedAt")
SELECT 't' || p, 'c', p, 'words of ' || p, now(), now() FROM (VALUES ('p1'), ('p2'), ('p3')) AS v (p);
INSERT INTO call_recordings (id, "callSessionId", status, "fileKey", "startedBy", "stoppedBy")
    VALUES ('rc', 'c', 'ready', 'file', 'ann', 'ben'), ('rd', 'd', 'failed', NULL, 'ben', 'ann');
"""


def everything(url: str) -> str:
    """Every row of every table as text."""
    tables = psql(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'").split()
    return "\n".join(psql(url, f"SELECT t::text FROM {table} AS t") for table in tables)


async def test_an_export_holds_all_and_nothing_of_others(db: Database, url: str) -> None:
    psql(url, ROWS)
    held = await db.run(export_person, "ann", "user")
    text = msgspec.json.encode(held).decode()
    data = json.loads(text)
    assert data["user"]["name"] == "Ann Secret"
    assert [(p["id"], p["callSession"]["id"]) for p in data["participations"]] == [("p1", "c"), ("p4", "d")]
    assert data["participations"][0]["deviceInfo"] == {"browser": "B"}
    assert [one["id"] for one in data["callsInitiated"]] == [one["id"] for one in data["callsEnded"]] == ["c"]
    assert "ben" not in text.lower()
    assert [one["text"] for one in data["transcriptions"]] == ["words of p1"]
    assert [(one["id"], one["startedByPerson"], one["stoppedByPerson"]) for one in data["recordings"]] == [
        ("rc", True, False),
        ("rd", False, True),
    ]
    guest = await db.run(export_person, "guest", "guest")
    assert guest is not None
    assert guest["guest"]["name"] == "Gus Secret"
    assert len(guest["participations"]) == 1


@pytest.mark.parametrize(
    ("person", "kind", "erased", "marks"),
    [
        ("ann", "user", Erased(2, 1, 1, "erased", 1, 2, ["rc"]), ("Ann", "ann", "a.png", "of p1")),
        ("guest", "guest", Erased(1, 0, 0, "erased", 1, 0, ["rc"]), ("Gus", "(guest,", "of p3")),
    ],
)
async def test_an_erased_person_is_in_no_row(
    db: Database, url: str, person: str, kind: Kind, erased: Erased, marks: tuple[str, ...]
) -> None:
    psql(url, ROWS)
    assert all(mark in everything(url) for mark in marks)
    assert await db.run(erase_person, person, kind, at=NOW) == erased
    assert not any(mark in everything(url) for mark in marks)
    assert await db.run(export_person, person, kind) is None
    assert await db.run(erase_person, person, kind, at=NOW) is None
    # the call's statistics are there without the person
    counts = """SELECT count(*), count(*) FILTER (WHERE "hadVideo"), count("qualityMetrics")
                  FROM call_participants WHERE "callSessionId" = 'c'"""
    assert psql(url, counts) == "3|3|3"
    assert psql(url, "SELECT duration FROM call_sessions WHERE id = 'c'") == "120"
    assert psql(url, 'SELECT "avgRtt" FROM call_metrics') == "5"
    assert await verify(db) == []


@pytest.mark.parametrize(
    "theirs",
    [
        "ALTER TABLE users ADD COLUMN email text",
        "CREATE TABLE posts (author text REFERENCES users (id) ON DELETE CASCADE)",
    ],
)
async def test_another_applications_users_are_left_to_it(db: Database, url: str, theirs: str) -> None:
    psql(url, ROWS)
    psql(url, theirs)
    assert await db.run(erase_person, "ann", "user", at=NOW) == Erased(2, 1, 1, "kept", 1, 2, ["rc"])
    assert psql(url, "SELECT name FROM users WHERE id = 'ann'") == "Ann Secret"
    held = await db.run(export_person, "ann", "user")
    assert held is not None
    assert held["participations"] == []


async def test_nobody_is_erased_out_of_a_call(db: Database, url: str) -> None:
    psql(url, ROWS)
    psql(url, "UPDATE call_sessions SET status = 'ACTIVE', \"endedAt\" = NULL WHERE id = 'c'")
    psql(url, "UPDATE call_participants SET \"leftAt\" = NULL WHERE id = 'p1'")
    with pytest.raises(InCall, match="'ann' is in call 'c'"):
        await db.run(erase_person, "ann", "user", at=NOW)
    assert psql(url, "SELECT count(*) FROM call_participants WHERE \"userId\" = 'ann'") == "2"


async def test_nobody_known(db: Database) -> None:
    assert await db.run(export_person, "x", "user") is None
    assert await db.run(erase_person, "x", "guest", at=NOW) is None
