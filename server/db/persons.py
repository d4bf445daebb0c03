"""All that is held on one person, to give out or to erase (GDPR, articles 15 and 17)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from server.db.connection import Connection, rows_of
from server.db.errors import DatabaseError
from server.db.times import moment

Kind = Literal["user", "guest"]

_COLUMN: dict[Kind, str] = {"user": '"userId"', "guest": '"anonymousUserId"'}
_TABLE: dict[Kind, str] = {"user": "users", "guest": "anonymous_participants"}
_OUR_USERS = {"id", "name", "avatar", "createdAt", "updatedAt"}


class InCall(DatabaseError):
    """The person is in a call now; what is erased would be written again."""


class Erased(msgspec.Struct, frozen=True, rename="camel"):
    """What was taken from the rows. `person_row` is `kept` where `users` belongs to another application.
    `heard_in` are the ids of recordings, with a file, of calls that the person was in: a file is one for all
    who were in the call, so it is left to a person to decide."""

    participations: int
    calls_initiated: int
    calls_ended: int
    person_row: Literal["erased", "kept", "absent"]
    transcriptions: int = 0  # deleted: they are the person's own words
    recordings_made: int = 0  # started or stopped by the person
    heard_in: list[str] = []


async def export_person(connection: Connection, person: str, kind: Kind) -> dict[str, Any] | None:
    """The person's own row, participations (each with its call's plain facts), what they said where it was
    written down, the recordings of their calls, and the calls and recordings they made or ended; None if
    nothing is held. Nothing in it is about other people."""
    row = await connection.fetchrow(f"SELECT * FROM {_TABLE[kind]} WHERE id = $1", person)
    participations = await connection.fetch(
        f"""
        SELECT p.*, jsonb_build_object(
                   'id', s.id, 'roomId', s."roomId", 'callType', s."callType", 'status', s.status,
                   'mode', s.mode, 'createdAt', s."createdAt", 'startedAt', s."startedAt",
                   'endedAt', s."endedAt", 'duration', s.duration, 'endReason', s."endReason"
               ) AS "callSession"
          FROM call_participants p LEFT JOIN call_sessions s ON s.id = p."callSessionId"
         WHERE p.{_COLUMN[kind]} = $1 ORDER BY p."joinedAt", p.id
        """,
        person,
    )
    initiated = await connection.fetch(
        'SELECT id, "roomId", "createdAt", settings FROM call_sessions WHERE "initiatorId" = $1'
        ' ORDER BY "createdAt", id',
        person,
    )
    ended = await connection.fetch(
        'SELECT id, "roomId", "endedAt", "endReason" FROM call_sessions WHERE "endedBy" = $1'
        ' ORDER BY "endedAt", id',
        person,
    )
    mine = [one["id"] for one in participations]
    said = await connection.fetch(
        """
        SELECT id, "callSessionId", "participantId", text, language, "startedAt", "endedAt", confidence,
               "isFinal", source
          FROM call_transcriptions WHERE "participantId" = ANY ($1::text[]) ORDER BY "startedAt", id
        """,
        mine,
    )
    recorded = await connection.fetch(
        """
        SELECT r.id, r."callSessionId", r.status, r.format, r.duration, r."startedAt", r."endedAt",
               COALESCE(r."startedBy" = $2, false) AS "startedByPerson",
               COALESCE(r."stoppedBy" = $2, false) AS "stoppedByPerson"
          FROM call_recordings r
         WHERE r."startedBy" = $2 OR r."stoppedBy" = $2 OR r."callSessionId" IN (
             SELECT p."callSessionId" FROM call_participants p WHERE p.id = ANY ($1::text[]))
         ORDER BY r."createdAt", r.id
        """,
        mine,
        person if kind == "user" else None,
    )
    if row is None and not (participations or initiated or ended or recorded):
        return None
    return {
        kind: None if row is None else dict(row),
        "participations": [dict(one) for one in participations],
        "callsInitiated": [dict(one) for one in initiated],
        "callsEnded": [dict(one) for one in ended],
        "transcriptions": [dict(one) for one in said],
        "recordings": [dict(one) for one in recorded],
    }


async def participation_ids(connection: Connection, person: str, kind: Kind) -> list[str]:
    """All ids by which changes may name the person's participations."""
    rows = await connection.fetch(
        f"""
        SELECT p.id FROM call_participants p WHERE p.{_COLUMN[kind]} = $1 UNION ALL
        SELECT a.id FROM participant_aliases a JOIN call_participants p ON p.id = a."participantId"
         WHERE p.{_COLUMN[kind]} = $1
        """,
        person,
    )
    return [row["id"] for row in rows]


async def _users_is_ours(connection: Connection) -> bool:
    """Whether `users` is as Tandem makes it: no other columns, and no other tables that refer to it."""
    columns = await connection.fetch(
        "SELECT attname FROM pg_attribute"
        " WHERE attrelid = 'users'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    others = await connection.fetchval(
        """
        SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confrelid = 'users'::regclass
           AND conrelid NOT IN ('call_sessions'::regclass, 'call_participants'::regclass)
        """
    )
    return {row["attname"] for row in columns} <= _OUR_USERS and not others


async def erase_person(connection: Connection, person: str, kind: Kind, *, at: float) -> Erased | None:
    """Takes the person out of every row; the calls keep their figures. None if nothing is held.

    Participations lose whose they were, the name and the device; calls and recordings lose who made and who
    ended them; what the person said, where it was written down, is deleted. The person's own row is deleted,
    unless
    `users` has other columns or other tables refer to it: then it is another application's, which has its own
    way of erasing. Raises `InCall` while the person is in an open call.
    """
    column = _COLUMN[kind]
    row = await connection.fetchrow(f"SELECT id FROM {_TABLE[kind]} WHERE id = $1 FOR UPDATE", person)
    open_call = await connection.fetchval(
        f"""
        SELECT s.id FROM call_participants p JOIN call_sessions s ON s.id = p."callSessionId"
         WHERE p.{column} = $1 AND p."leftAt" IS NULL AND s.status IN ('INITIATED', 'ACTIVE') LIMIT 1
        """,
        person,
    )
    if open_call is not None:
        raise InCall(f"{kind} {person!r} is in call {open_call!r} now; erase when that has ended")
    said = await connection.execute(
        f"""DELETE FROM call_transcriptions t USING call_participants p
             WHERE p.{column} = $1 AND t."participantId" = p.id""",
        person,
    )
    heard = await connection.fetch(
        f"""
        SELECT r.id FROM call_recordings r WHERE r."fileKey" IS NOT NULL AND r."callSessionId" IN (
            SELECT p."callSessionId" FROM call_participants p WHERE p.{column} = $1) ORDER BY r.id
        """,
        person,
    )
    recordings = "UPDATE 0"
    if kind == "user":
        recordings = await connection.execute(
            """
            UPDATE call_recordings
               SET "startedBy" = NULLIF("startedBy", $1), "stoppedBy" = NULLIF("stoppedBy", $1),
                   "updatedAt" = $2
             WHERE "startedBy" = $1 OR "stoppedBy" = $1
            """,
            person,
            moment(at),
        )
    left = await connection.execute(
        f"""UPDATE call_participants SET {column} = NULL, "displayName" = NULL, "deviceInfo" = NULL,
                   "updatedAt" = $2 WHERE {column} = $1""",
        person,
        moment(at),
    )
    initiated = await connection.execute(
        'UPDATE call_sessions SET "initiatorId" = NULL, "updatedAt" = $2 WHERE "initiatorId" = $1',
        person,
        moment(at),
    )
    ended = await connection.execute(
        'UPDATE call_sessions SET "endedBy" = NULL, "updatedAt" = $2 WHERE "endedBy" = $1', person, moment(at)
    )
    own: Literal["erased", "kept", "absent"] = "absent" if row is None else "kept"
    if row is not None and (kind == "guest" or await _users_is_ours(connection)):
        await connection.execute(f"DELETE FROM {_TABLE[kind]} WHERE id = $1", person)
        own = "erased"
    erased = Erased(
        rows_of(left),
        rows_of(initiated),
        rows_of(ended),
        own,
        transcriptions=rows_of(said),
        recordings_made=rows_of(recordings),
        heard_in=[one["id"] for one in heard],
    )
    return None if erased == Erased(0, 0, 0, "absent") else erased
