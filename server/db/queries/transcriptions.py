"""What was said in calls, as text: one row a segment, under the participant who spoke."""

from __future__ import annotations

from typing import Any

from server.db.connection import Connection, rows_of
from server.db.errors import MissingRow
from server.db.queries.participants import ROW
from server.db.times import moment


async def add_transcription(
    connection: Connection,
    transcription_id: str,
    call_id: str,
    participant_id: str,
    text: str,
    *,
    started_at: float,
    ended_at: float,
    at: float,
    language: str | None = None,
    confidence: float | None = None,
    is_final: bool = True,
    source: str = "client",
    segment_id: str | None = None,
) -> bool:
    """Stores a segment (Unix seconds; confidence 0..1; language a BCP 47 tag). A segment of this id that is
    not final yet is replaced; one that is stays, and the result is False. Raises `MissingRow` if no such
    participant is in the call."""
    row_id = await connection.fetchval(
        f'SELECT id FROM call_participants WHERE "callSessionId" = $2 AND id = {ROW} FOR KEY SHARE',
        participant_id,
        call_id,
    )
    if row_id is None:
        raise MissingRow(f"there is no participant {participant_id!r} in call {call_id!r}")
    tag = await connection.execute(
        """
        INSERT INTO call_transcriptions AS t (id, "callSessionId", "participantId", text, language,
            "startedAt", "endedAt", confidence, "isFinal", source, "segmentId", "createdAt", "updatedAt")
        VALUES ($1, $2, $3, $4, $5, $6, GREATEST($6, $7::timestamptz), $8, $9, $10, $11, $12, $12)
        ON CONFLICT (id) DO UPDATE
           SET text = excluded.text, language = excluded.language, "startedAt" = excluded."startedAt",
               "endedAt" = excluded."endedAt", confidence = excluded.confidence,
               "isFinal" = excluded."isFinal", "updatedAt" = excluded."updatedAt"
         WHERE NOT t."isFinal" AND t."participantId" = excluded."participantId"
        """,
        transcription_id,
        call_id,
        row_id,
        text,
        language,
        moment(started_at),
        moment(ended_at),
        confidence,
        is_final,
        source,
        segment_id,
        moment(at),
    )
    return rows_of(tag) == 1


async def transcriptions_of_call(
    connection: Connection,
    call_id: str,
    *,
    participant_id: str | None = None,
    language: str | None = None,
    limit: int = 500,
    after: tuple[float, str] | None = None,
) -> list[dict[str, Any]]:
    """A call's segments in the order in which they were begun, each with its speaker's `name` (None when that
    is not known). `after` is the startedAt (Unix seconds) and id of the last one of the page before."""
    rows = await connection.fetch(
        """
        SELECT t.*, COALESCE(p."displayName", u.name, g.name) AS name
          FROM call_transcriptions t
          JOIN call_participants p ON p.id = t."participantId"
          LEFT JOIN users u ON u.id = p."userId"
          LEFT JOIN anonymous_participants g ON g.id = p."anonymousUserId"
         WHERE t."callSessionId" = $1 AND ($2::text IS NULL OR t."participantId" = $2)
           AND ($3::text IS NULL OR t.language = $3)
           AND ($4::timestamptz IS NULL OR (t."startedAt", t.id) > ($4, $5))
         ORDER BY t."startedAt", t.id LIMIT $6
        """,
        call_id,
        participant_id,
        language,
        None if after is None else moment(after[0]),
        "" if after is None else after[1],
        limit,
    )
    return [dict(row) for row in rows]


async def delete_transcriptions(connection: Connection, call_id: str) -> int:
    """Removes all that is written down of a call; returns how many segments there were."""
    return rows_of(
        await connection.execute('DELETE FROM call_transcriptions WHERE "callSessionId" = $1', call_id)
    )
