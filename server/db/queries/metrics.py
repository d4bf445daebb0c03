"""A call's quality in figures, and what the transitions of many calls add up to."""

from __future__ import annotations

from typing import Any

from server.db.connection import Connection
from server.db.times import moment
from server.ids import cuid

_LATEST = ("avgPacketLoss", "avgJitter", "avgRtt", "avgBitrate")
_LARGEST = (
    "peakParticipants",
    "totalParticipants",
    "reconnections",
    "iceFailures",
    "transportErrors",
    "totalDataSent",
    "totalDataReceived",
)


def _upsert() -> str:
    columns = ", ".join(f'"{name}"' for name in _LATEST + _LARGEST)
    values = ", ".join(f"${number}" for number in range(4, 4 + len(_LATEST + _LARGEST)))
    latest = ", ".join(f'"{name}" = COALESCE(excluded."{name}", m."{name}")' for name in _LATEST)
    largest = ", ".join(f'"{name}" = GREATEST(excluded."{name}", m."{name}")' for name in _LARGEST)
    return f"""
        INSERT INTO call_metrics AS m (id, "callSessionId", "createdAt", "updatedAt", {columns})
        VALUES ($1, $2, $3, $3, {values})
        ON CONFLICT ("callSessionId") DO UPDATE SET {latest}, {largest}, "updatedAt" = excluded."updatedAt"
    """


_UPSERT = _upsert()


async def update_call_metrics(
    connection: Connection,
    call_id: str,
    *,
    at: float,
    avg_packet_loss: float | None = None,
    avg_jitter: float | None = None,
    avg_rtt: float | None = None,
    avg_bitrate: float | None = None,
    peak_participants: int | None = None,
    total_participants: int | None = None,
    reconnections: int = 0,
    ice_failures: int = 0,
    transport_errors: int = 0,
    total_data_sent: int | None = None,
    total_data_received: int | None = None,
) -> None:
    """Stores a call's figures: averages as given last, peaks and totals as the largest given so far.

    All are totals of the call, not increments; None leaves what is there. Units as in `CallMetricsUpdate`.
    """
    await connection.execute(
        _UPSERT,
        cuid(),
        call_id,
        moment(at),
        avg_packet_loss,
        avg_jitter,
        avg_rtt,
        avg_bitrate,
        peak_participants,
        total_participants,
        reconnections,
        ice_failures,
        transport_errors,
        total_data_sent,
        total_data_received,
    )


async def call_metrics(connection: Connection, call_id: str) -> dict[str, Any] | None:
    """The metrics row of a call."""
    row = await connection.fetchrow('SELECT * FROM call_metrics WHERE "callSessionId" = $1', call_id)
    return None if row is None else dict(row)


async def mode_transition_stats(connection: Connection, start: float, end: float) -> dict[str, Any]:
    """Transitions of the calls that were made from `start` to `end` (Unix seconds, both included).

    `{totalCalls, totalTransitions, avgTransitionsPerCall, avgTransitionDuration (s), transitionsByReason}`;
    only calls that changed mode count, and averages of nothing are 0.
    """
    row = await connection.fetchrow(
        """
        WITH calls AS (
            SELECT s."modeChangeCount", m."modeTransitions"
              FROM call_sessions s LEFT JOIN call_metrics m ON m."callSessionId" = s.id
             WHERE s."createdAt" BETWEEN $1 AND $2 AND s."modeChangeCount" > 0
        ), transitions AS (
            SELECT COALESCE(e ->> 'reason', 'unknown') AS reason,
                   NULLIF((e ->> 'duration')::float8, 0) AS duration
              FROM calls, jsonb_array_elements(
                  CASE jsonb_typeof("modeTransitions")
                      WHEN 'array' THEN "modeTransitions" ELSE '[]'::jsonb END) AS e
        )
        SELECT (SELECT count(*) FROM calls) AS calls,
               (SELECT COALESCE(sum("modeChangeCount"), 0) FROM calls) AS total,
               (SELECT COALESCE(avg(duration), 0) FROM transitions) AS duration,
               (SELECT COALESCE(jsonb_object_agg(reason, n), '{}'::jsonb)
                  FROM (SELECT reason, count(*) AS n FROM transitions GROUP BY reason) AS r) AS reasons
        """,
        moment(start),
        moment(end),
    )
    assert row is not None
    calls, total = int(row["calls"]), int(row["total"])
    return {
        "totalCalls": calls,
        "totalTransitions": total,
        "avgTransitionsPerCall": total / calls if calls else 0,
        "avgTransitionDuration": row["duration"],
        "transitionsByReason": row["reasons"],
    }
