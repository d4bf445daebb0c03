"""Participants: joined, their state, left, found.

A person has one row in a call. Who comes again under another participant id gets the first row again, and
`participant_aliases` leads the second id to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from server.db.changes import ParticipantStatus, SfuIds
from server.db.connection import Connection, rows_of
from server.db.errors import MissingRow
from server.db.queries.people import ensure_guest
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


class Joining(NamedTuple):
    call_id: str
    participant: NewParticipant
    at: float


# What a participant's row refers to, by the kind of person: made where it is missing.
_USERS = """
    INSERT INTO users (id, name, "createdAt", "updatedAt")
    SELECT said."user", said.name, said.at, said.at FROM said
     WHERE NOT EXISTS (SELECT FROM users WHERE id = said."user") ON CONFLICT (id) DO NOTHING
"""
_GUESTS = """
    INSERT INTO anonymous_participants (id, name, "createdAt", "updatedAt")
    SELECT DISTINCT ON (guest) guest, COALESCE(name, ''), at, at FROM said ORDER BY guest, at DESC
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, "updatedAt" = excluded."updatedAt"
"""
_NOBODY = "SELECT"


def _join(person: str, arbiter: str) -> str:
    return f"""
        WITH said AS (
            SELECT n.*, s.status NOT IN ('INITIATED', 'ACTIVE') AS over
              FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
                          $7::boolean[], $8::boolean[], $9::jsonb[], $10::text[])
                   AS n (id, call, "user", guest, role, at, audio, video, device, name)
              JOIN (SELECT id, status FROM call_sessions WHERE id = ANY ($2) ORDER BY id FOR SHARE) AS s
                ON s.id = n.call
        ), person AS ({person})
        INSERT INTO call_participants AS p (id, "callSessionId", "userId", "anonymousUserId", role, status,
            "joinedAt", "leftAt", "audioEnabled", "videoEnabled", "wasMuted", "hadVideo", "deviceInfo",
            "updatedAt", "displayName")
        SELECT id, call, "user", guest, role, CASE WHEN over THEN 'left' ELSE 'connecting' END,
               at, CASE WHEN over THEN at END, audio, video, NOT audio, video, device, at, name
          FROM said
        ON CONFLICT {arbiter} DO UPDATE
           SET role = excluded.role, status = excluded.status,
               "joinCount" = p."joinCount" + 1,
               "awaySeconds" = p."awaySeconds" + COALESCE(
                   GREATEST(0, extract(epoch FROM excluded."joinedAt" - p."leftAt")), 0),
               "leftAt" = CASE WHEN excluded.status = 'left'
                               THEN COALESCE(p."leftAt", excluded."leftAt") END,
               "leftReason" = NULL,
               "audioEnabled" = excluded."audioEnabled", "videoEnabled" = excluded."videoEnabled",
               "screenShareEnabled" = false,
               "wasMuted" = p."wasMuted" OR excluded."wasMuted",
               "hadVideo" = p."hadVideo" OR excluded."hadVideo",
               "sfuSendTransportId" = NULL, "sfuRecvTransportId" = NULL, "sfuAudioProducerId" = NULL,
               "sfuVideoProducerId" = NULL, "sfuScreenProducerId" = NULL,
               "deviceInfo" = COALESCE(excluded."deviceInfo", p."deviceInfo"),
               "displayName" = COALESCE(excluded."displayName", p."displayName"),
               "updatedAt" = excluded."updatedAt"
        RETURNING id, "callSessionId", COALESCE("userId", "anonymousUserId", id) AS person
    """


# By whether it is a user, else whether it is a guest.
_JOINS = {
    (True, False): _join(_USERS, '("callSessionId", "userId")'),
    (False, True): _join(_GUESTS, '("callSessionId", "anonymousUserId")'),
    (False, False): _join(_NOBODY, "(id)"),
}


async def add_participants(connection: Connection, joining: Sequence[Joining]) -> list[str]:
    """Adds participants, or takes the same persons' rows of their calls again (leftAt cleared); returns the
    rows' ids. Nobody may be among them twice.

    Waits for a transaction that is ending a call; in a call that is over the row is written as left at
    once. The users' or guests' own rows are made where they are missing. Raises `MissingRow` if a call is
    not there.
    """
    found: dict[tuple[str, str], str] = {}
    for kind, statement in _JOINS.items():
        some = [one for one in joining if _kind(one.participant) == kind]
        for row in await connection.fetch(statement, *_columns(some)) if some else ():
            found[row["callSessionId"], row["person"]] = row["id"]
    ids = [found.get((call_id, one.user_id or one.anonymous_id or one.id)) for call_id, one, _ in joining]
    rows = [row_id for row_id in ids if row_id is not None]
    if len(rows) < len(ids):
        raise MissingRow(f"there is no call {joining[ids.index(None)].call_id!r}")
    aliases = [
        (one.participant.id, row_id)
        for one, row_id in zip(joining, rows, strict=True)
        if row_id != one.participant.id
    ]
    if aliases:
        await connection.execute(
            'INSERT INTO participant_aliases (id, "participantId")'
            " SELECT * FROM unnest($1::text[], $2::text[])"
            ' ON CONFLICT (id) DO UPDATE SET "participantId" = excluded."participantId"',
            *map(list, zip(*aliases, strict=True)),
        )
    return rows


def _kind(participant: NewParticipant) -> tuple[bool, bool]:
    user = participant.user_id is not None
    return user, not user and participant.anonymous_id is not None


def _columns(joining: Sequence[Joining]) -> list[list[Any]]:
    rows = [
        (
            one.id,
            call_id,
            one.user_id,
            one.anonymous_id if one.user_id is None else None,
            one.role,
            moment(at),
            one.audio_enabled,
            one.video_enabled,
            one.device_info,
            one.name or None,
        )
        for call_id, one, at in joining
    ]
    return [list(column) for column in zip(*rows, strict=True)]


async def add_participant(
    connection: Connection, call_id: str, participant: NewParticipant, *, at: float
) -> str:
    """`add_participants` with one."""
    return (await add_participants(connection, [Joining(call_id, participant, at)]))[0]


async def _update(
    connection: Connection, changes: str, columns: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Sets columns of each row's participant `p` to what is said of it: `n.id`, `n.at` and more `columns`
    ("name type, …"). Raises `MissingRow`, and then nothing has changed for good."""
    types = [column.split() for column in f"id text, at timestamptz, {columns}".split(", ")]
    given = ", ".join(f"${place}::{kind}[]" for place, (_, kind) in enumerate(types, 1))
    tag = await connection.execute(
        f"""
        UPDATE call_participants p SET {changes}, "updatedAt" = n.at
          FROM unnest({given}) AS n ({", ".join(name for name, _ in types)})
          LEFT JOIN participant_aliases a ON a.id = n.id
         WHERE p.id = COALESCE(a."participantId", n.id)
        """,
        *[list(column) for column in zip(*rows, strict=True)],
    )
    if rows_of(tag) != len(rows):
        raise MissingRow(f"not all of these are participants: {', '.join(str(row[0]) for row in rows)}")


async def update_statuses(
    connection: Connection, said: Sequence[tuple[str, ParticipantStatus, float]]
) -> None:
    """Stores the connections' states of some, as (participant id, status, at). Raises `MissingRow`."""
    gone = [(participant_id, None, at) for participant_id, status, at in said if status == "left"]
    if gone:
        await leave_calls(connection, gone)
    here = [(participant_id, moment(at), status) for participant_id, status, at in said if status != "left"]
    if here:
        change = 'status = CASE WHEN p."leftAt" IS NULL THEN n.status ELSE p.status END'
        await _update(connection, change, "status text", here)


async def update_participant_status(
    connection: Connection, participant_id: str, status: ParticipantStatus, *, at: float
) -> None:
    """Stores the connection's state. Who has left stays left until joining again. Raises `MissingRow`."""
    await update_statuses(connection, [(participant_id, status, at)])


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


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """What is switched on; None leaves a field as it is."""

    audio_enabled: bool | None = None
    video_enabled: bool | None = None
    screen_share_enabled: bool | None = None
    device_info: dict[str, Any] | None = None


async def update_media(connection: Connection, said: Sequence[tuple[str, Media, float]]) -> None:
    """Stores what some have switched on, as (participant id, media, at). wasMuted and hadVideo, once true,
    stay. Raises `MissingRow`."""
    await _update(
        connection,
        """
        "audioEnabled" = COALESCE(n.audio, "audioEnabled"),
        "videoEnabled" = COALESCE(n.video, "videoEnabled"),
        "screenShareEnabled" = COALESCE(n.screen, "screenShareEnabled"),
        "deviceInfo" = COALESCE(n.device, "deviceInfo"),
        "wasMuted" = "wasMuted" OR NOT COALESCE(n.audio, true),
        "hadVideo" = "hadVideo" OR COALESCE(n.video, false)
        """,
        "audio boolean, video boolean, screen boolean, device jsonb",
        [(participant_id, moment(at), *msgspec.structs.astuple(media)) for participant_id, media, at in said],
    )


async def update_participant_media(
    connection: Connection, participant_id: str, *, at: float, **switched: Any
) -> None:
    """`update_media` of one; what is switched by the names of `Media`."""
    await update_media(connection, [(participant_id, Media(**switched), at)])


async def update_participant_quality(
    connection: Connection, participant_id: str, metrics: dict[str, Any], *, at: float
) -> None:
    """Stores the latest quality metrics. Raises `MissingRow`."""
    await _update(
        connection, '"qualityMetrics" = n.metrics', "metrics jsonb", [(participant_id, moment(at), metrics)]
    )


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


async def update_sfu_data(connection: Connection, said: Sequence[tuple[SfuIds, float]]) -> int:
    """Stores the transports and producers of some, as (ids, at), where their calls are in SFU mode; returns
    of how many that is so.

    Locks the calls' rows against a switch that is under way.
    """
    tag = await connection.execute(
        """
        WITH said AS (
            SELECT n.*, COALESCE(a."participantId", n.id) AS row
              FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                          $7::timestamptz[]) AS n (id, send, recv, audio, video, screen, at)
              LEFT JOIN participant_aliases a ON a.id = n.id
        ), call AS (
            SELECT s.id FROM call_sessions s
             WHERE s.mode = 'sfu'
               AND s.id IN (SELECT p."callSessionId" FROM said JOIN call_participants p ON p.id = said.row)
             ORDER BY s.id FOR SHARE
        )
        UPDATE call_participants p
           SET "sfuSendTransportId" = said.send, "sfuRecvTransportId" = said.recv,
               "sfuAudioProducerId" = said.audio, "sfuVideoProducerId" = said.video,
               "sfuScreenProducerId" = said.screen, "updatedAt" = said.at
          FROM said, call WHERE p.id = said.row AND p."callSessionId" = call.id
        """,
        *map(list, zip(*[(*msgspec.structs.astuple(ids), moment(at)) for ids, at in said], strict=True)),
    )
    return rows_of(tag)


async def update_participant_sfu_data(connection: Connection, ids: SfuIds, *, at: float) -> bool:
    """`update_sfu_data` of one; False if its call is not in SFU mode."""
    return await update_sfu_data(connection, [(ids, at)]) == 1


async def leave_calls(connection: Connection, said: Sequence[tuple[str, str | None, float]]) -> None:
    """leftAt, status `left`, and why, as (participant id, reason, at); a second leaving changes nothing.
    Raises `MissingRow`."""
    await _update(
        connection,
        """
        "leftReason" = CASE WHEN "leftAt" IS NULL THEN n.reason ELSE "leftReason" END, status = 'left',
        "screenShareEnabled" = false, "leftAt" = COALESCE("leftAt", GREATEST("joinedAt", n.at))
        """,
        "reason text",
        [(participant_id, moment(at), reason) for participant_id, reason, at in said],
    )


async def leave_call(
    connection: Connection, participant_id: str, *, at: float, reason: str | None = None
) -> None:
    """`leave_calls` of one."""
    await leave_calls(connection, [(participant_id, reason, at)])


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
