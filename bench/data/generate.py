"""Calls as a busy server leaves them, made inside PostgreSQL: a million calls take minutes, not hours.

The shape: mostly ended calls over a year; a little more than half of two people and in P2P mode, the rest
larger (five participants a call on average, fifty at most) and in SFU mode with their transports and
producers; `LIVE_SFU` + `LIVE_P2P` calls are under way. Rooms and hosts are unequal: the busiest room and the
busiest host each have about two calls in a hundred. Every figure follows from a call's number, so the
same size gives the same rows.
"""

from __future__ import annotations

import msgspec

from server.db.connection import Connection
from server.db.pool import Database
from server.rtc.capabilities import router_capabilities

LIVE_SFU, LIVE_P2P, RINGING = 100, 200, 20
NOW = 1_790_000_000_000  # Unix ms; the last call is made here
YEAR = 365 * 86_400_000  # ms
TABLES = (
    "users",
    "chat_rooms",
    "anonymous_participants",
    "call_sessions",
    "call_participants",
    "call_metrics",
)

# uniform: 0..1 by number and purpose; cuid: 25 characters by time and then by chance, as server.ids makes
# them.
_FUNCTIONS = """
CREATE FUNCTION pg_temp.uniform(n bigint, purpose bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS
    'SELECT (hashint8extended(n, purpose) & 16777215)::float8 / 16777216';
CREATE FUNCTION pg_temp.cuid(ms bigint, n bigint, purpose bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
    'SELECT ''c'' || lpad(to_hex(ms), 11, ''0'')
                  || lpad(right(to_hex(hashint8extended(n, purpose)), 13), 13, ''0'')';
CREATE FUNCTION pg_temp.at(ms bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    'SELECT timestamptz ''epoch'' + ms * interval ''1 millisecond''';
"""

_PEOPLE = (
    """
    INSERT INTO users (id, name, avatar, "createdAt", "updatedAt")
    SELECT 'user-' || n, 'Person ' || n, 'https://example.org/avatars/' || n || '.png', t, t
      FROM generate_series(0, {users} - 1) AS n, pg_temp.at({now} - {year}) AS t
    """,
    """
    INSERT INTO chat_rooms (id, name, "createdAt", "updatedAt")
    SELECT 'room-' || n, 'Room ' || n, t, t
      FROM generate_series(0, {rooms} - 1) AS n, pg_temp.at({now} - {year}) AS t
    """,
)

# One row a call, narrow: what the three big tables are made from.
_PLAN = """
CREATE TEMP TABLE plan AS
SELECT n, made, size, fate, size > 2 AND fate NOT IN ('INITIATED', 'MISSED', 'REJECTED') AS sfu,
       made + 5000 AS started, made + 5000 + (pg_temp.uniform(n, 3) * 3600000)::bigint AS ended,
       floor({rooms} * pow(pg_temp.uniform(n, 1), 3))::bigint AS room,
       floor({users} * pow(pg_temp.uniform(n, 2), 3))::bigint AS host,
       1 + 2 * floor(pg_temp.uniform(n, 7) * 2)::int AS switches
  FROM (SELECT n, {now} - (({calls} - n) * ({year}::float8 / {calls}))::bigint AS made,
               CASE WHEN n > {calls} - {live_sfu} THEN 3 + n % 4
                    WHEN n > {calls} - {live_sfu} - {live_p2p} THEN 2
                    WHEN u < 0.55 THEN 2
                    WHEN u < 0.80 THEN 3 + floor((u - 0.55) * 16)::int
                    WHEN u < 0.95 THEN 7 + floor((u - 0.80) * 60)::int
                    WHEN u < 0.99 THEN 16 + floor((u - 0.95) * 225)::int
                    ELSE 20 + floor((u - 0.99) * 3100)::int END AS size,
               CASE WHEN n > {calls} - {live_sfu} - {live_p2p} THEN 'ACTIVE'
                    WHEN n > {calls} - {live_sfu} - {live_p2p} - {ringing} THEN 'INITIATED'
                    WHEN pg_temp.uniform(n, 5) < 0.06 THEN 'MISSED'
                    WHEN pg_temp.uniform(n, 5) < 0.09 THEN 'REJECTED'
                    ELSE 'ENDED' END AS fate
          FROM generate_series(1, {calls}) AS n, pg_temp.uniform(n, 4) AS u) AS one
"""

_CALLS = """
INSERT INTO call_sessions (id, "roomId", "callType", status, mode, "initiatorId", "sfuRoomId",
    "sfuRtpCapabilities", "lastModeChange", "modeChangeCount", "createdAt", "startedAt", "endedAt", duration,
    "endReason", "updatedAt")
SELECT pg_temp.cuid(made, n, 10), 'room-' || room,
       (CASE WHEN n % 5 = 0 THEN 'AUDIO' ELSE 'VIDEO' END)::"CallType", fate::"CallStatus",
       CASE WHEN sfu THEN 'sfu' ELSE 'p2p' END, 'user-' || host,
       CASE WHEN sfu THEN pg_temp.cuid(started, n, 11) END, CASE WHEN sfu THEN $1::jsonb END,
       CASE WHEN sfu THEN pg_temp.at(started + 2000) END, CASE WHEN sfu THEN switches ELSE 0 END,
       pg_temp.at(made), CASE WHEN fate IN ('ACTIVE', 'ENDED') THEN pg_temp.at(started) END,
       CASE WHEN fate = 'ENDED' THEN pg_temp.at(ended) WHEN over THEN pg_temp.at(made + 30000) END,
       CASE WHEN fate = 'ENDED' THEN (ended - started) / 1000 END,
       CASE fate WHEN 'ENDED' THEN 'hangup' WHEN 'MISSED' THEN 'no_answer'
                 WHEN 'REJECTED' THEN 'rejected' END,
       pg_temp.at(CASE WHEN fate = 'ENDED' THEN ended ELSE started END)
  FROM plan, LATERAL (SELECT fate NOT IN ('ACTIVE', 'INITIATED') AS over) AS o ORDER BY n
"""

# A call's host is a busy person; the others are any. Seven of eight are users, the rest guests.
_PARTICIPANTS = """
INSERT INTO call_participants (id, "callSessionId", "userId", "anonymousUserId", role, status, "joinedAt",
    "leftAt", "leftReason", "audioEnabled", "videoEnabled", "wasMuted", "hadVideo", "sfuSendTransportId",
    "sfuRecvTransportId", "sfuAudioProducerId", "sfuVideoProducerId", "sfuScreenProducerId",
    "qualityMetrics", "updatedAt")
SELECT pg_temp.cuid(joined, m, 20), pg_temp.cuid(made, n, 10), CASE WHEN NOT guest THEN
           'user-' || (host + k * 7919) % {users} END, CASE WHEN guest THEN pg_temp.cuid(joined, m, 21) END,
       CASE WHEN k = 0 THEN 'host' ELSE 'participant' END, CASE WHEN live THEN 'connected' ELSE 'left' END,
       pg_temp.at(joined), CASE WHEN NOT live THEN pg_temp.at(GREATEST(ended, joined)) END,
       CASE WHEN NOT live THEN 'leave' END, true, k % 3 > 0, k % 4 = 0, true,
       CASE WHEN sfu THEN pg_temp.cuid(joined, m, 22) END, CASE WHEN sfu THEN pg_temp.cuid(joined, m, 23) END,
       CASE WHEN sfu THEN pg_temp.cuid(joined, m, 24) END,
       CASE WHEN sfu AND k % 3 > 0 THEN pg_temp.cuid(joined, m, 25) END,
       CASE WHEN sfu AND k = 1 THEN pg_temp.cuid(joined, m, 26) END,
       CASE WHEN k % 2 = 0 THEN '{{"rtt": 42.5, "jitter": 3.25, "packetLoss": 0.004}}'::jsonb END,
       pg_temp.at(CASE WHEN live THEN joined ELSE ended END)
  FROM plan, generate_series(0, size - 1) AS k,
       LATERAL (SELECT n * 64 + k AS m, started + k * 700 AS joined,
                       fate IN ('ACTIVE', 'INITIATED') AS live) AS a,
       LATERAL (SELECT k > 0 AND pg_temp.uniform(m, 6) < 0.125 AS guest) AS b
 WHERE n BETWEEN $1 AND $2 ORDER BY n, k
"""

_GUESTS = """
INSERT INTO anonymous_participants (id, name, "createdAt", "updatedAt")
SELECT "anonymousUserId", 'Guest ' || right("anonymousUserId", 4), "joinedAt", "joinedAt"
  FROM call_participants WHERE "anonymousUserId" IS NOT NULL
"""

_METRICS = """
INSERT INTO call_metrics (id, "callSessionId", "modeTransitions", "avgPacketLoss", "avgJitter", "avgRtt",
    "avgBitrate", "peakParticipants", "totalParticipants", reconnections, "totalDataSent",
    "totalDataReceived", "createdAt", "updatedAt")
SELECT pg_temp.cuid(started, n, 30), pg_temp.cuid(made, n, 10), CASE WHEN sfu THEN transitions END,
       pg_temp.uniform(n, 31) / 50, pg_temp.uniform(n, 32) * 20, 20 + pg_temp.uniform(n, 33) * 200, 900,
       size, size, n % 3, 1000000 * size, 3000000 * size, pg_temp.at(started), pg_temp.at(ended)
  FROM plan, LATERAL (
       SELECT jsonb_agg(jsonb_build_object('from', CASE WHEN s % 2 = 1 THEN 'p2p' ELSE 'sfu' END,
                  'to', CASE WHEN s % 2 = 1 THEN 'sfu' ELSE 'p2p' END,
                  'timestamp', pg_temp.at(started + s * 2000),
                  'duration', 0.2 + pg_temp.uniform(n, 40 + s), 'epoch', s,
                  'reason', (ARRAY['participant_joined', 'poor_quality', 'p2p_failed',
                                   'participant_left'])[1 + (n + s) % 4],
                  'maxVideoGapMs', 40, 'maxAudioGapMs', 0)) AS transitions
         FROM generate_series(1, switches) AS s WHERE sfu) AS t
 WHERE fate IN ('ACTIVE', 'ENDED') ORDER BY n
"""

_BATCH = 100_000  # calls; the progress line moves with each


async def _unlink(connection: Connection) -> list[str]:
    """Takes the indexes away that no constraint needs; returns how the migrations made them."""
    rows = await connection.fetch(
        """
        SELECT x.indexrelid::regclass::text AS name, pg_get_indexdef(x.indexrelid) AS definition
          FROM pg_index x WHERE x.indrelid = ANY ($1::text[]::regclass[])
           AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = x.indexrelid)
        """,
        list(TABLES),
    )
    for row in rows:
        await connection.execute(f"DROP INDEX {row['name']}")
    return [row["definition"] for row in rows]


async def fill(database: Database, calls: int, progress: bool = False) -> None:
    """Fills an empty, migrated database with `calls` calls and about five times as many participants.

    Indexes are built afterwards, which is several times as fast. `calls` is 1,000 at least.
    """
    if calls < 1000:
        raise ValueError("fewer than 1,000 calls have not the shape")
    await database.run_bare(_fill, calls, progress)


async def _fill(connection: Connection, calls: int, progress: bool) -> None:
    numbers = {
        "calls": calls, "users": max(1000, calls // 10), "rooms": max(100, calls // 20),
        "now": NOW, "year": YEAR, "live_sfu": LIVE_SFU, "live_p2p": LIVE_P2P, "ringing": RINGING,
    }  # fmt: skip

    async def step(title: str, sql: str, *args: object) -> None:
        if progress:
            print(f"\r{title:<60}", end="", flush=True)
        await connection.execute(sql.format(**numbers), *args)

    capabilities = msgspec.to_builtins(router_capabilities())
    # Rows come whole and right, so neither triggers nor foreign keys have anything to do.
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("SET synchronous_commit = off")
    await connection.execute("SET maintenance_work_mem = '256MB'")
    for statement in _FUNCTIONS.split(";\n")[:-1]:
        await connection.execute(statement)
    definitions = await _unlink(connection)
    for sql in _PEOPLE:
        await step("people and rooms", sql)
    await step("plan", _PLAN)
    await connection.execute("ALTER TABLE plan ADD PRIMARY KEY (n)")
    await step("calls", _CALLS, capabilities)
    for first in range(1, calls + 1, _BATCH):
        done = f"participants of call {first:,} of {calls:,}"
        await step(done, _PARTICIPANTS, first, min(calls, first + _BATCH - 1))
    await step("guests", _GUESTS)
    await step("metrics", _METRICS)
    for number, definition in enumerate(definitions, 1):
        await step(f"index {number} of {len(definitions)}", definition.replace("{", "{{").replace("}", "}}"))
    for table in TABLES:
        await step(f"vacuum {table}", f"VACUUM (ANALYZE) {table}")
    await connection.execute("DROP TABLE plan")
    await connection.execute("RESET ALL")
    if progress:
        print(f"\r{'':<60}\r", end="", flush=True)
