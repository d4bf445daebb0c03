"""Recordings of calls: the metadata. Whoever records moves a recording through its statuses; the files
themselves are in a store of its own, and named here by their key.

A call has one recording at most. One that failed or was deleted may be started again, in the same row.
"""

from __future__ import annotations

from typing import Any, Literal

from server.db.connection import Connection, rows_of
from server.db.errors import MissingRow
from server.db.times import moment

RecordingStatus = Literal["starting", "recording", "processing", "ready", "failed", "deleted"]

# From which statuses each may be reached; there is no other way. `deleted` keeps the row, without a file.
LEGAL_FROM: dict[RecordingStatus, tuple[RecordingStatus, ...]] = {
    "starting": ("failed", "deleted"),
    "recording": ("starting",),
    "processing": ("recording",),
    "ready": ("recording", "processing"),
    "failed": ("starting", "recording", "processing"),
    "deleted": ("ready", "failed"),
}


async def create_recording(
    connection: Connection,
    recording_id: str,
    call_id: str,
    *,
    at: float,
    format: str | None = None,
    started_by: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> str | None:
    """Notes that a recording is starting (`started_by`: a user's id); returns the id of its row, which is an
    earlier one's where that failed or was deleted. None if the call has a recording already. Raises
    `MissingRow` if there is no such call."""
    if not await connection.fetchval("SELECT true FROM call_sessions WHERE id = $1 FOR KEY SHARE", call_id):
        raise MissingRow(f"there is no call {call_id!r}")
    row_id: str | None = await connection.fetchval(
        """
        INSERT INTO call_recordings AS r
            (id, "callSessionId", status, format, "startedBy", metadata, "createdAt", "updatedAt")
        VALUES ($1, $2, 'starting', $3, $4, $5, $6, $6)
        ON CONFLICT ("callSessionId") DO UPDATE
           SET status = 'starting', format = excluded.format, "fileKey" = NULL, "fileSize" = NULL,
               duration = NULL, "startedBy" = excluded."startedBy", "stoppedBy" = NULL, "startedAt" = NULL,
               "endedAt" = NULL, error = NULL, metadata = excluded.metadata,
               "updatedAt" = excluded."updatedAt"
         WHERE r.status = ANY ($7::text[])
        RETURNING id
        """,
        recording_id,
        call_id,
        format,
        started_by,
        metadata,
        moment(at),
        list(LEGAL_FROM["starting"]),
    )
    return row_id


async def update_recording_status(
    connection: Connection,
    recording_id: str,
    status: Literal["recording", "processing"],
    *,
    at: float,
    stopped_by: str | None = None,
) -> bool:
    """`recording` when the first moment is recorded (startedAt = at), `processing` when the last is (endedAt
    = at, `stopped_by`: a user's id). False, and nothing changed, if that is not legal from where it is.
    Raises `MissingRow`."""
    tag = await connection.execute(
        """
        UPDATE call_recordings
           SET status = $2, "startedAt" = CASE WHEN $2 = 'recording' THEN $3 ELSE "startedAt" END,
               "endedAt" = CASE WHEN $2 = 'processing' THEN GREATEST($3, "startedAt") END,
               "stoppedBy" = COALESCE($4, "stoppedBy"), "updatedAt" = $3
         WHERE id = $1 AND status = ANY ($5::text[])
        """,
        recording_id,
        status,
        moment(at),
        stopped_by,
        list(LEGAL_FROM[status]),
    )
    return await _changed(connection, tag, recording_id)


async def finish_recording(
    connection: Connection,
    recording_id: str,
    *,
    file_key: str,
    file_size: int,
    at: float,
    duration: float | None = None,
    format: str | None = None,
) -> bool:
    """The file is there: `ready`. `file_size` in bytes, `duration` in seconds (whole ones are kept), by
    default from startedAt to endedAt. False if it was neither recording nor processing. Raises `MissingRow`.
    """
    tag = await connection.execute(
        """
        UPDATE call_recordings
           SET status = 'ready', "fileKey" = $2, "fileSize" = $3, format = COALESCE($4, format),
               "endedAt" = COALESCE("endedAt", GREATEST($6, "startedAt")),
               duration = floor(COALESCE($5::float8, extract(
                   epoch FROM COALESCE("endedAt", GREATEST($6, "startedAt")) - "startedAt")))::integer,
               "updatedAt" = $6
         WHERE id = $1 AND status = ANY ($7::text[])
        """,
        recording_id,
        file_key,
        file_size,
        format,
        duration,
        moment(at),
        list(LEGAL_FROM["ready"]),
    )
    return await _changed(connection, tag, recording_id)


async def fail_recording(connection: Connection, recording_id: str, *, error: str, at: float) -> bool:
    """The recording came to nothing, and why. False if it was over already. Raises `MissingRow`."""
    tag = await connection.execute(
        """
        UPDATE call_recordings
           SET status = 'failed', error = $2, "endedAt" = COALESCE("endedAt", GREATEST($3, "startedAt")),
               "updatedAt" = $3
         WHERE id = $1 AND status = ANY ($4::text[])
        """,
        recording_id,
        error,
        moment(at),
        list(LEGAL_FROM["failed"]),
    )
    return await _changed(connection, tag, recording_id)


async def delete_recording(connection: Connection, recording_id: str, *, at: float) -> bool:
    """Forgets the file, which becomes one of `recording_leftovers`; the row stays as `deleted`. False if it
    is still under way or was deleted before. Raises `MissingRow`."""
    tag = await connection.execute(
        """
        UPDATE call_recordings
           SET status = 'deleted', "fileKey" = NULL, "fileSize" = NULL, metadata = NULL, "updatedAt" = $2
         WHERE id = $1 AND status = ANY ($3::text[])
        """,
        recording_id,
        moment(at),
        list(LEGAL_FROM["deleted"]),
    )
    return await _changed(connection, tag, recording_id)


async def _changed(connection: Connection, tag: str, recording_id: str) -> bool:
    if rows_of(tag):
        return True
    if await connection.fetchval("SELECT true FROM call_recordings WHERE id = $1", recording_id):
        return False
    raise MissingRow(f"there is no recording {recording_id!r}")


async def recording_by_id(connection: Connection, recording_id: str) -> dict[str, Any] | None:
    """The recording's row."""
    row = await connection.fetchrow("SELECT * FROM call_recordings WHERE id = $1", recording_id)
    return None if row is None else dict(row)


async def recording_of_call(connection: Connection, call_id: str) -> dict[str, Any] | None:
    """The recording of a call."""
    row = await connection.fetchrow('SELECT * FROM call_recordings WHERE "callSessionId" = $1', call_id)
    return None if row is None else dict(row)


async def list_recordings(
    connection: Connection,
    *,
    room_id: str | None = None,
    status: RecordingStatus | None = None,
    limit: int = 50,
    before: tuple[float, str] | None = None,
) -> list[dict[str, Any]]:
    """Recordings with their call's `roomId`, latest first, of one room or of one status or of all. `before`
    is the createdAt (Unix seconds) and id of the last one of the page before this one."""
    rows = await connection.fetch(
        """
        SELECT r.*, s."roomId" FROM call_recordings r JOIN call_sessions s ON s.id = r."callSessionId"
         WHERE ($1::text IS NULL OR s."roomId" = $1) AND ($2::text IS NULL OR r.status = $2)
           AND ($3::timestamptz IS NULL OR (r."createdAt", r.id) < ($3, $4))
         ORDER BY r."createdAt" DESC, r.id DESC LIMIT $5
        """,
        room_id,
        status,
        None if before is None else moment(before[0]),
        "" if before is None else before[1],
        limit,
    )
    return [dict(row) for row in rows]


async def recording_leftovers(connection: Connection, *, limit: int = 100) -> list[str]:
    """Keys of files that no recording names any more, oldest first: purged, deleted or replaced."""
    rows = await connection.fetch(
        'SELECT "fileKey" FROM recording_leftovers ORDER BY "createdAt", "fileKey" LIMIT $1', limit
    )
    return [row["fileKey"] for row in rows]


async def forget_leftover(connection: Connection, file_key: str) -> None:
    """The file is removed."""
    await connection.execute('DELETE FROM recording_leftovers WHERE "fileKey" = $1', file_key)
