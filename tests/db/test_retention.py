from __future__ import annotations

import pytest

from server.db import retention
from server.db.pool import Database
from server.db.retention import Purged, count_old, purge
from tests.harness.postgres import psql

NOW = 1_760_000_000.0
DAY = 86_400.0

ROWS = f"""
INSERT INTO users (id) VALUES ('u'); INSERT INTO chat_rooms (id) VALUES ('r');
INSERT INTO anonymous_participants (id, "updatedAt")
    SELECT id, to_timestamp({NOW} - age * {DAY})
      FROM (VALUES ('old', 100), ('both', 100), ('fresh', 1)) AS v (id, age);
INSERT INTO call_sessions (id, "roomId", "callType", status, "createdAt", "startedAt", "endedAt", "updatedAt")
SELECT id, 'r', 'VIDEO', status::"CallStatus", to_timestamp({NOW} - made * {DAY}),
       to_timestamp({NOW} - made * {DAY}), to_timestamp({NOW} - ended * {DAY}),
       to_timestamp({NOW} - COALESCE(ended, made) * {DAY})
  FROM (VALUES ('old1', 'ENDED', 100, 100.0), ('old2', 'REJECTED', 91, 90.5), ('old3', 'MISSED', 95, NULL),
               ('long', 'ENDED', 100, 89.9), ('open', 'ACTIVE', 100, NULL), ('new', 'ENDED', 2, 2.0))
       AS v (id, status, made, ended);
INSERT INTO call_participants (id, "callSessionId", "anonymousUserId") VALUES
    ('p1', 'old1', 'old'), ('p2', 'old1', 'both'), ('p3', 'new', 'both'), ('p4', 'new', 'fresh');
INSERT INTO call_metrics (id, "callSessionId", "updatedAt") VALUES ('m', 'old1', now());
"""


@pytest.mark.parametrize("batch", [1, 200])
async def test_calls_that_have_been_over_for_long_go(
    db: Database, url: str, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(retention, "BATCH", batch)
    psql(url, ROWS)
    cutoff = NOW - 90 * DAY
    assert await db.run(count_old, cutoff) == Purged(3, 0)
    steps: list[int] = []
    assert await purge(db, cutoff, lambda done: steps.append(done.calls + done.guests)) == Purged(3, 1)
    assert steps[-1] == 4
    assert len(steps) == (4 if batch == 1 else 2)
    assert psql(url, "SELECT string_agg(id, ' ' ORDER BY id) FROM call_sessions") == "long new open"
    assert psql(url, "SELECT string_agg(id, ' ' ORDER BY id) FROM call_participants") == "p3 p4"
    assert psql(url, "SELECT string_agg(id, ' ' ORDER BY id) FROM anonymous_participants") == "both fresh"
    assert psql(url, "SELECT count(*) FROM call_metrics") == "0"
    assert psql(url, "SELECT count(*) FROM users") == psql(url, "SELECT count(*) FROM chat_rooms") == "1"
    assert await purge(db, cutoff) == Purged(0, 0)


async def test_the_search_is_bounded_by_an_index(db: Database, url: str) -> None:
    psql(
        url,
        """
        INSERT INTO chat_rooms (id) VALUES ('r');
        INSERT INTO call_sessions (id, "roomId", "callType", status, "createdAt", "endedAt")
        SELECT 'c' || n, 'r', 'VIDEO', 'ENDED', now() - n * interval '1 minute', now()
          FROM generate_series(1, 5000) AS n;
        ANALYZE call_sessions;
        """,
    )
    plan = psql(url, "EXPLAIN " + retention._OLD_CALLS.replace("$1", "now() - interval '3 days'"))
    assert "call_sessions_createdAt_idx" in plan
