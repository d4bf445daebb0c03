"""Calls: made, started, ended, found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from server.db.changes import CallStatus, CallType, Mode, ParticipantStatus
from server.db.connection import Connection, Row, rows_of
from server.db.errors import MissingRow
from server.db.queries.capabilities import CALL_COLUMNS, capabilities_of
from server.db.queries.participants import NewParticipant, add_participant
from server.db.queries.people import ensure_room, ensure_user
from server.db.times import moment

# From which statuses each may be reached; ACTIVE from ACTIVE is a repeated start and harmless.
LEGAL_FROM: dict[CallStatus, tuple[CallStatus, ...]] = {
    "INITIATED": (),
    "ACTIVE": ("INITIATED", "ACTIVE"),
    "ENDED": ("INITIATED", "ACTIVE"),
    "MISSED": ("INITIATED",),
    "REJECTED": ("INITIATED",),
}
RESTART = "server_restart"  # endReason of a call that its server left open


async def create_call_session(
    connection: Connection,
    call_id: str,
    *,
    room_id: str,
    call_type: CallType,
    at: float,
    status: CallStatus = "INITIATED",
    mode: Mode = "p2p",
    initiator_id: str | None = None,
    settings: dict[str, Any] | None = None,
    sfu_room_id: str | None = None,
    sfu_rtp_capabilities: dict[str, Any] | None = None,
    participants: Iterable[NewParticipant] = (),
    instance_id: str | None = None,
) -> None:
    """Makes a call, its chat room and initiator where they are missing, and its first participants.

    SFU columns are stored in mode `sfu` only. A call of this id that ended because its server went away
    (`server_restart`) is opened again with its history; any other existing call is left as it is.
    """
    await ensure_room(connection, room_id, at=at)
    if initiator_id is not None:
        await ensure_user(connection, initiator_id, name=None, at=at)
    in_sfu = mode == "sfu"
    tag = await connection.execute(
        """
        INSERT INTO call_sessions (id, "roomId", "callType", status, mode, "initiatorId", settings,
            "sfuRoomId", "sfuRtpCapabilities", "createdAt", "updatedAt", "startedAt", "serverInstanceId")
        VALUES ($1, $2, $3::text::"CallType", $4::text::"CallStatus", $5, $6, $7, $8, $9, $10, $10,
            CASE WHEN $4::text = 'ACTIVE' THEN $10::timestamptz END, $11)
        ON CONFLICT (id) DO UPDATE
           SET status = CASE WHEN call_sessions."startedAt" IS NULL THEN excluded.status ELSE 'ACTIVE' END,
               mode = excluded.mode, "sfuRoomId" = excluded."sfuRoomId",
               "sfuRtpCapabilities" = excluded."sfuRtpCapabilities", "endedAt" = NULL, duration = NULL,
               "endReason" = NULL, "endedBy" = NULL, "updatedAt" = excluded."updatedAt",
               "serverInstanceId" = excluded."serverInstanceId"
         WHERE call_sessions."endReason" = 'server_restart'
        """,
        call_id,
        room_id,
        call_type,
        status,
        mode,
        initiator_id,
        settings,
        sfu_room_id if in_sfu else None,
        sfu_rtp_capabilities if in_sfu else None,
        moment(at),
        instance_id,
    )
    if rows_of(tag):
        # Of a call that was reopened: what an earlier media server called them is nobody's any more.
        await connection.execute(
            """
            UPDATE call_participants
               SET "sfuSendTransportId" = NULL, "sfuRecvTransportId" = NULL, "sfuAudioProducerId" = NULL,
                   "sfuVideoProducerId" = NULL, "sfuScreenProducerId" = NULL, "updatedAt" = $2
             WHERE "callSessionId" = $1 AND COALESCE("sfuSendTransportId", "sfuRecvTransportId",
                   "sfuAudioProducerId", "sfuVideoProducerId", "sfuScreenProducerId") IS NOT NULL
            """,
            call_id,
            moment(at),
        )
    for participant in participants:
        await add_participant(connection, call_id, participant, at=at)


async def start_call(connection: Connection, call_id: str, *, at: float) -> bool:
    """The call is under way: ACTIVE, startedAt = at unless it had begun. False if it has ended.

    Raises `MissingRow`.
    """
    tag = await connection.execute(
        """
        UPDATE call_sessions
           SET status = 'ACTIVE', "startedAt" = COALESCE("startedAt", $2), "updatedAt" = $2
         WHERE id = $1 AND status IN ('INITIATED', 'ACTIVE')
        """,
        call_id,
        moment(at),
    )
    return await _changed(connection, tag, call_id)


async def end_call(
    connection: Connection,
    call_id: str,
    *,
    at: float,
    status: CallStatus = "ENDED",
    reason: str | None = None,
    ended_by: str | None = None,
    legal_from: Sequence[CallStatus] = ("INITIATED", "ACTIVE"),
) -> bool:
    """Ends the call and sets everybody's leftAt. False if it was over before. Raises `MissingRow`.

    `duration` is in whole seconds since startedAt, None if the call never started.
    """
    tag = await connection.execute(
        """
        UPDATE call_sessions
           SET status = $3::text::"CallStatus",
               "endedAt" = GREATEST($2, "startedAt"),
               duration = floor(extract(epoch FROM GREATEST($2, "startedAt") - "startedAt"))::integer,
               "endReason" = $4, "endedBy" = $5, "updatedAt" = $2
         WHERE id = $1 AND status::text = ANY ($6::text[])
        """,
        call_id,
        moment(at),
        status,
        reason,
        ended_by,
        list(legal_from),
    )
    if not await _changed(connection, tag, call_id):
        return False
    await connection.execute(
        """
        UPDATE call_participants
           SET "leftAt" = COALESCE("leftAt", GREATEST("joinedAt", $2)), status = 'left', "updatedAt" = $2
         WHERE "callSessionId" = $1 AND ("leftAt" IS NULL OR status <> 'left')
        """,
        call_id,
        moment(at),
    )
    return True


async def update_call_status(
    connection: Connection,
    call_id: str,
    status: CallStatus,
    *,
    at: float,
    reason: str | None = None,
    ended_by: str | None = None,
) -> bool:
    """Moves a call to `status` if that is legal from where it is; False, and nothing changed, if not."""
    if status == "INITIATED":
        return False
    if status == "ACTIVE":
        return await start_call(connection, call_id, at=at)
    return await end_call(
        connection,
        call_id,
        at=at,
        status=status,
        reason=reason,
        ended_by=ended_by,
        legal_from=LEGAL_FROM[status],
    )


async def _changed(connection: Connection, tag: str, call_id: str) -> bool:
    if rows_of(tag):
        return True
    if await connection.fetchval("SELECT true FROM call_sessions WHERE id = $1", call_id):
        return False
    raise MissingRow(f"there is no call {call_id!r}")


# -- reading

_PARTICIPANTS = """
SELECT p.*, u.name AS "userName", u.avatar AS "userAvatar", g.name AS "guestName"
  FROM call_participants p
  LEFT JOIN users u ON u.id = p."userId"
  LEFT JOIN anonymous_participants g ON g.id = p."anonymousUserId"
 WHERE p."callSessionId" = ANY ($1::text[]) ORDER BY p."joinedAt", p.id
"""


def with_person(row: Row) -> dict[str, Any]:
    """A participant's row with its person under `user` ({id, name, avatar}) or `anonymousUser` ({id,
    name})."""
    found = dict(row)
    name, avatar, guest = found.pop("userName"), found.pop("userAvatar"), found.pop("guestName")
    user_id, guest_id = found["userId"], found["anonymousUserId"]
    found["user"] = None if user_id is None else {"id": user_id, "name": name, "avatar": avatar}
    found["anonymousUser"] = None if guest_id is None else {"id": guest_id, "name": guest}
    return found


async def with_participants(connection: Connection, calls: Sequence[Row]) -> list[dict[str, Any]]:
    """The calls' rows, each with `participants` in order of joining: one statement for all of them."""
    found = [{**call, "participants": []} for call in calls]
    by_id = {call["id"]: call["participants"] for call in found}
    for row in await connection.fetch(_PARTICIPANTS, list(by_id)):
        by_id[row["callSessionId"]].append(with_person(row))
    return found


async def call_by_id(connection: Connection, call_id: str) -> dict[str, Any] | None:
    """The call with its participants and their users."""
    row = await connection.fetchrow("SELECT * FROM call_sessions WHERE id = $1", call_id)
    return None if row is None else (await with_participants(connection, [row]))[0]


async def call_status(connection: Connection, call_id: str) -> CallStatus | None:
    """Only the status: what is asked about once a second in a call."""
    status: CallStatus | None = await connection.fetchval(
        "SELECT status::text FROM call_sessions WHERE id = $1", call_id
    )
    return status


async def participants_of_call(
    connection: Connection, call_id: str, *, status: ParticipantStatus | None = None
) -> list[dict[str, Any]]:
    """A call's participants with their users, in order of joining; those of one status, or all."""
    rows = await connection.fetch(_PARTICIPANTS, [call_id])
    return [with_person(row) for row in rows if status is None or row["status"] == status]


async def active_calls(connection: Connection, mode: Mode | None = None) -> list[dict[str, Any]]:
    """The active calls of one mode, or all, with participants and users, the earliest start first."""
    rows = await connection.fetch(
        """
        SELECT * FROM call_sessions WHERE status = 'ACTIVE' AND ($1::text IS NULL OR mode = $1)
         ORDER BY "startedAt", id
        """,
        mode,
    )
    return await with_participants(connection, rows)


async def call_by_sfu_room(connection: Connection, sfu_room_id: str) -> dict[str, Any] | None:
    """The active call that has this router."""
    row = await connection.fetchrow(
        """SELECT * FROM call_sessions WHERE "sfuRoomId" = $1 AND status = 'ACTIVE' LIMIT 1""", sfu_room_id
    )
    return None if row is None else (await with_participants(connection, [row]))[0]


async def _page(connection: Connection, calls: Sequence[Row]) -> list[dict[str, Any]]:
    """Calls that were read by `CALL_COLUMNS`, with the one that is missing, and with their participants."""
    can = await capabilities_of(connection, [call["id"] for call in calls])
    return await with_participants(
        connection, [{**call, "sfuRtpCapabilities": can.get(call["id"])} for call in calls]
    )


async def call_history(
    connection: Connection,
    room_id: str,
    *,
    status: CallStatus | None = "ENDED",
    limit: int = 50,
    offset: int = 0,
) -> list[dict[str, Any]]:
    """A room's calls, latest start first (those that never started last), with participants and users."""
    rows = await connection.fetch(
        f"""
        SELECT {CALL_COLUMNS} FROM call_sessions s
         WHERE "roomId" = $1 AND ($2::text IS NULL OR status = $2::text::"CallStatus")
         ORDER BY "startedAt" DESC NULLS LAST, id DESC LIMIT $3 OFFSET $4
        """,
        room_id,
        status,
        limit,
        offset,
    )
    return await _page(connection, rows)


async def calls_of_user(
    connection: Connection, user_id: str, *, limit: int = 20, offset: int = 0
) -> list[dict[str, Any]]:
    """The calls that a user took part in, latest joining first, with participants and users."""
    rows = await connection.fetch(
        f"""
        SELECT {CALL_COLUMNS} FROM call_participants p JOIN call_sessions s ON s.id = p."callSessionId"
         WHERE p."userId" = $1 ORDER BY p."joinedAt" DESC, p."callSessionId" DESC LIMIT $2 OFFSET $3
        """,
        user_id,
        limit,
        offset,
    )
    return await _page(connection, rows)
