"""A call's quality in figures, and what the transitions of many calls add up to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.db.changes import CallMetricsUpdate
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
    given = [f"${number}" for number in range(4, 4 + len(_LATEST + _LARGEST))]
    total = (_LATEST + _LARGEST).index("totalParticipants")
    # A server that goes on with the call of a dead one does not know all who were in it; the rows do.
    given[total] = f"""CASE WHEN {given[total]}::integer IS NOT NULL THEN GREATEST({given[total]}::integer,
        (SELECT count(*) FROM call_participants p WHERE p."callSessionId" = $2)::integer) END"""
    values = ", ".join([*given, f"${4 + len(given)}"])
    latest = ", ".join(f'"{name}" = COALESCE(excluded."{name}", m."{name}")' for name in _LATEST)
    largest = ", ".join(f'"{name}" = GREATEST(excluded."{name}", m."{name}")' for name in _LARGEST)
    return f"""
        INSERT INTO call_metrics AS m
            (id, "callSessionId", "createdAt", "updatedAt", {columns}, "serverMetrics")
        VALUES ($1, $2, $3, $3, {values})
        ON CONFLICT ("callSessionId") DO UPDATE SET {latest}, {largest}, "updatedAt" = excluded."updatedAt",
            "serverMetrics" = COALESCE(m."serverMetrics", '{{}}'::jsonb) || excluded."serverMetrics"
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
    reports: dict[str, int] | None = None,
    media: dict[str, Any] | None = None,
) -> None:
    """Stores a call's figures: averages as given last, peaks and totals as the largest given so far.

    All are totals of the call, not increments; None leaves what is there. Units as in `CallMetricsUpdate`.
    `reports` and `media` go into `"serverMetrics"`.
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
        {name: value for name, value in (("reports", reports), ("media", media)) if value is not None},
    )


async def call_metrics(connection: Connection, call_id: str) -> dict[str, Any] | None:
    """The metrics row of a call."""
    row = await connection.fetchrow('SELECT * FROM call_metrics WHERE "callSessionId" = $1', call_id)
    return None if row is None else dict(row)


async def stored_metrics(connection: Connection, call_ids: Sequence[str]) -> dict[str, CallMetricsUpdate]:
    """The figures of these calls as `update_call_metrics` was given them last, by call; `at` is the row's
    updatedAt."""
    rows = await connection.fetch(
        'SELECT * FROM call_metrics WHERE "callSessionId" = ANY ($1::text[])', list(call_ids)
    )
    return {
        row["callSessionId"]: CallMetricsUpdate(
            at=row["updatedAt"].timestamp(),
            call_id=row["callSessionId"],
            avg_packet_loss=row["avgPacketLoss"],
            avg_jitter=row["avgJitter"],
            avg_rtt=row["avgRtt"],
            avg_bitrate=row["avgBitrate"],
            peak_participants=row["peakParticipants"],
            total_participants=row["totalParticipants"],
            reconnections=row["reconnections"],
            ice_failures=row["iceFailures"],
            transport_errors=row["transportErrors"],
            total_data_sent=row["totalDataSent"],
            total_data_received=row["totalDataReceived"],
            reports=_reports(row["serverMetrics"]),
        )
        for row in rows
    }


def _reports(server_metrics: Any) -> dict[str, int] | None:
    """Out of a column that other applications could write."""
    found = server_metrics.get("reports") if isinstance(server_metrics, dict) else None
    if not isinstance(found, dict):
        return None
    return {name: n for name, n in found.items() if isinstance(n, int) and n >= 0}


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
