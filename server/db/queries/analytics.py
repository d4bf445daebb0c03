"""Calls in summary. PostgreSQL makes a call's row itself when the call ends (`call_analytics_refresh` in
schema/0005): in the transaction that ends it, at the commit."""

from __future__ import annotations

from typing import Any

from server.db.connection import Connection
from server.db.times import moment


async def call_analytics(connection: Connection, call_id: str) -> dict[str, Any] | None:
    """The summary of a call that is over."""
    row = await connection.fetchrow('SELECT * FROM call_analytics WHERE "callSessionId" = $1', call_id)
    return None if row is None else dict(row)


async def refresh_call_analytics(connection: Connection, call_id: str) -> dict[str, Any] | None:
    """Makes the summary anew from the call's rows; None (and no row) if there is no such call or it is not
    over."""
    await connection.execute("SELECT call_analytics_refresh($1)", call_id)
    return await call_analytics(connection, call_id)


async def analytics_summary(
    connection: Connection, start: float, end: float, *, room_id: str | None = None
) -> dict[str, Any]:
    """What the calls made from `start` to `end` (Unix seconds, both included) and over by now add up to, of
    one room or of all: `{calls, outcomes: {outcome: n}, participants, joins, reconnections, peakParticipants,
    participantSeconds, callSeconds, p2pSeconds, sfuSeconds, modeChanges, avgCallSeconds, avgAnswerSeconds,
    avgSwitchSeconds, avgQualityScore, maxVideoGapMs, maxAudioGapMs}`. Averages and extremes of nothing are
    None, sums 0; avgCallSeconds is over those that were completed."""
    row = await connection.fetchrow(
        """
        WITH found AS (
            SELECT a.*, s.duration FROM call_analytics a JOIN call_sessions s ON s.id = a."callSessionId"
             WHERE s."createdAt" BETWEEN $1 AND $2 AND ($3::text IS NULL OR s."roomId" = $3)
        )
        SELECT count(*) AS calls,
               (SELECT COALESCE(jsonb_object_agg(outcome, n), '{}'::jsonb)
                  FROM (SELECT outcome, count(*) AS n FROM found GROUP BY outcome) AS o) AS outcomes,
               COALESCE(sum("totalParticipants"), 0) AS participants,
               COALESCE(sum(joins), 0) AS joins,
               COALESCE(sum(reconnections), 0) AS reconnections,
               COALESCE(max("peakParticipants"), 0) AS "peakParticipants",
               COALESCE(sum("participantSeconds"), 0) AS "participantSeconds",
               COALESCE(sum("p2pSeconds" + "sfuSeconds"), 0) AS "callSeconds",
               COALESCE(sum("p2pSeconds"), 0) AS "p2pSeconds",
               COALESCE(sum("sfuSeconds"), 0) AS "sfuSeconds",
               COALESCE(sum("modeChanges"), 0) AS "modeChanges",
               avg(duration::float8) FILTER (WHERE outcome = 'completed') AS "avgCallSeconds",
               avg("answerSeconds") AS "avgAnswerSeconds",
               sum("avgSwitchSeconds" * "modeChanges")
                   / NULLIF(sum("modeChanges") FILTER (WHERE "avgSwitchSeconds" IS NOT NULL), 0)
                   AS "avgSwitchSeconds",
               avg("qualityScore") AS "avgQualityScore",
               max("maxVideoGapMs") AS "maxVideoGapMs",
               max("maxAudioGapMs") AS "maxAudioGapMs"
          FROM found
        """,
        moment(start),
        moment(end),
        room_id,
    )
    assert row is not None
    return dict(row)
