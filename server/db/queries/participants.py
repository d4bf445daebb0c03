"""Participants: joined, their state, left, found.

A person has one row in a call. Who comes again under another participant id gets the first row again, and
`participant_aliases` leads the second id to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from server.db.changes import ParticipantStatus, SfuIds
from server.db.connection import Connection, rows_of
from server.db.errors import MissingRow
from server.db.queries.people import ensure_guest, ensure_user
from server.db.times import moment

# The row that a participant id ($1) stands for.
ROW = 'COALESCE((SELECT a."participantId" FROM participant_aliases a WHERE a.id = $1), $1)'


class NewParticipant(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    user_id: str | None = None
    anonymous_id: str | None = None
    name: str = ""
    role: str = "participant"
    audio_enabled: bool = True
    video_enabled: bool = True
    device_info: dict[str, Any] | None = None


def _arbiter(participant: NewParticipant) -> str:
    if participant.user_id is not None:
        return '("callSessionId", "userId")'
    if participant.anonymous_id is not None:
        return '("callSessionId", "anonymousUserId")'
    return "(id)"


async def add_participant(
    connection: Connection, call_id: str, participant: NewParticipant, *, at: float
) -> str:
    """Adds a participant, or takes the same person's row of this call again (leftAt cleared); returns the
    row's id.

    Waits for a transaction that is ending the call; in a call that is over the row is written as left at
    once. The user's or guest's own row is made where it is missing. Raises `MissingRow` if there is no such
    call.
    """
    status = await connection.fetchval(
        "SELECT status::text FROM call_sessions WHERE id = $1 FOR SHARE", call_id
    )
    if status is None:
        raise MissingRow(f"there is no call {call_id!r}")
    over = status not in ("INITIATED", "ACTIVE")
    if participant.user_id is not None:
        await ensure_user(connection, participant.user_id, name=participant.name or None, at=at)
    elif participant.anonymous_id is not None:
        await ensure_guest(connection, participant.anonymous_id, name=participant.name, at=at)
    row_id: str = await connection.fetchval(
        f"""
        INSERT INTO call_participants AS p (id, "callSessionId", "userId", "anonymousUserId", role, status,
            "joinedAt", "leftAt", "audioEnabled", "videoEnabled", "wasMuted", "hadVideo", "deviceInfo",
            "updatedAt", "displayName")
        VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 THEN 'left' ELSE 'connecting' END,
            $7, CASE WHEN $6 THEN $7::timestamptz END, $8, $9, NOT $8, $9, $10, $7, $11)
        ON CONFLICT {_arbiter(participant)} DO UPDATE
           SET role = excluded.role, status = excluded.status,
               "joinCount" = p."joinCount" + 1,
               "awaySeconds" = p."awaySeconds" + COALESCE(
                   GREATEST(0, extract(epoch FROM excluded."joinedAt" - p."leftAt")), 0),
               "leftAt" = CASE WHEN $6 THEN COALESCE(p."leftAt", excluded."leftAt") END, "leftReason" = NULL,
               "audioEnabled" = excluded."audioEnabled", "videoEnabled" = excluded."videoEnabled",
               "screenShareEnabled" = false,
               "wasMuted" = p."wasMuted" OR excluded."wasMuted",
               "hadVideo" = p."hadVideo" OR excluded."hadVideo",
               "sfuSendTransportId" = NULL, "sfuRecvTransportId" = NULL, "sfuAudioProducerId" = NULL,
               "sfuVideoProducerId" = NULL, "sfuScreenProducerId" = NULL,
               "deviceInfo" = COALESCE(excluded."deviceInfo", p."deviceInfo"),
               "displayName" = COALESCE(excluded."displayName", p."displayName"),
               "updatedAt" = excluded."updatedAt"
        RETURNING id
        """,
        participant.id,
        call_id,
        participant.user_id,
        participant.anonymous_id if participant.user_id is None else None,
        participant.role,
        over,
        moment(at),
        participant.audio_enabled,
        participant.video_enabled,
        participant.device_info,
        participant.name or None,
    )
    if row_id != participant.id:
        await connection.execute(
            'INSERT INTO participant_aliases (id, "participantId") VALUES ($1, $2)'
            ' ON CONFLICT (id) DO UPDATE SET "participantId" = excluded."participantId"',
            participant.id,
            row_id,
        )
    return row_id


def _found(tag: str, participant_id: str) -> None:
    if rows_of(tag) == 0:
        raise MissingRow(f"there is no participant {participant_id!r}")


async def update_participant_status(
    connection: Connection, participant_id: str, status: ParticipantStatus, *, at: float
) -> None:
    """Stores the connection's state. Who has left stays left until joining again. Raises `MissingRow`."""
    if status == "left":
        await leave_call(connection, participant_id, at=at)
        return
    tag = await connection.execute(
        f"""
        UPDATE call_participants
           SET status = CASE WHEN "leftAt" IS NULL THEN $2 ELSE status END, "updatedAt" = $3
         WHERE id = {ROW}
        """,
        participant_id,
        status,
        moment(at),
    )
    _found(tag, participant_id)


async def rename_participant(connection: Connection, participant_id: str, name: str, *, at: float) -> None:
    """Stores the name that the others see; a guest's own row gets it too. Raises `MissingRow`."""
    row = await connection.fetchrow(
        f"""
        UPDATE call_participants SET "displayName" = $2, "updatedAt" = $3 WHERE id = {ROW}
        RETURNING "userId", "anonymousUserId"
        """,
        participant_id,
        name,
        moment(at),
    )
    if row is None:
        raise MissingRow(f"there is no participant {participant_id!r}")
    if row["userId"] is None and row["anonymousUserId"] is not None:
        await ensure_guest(connection, row["anonymousUserId"], name=name, at=at)


async def update_participant_media(
    connection: Connection,
    participant_id: str,
    *,
    at: float,
    audio_enabled: bool | None = None,
    video_enabled: bool | None = None,
    screen_share_enabled: bool | None = None,
    device_info: dict[str, Any] | None = None,
) -> None:
    """Stores what is switched on; None leaves a field. wasMuted and hadVideo, once true, stay. Raises
    `MissingRow`."""
    tag = await connection.execute(
        f"""
        UPDATE call_participants
           SET "audioEnabled" = COALESCE($2, "audioEnabled"), "videoEnabled" = COALESCE($3, "videoEnabled"),
               "screenShareEnabled" = COALESCE($4, "screenShareEnabled"),
               "deviceInfo" = COALESCE($5, "deviceInfo"),
               "wasMuted" = "wasMuted" OR NOT COALESCE($2, true),
               "hadVideo" = "hadVideo" OR COALESCE($3, false),
               "updatedAt" = $6
         WHERE id = {ROW}
        """,
        participant_id,
        audio_enabled,
        video_enabled,
        screen_share_enabled,
        device_info,
        moment(at),
    )
    _found(tag, participant_id)


async def update_participant_quality(
    connection: Connection, participant_id: str, metrics: dict[str, Any], *, at: float
) -> None:
    """Stores the latest quality metrics. Raises `MissingRow`."""
    tag = await connection.execute(
        f'UPDATE call_participants SET "qualityMetrics" = $2, "updatedAt" = $3 WHERE id = {ROW}',
        participant_id,
        metrics,
        moment(at),
    )
    _found(tag, participant_id)


async def update_qualities(
    connection: Connection, reports: Sequence[tuple[str, dict[str, Any], float]]
) -> None:
    """The same of many at once, as (participant id, metrics, at): one statement, and the last one of a row
    counts. Raises `MissingRow`, and then no row has changed for good."""
    whole = await connection.fetchval(
        """
        WITH said AS (
            SELECT COALESCE(a."participantId", n.id) AS row, n.metrics, n.at, n.place
              FROM unnest($1::text[], $2::jsonb[], $3::timestamptz[])
                   WITH ORDINALITY AS n (id, metrics, at, place)
              LEFT JOIN participant_aliases a ON a.id = n.id
        ), latest AS (
            SELECT DISTINCT ON (row) row, metrics, at FROM said ORDER BY row, place DESC
        ), written AS (
            UPDATE call_participants p SET "qualityMetrics" = latest.metrics, "updatedAt" = latest.at
              FROM latest WHERE p.id = latest.row RETURNING p.id
        )
        SELECT (SELECT count(*) FROM written) = (SELECT count(*) FROM latest)
        """,
        [participant_id for participant_id, _, _ in reports],
        [metrics for _, metrics, _ in reports],
        [moment(at) for _, _, at in reports],
    )
    if not whole:
        raise MissingRow("there is no such participant among those who reported their quality")


async def update_participant_sfu_data(connection: Connection, ids: SfuIds, *, at: float) -> bool:
    """Stores a participant's transports and producers, if its call is in SFU mode; False if it is not.

    Locks the call's row against a switch that is under way.
    """
    tag = await connection.execute(
        f"""
        WITH call AS (
            SELECT s.id FROM call_sessions s
             WHERE s.mode = 'sfu'
               AND s.id = (SELECT p."callSessionId" FROM call_participants p WHERE p.id = {ROW})
               FOR SHARE
        )
        UPDATE call_participants p
           SET "sfuSendTransportId" = $2, "sfuRecvTransportId" = $3, "sfuAudioProducerId" = $4,
               "sfuVideoProducerId" = $5, "sfuScreenProducerId" = $6, "updatedAt" = $7
          FROM call WHERE p.id = {ROW} AND p."callSessionId" = call.id
        """,
        ids.participant_id,
        ids.send_transport_id,
        ids.recv_transport_id,
        ids.audio_producer_id,
        ids.video_producer_id,
        ids.screen_producer_id,
        moment(at),
    )
    return rows_of(tag) == 1


async def leave_call(
    connection: Connection, participant_id: str, *, at: float, reason: str | None = None
) -> None:
    """leftAt, status `left`, and why; a second leaving changes nothing. Raises `MissingRow`."""
    tag = await connection.execute(
        f"""
        UPDATE call_participants
           SET "leftReason" = CASE WHEN "leftAt" IS NULL THEN $3 ELSE "leftReason" END, status = 'left',
               "screenShareEnabled" = false, "leftAt" = COALESCE("leftAt", GREATEST("joinedAt", $2)),
               "updatedAt" = $2
         WHERE id = {ROW}
        """,
        participant_id,
        moment(at),
        reason,
    )
    _found(tag, participant_id)


_WITH_ALL = """
SELECT p.*, to_jsonb(u) AS "user", to_jsonb(g) AS "anonymousUser", to_jsonb(s) AS "callSession"
  FROM call_participants p
  JOIN call_sessions s ON s.id = p."callSessionId"
  LEFT JOIN users u ON u.id = p."userId"
  LEFT JOIN anonymous_participants g ON g.id = p."anonymousUserId"
"""


async def participant_by_producer(connection: Connection, producer_id: str) -> dict[str, Any] | None:
    """Who sends this audio, video or screen producer: the row with `user`, `anonymousUser` and
    `callSession`."""
    row = await connection.fetchrow(
        f"""{_WITH_ALL}
         WHERE p."sfuAudioProducerId" = $1 OR p."sfuVideoProducerId" = $1 OR p."sfuScreenProducerId" = $1
         LIMIT 1""",
        producer_id,
    )
    return None if row is None else dict(row)


async def participant_by_transport(connection: Connection, send_transport_id: str) -> dict[str, Any] | None:
    """Whose send transport this is: the row with `user`, `anonymousUser` and `callSession`."""
    row = await connection.fetchrow(
        f'{_WITH_ALL} WHERE p."sfuSendTransportId" = $1 LIMIT 1', send_transport_id
    )
    return None if row is None else dict(row)
