"""Calls as applications list them: filtered, in pages that stay whole while calls are being written.

A page begins after a row's own place in the order (its createdAt and id, which never change), so rows that
come meanwhile push nothing from one page to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from server.db.changes import CallStatus, CallType, Mode
from server.db.connection import Connection, Row
from server.db.queries.calls import with_person
from server.db.queries.capabilities import CALL_COLUMNS

EMBEDDED = 100  # participants that come with a call; the rest is a listing of its own
Place = tuple[datetime, str]  # of a row in a listing: its time and its id


class CallFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Each field narrows; None does not. `user_id` made the call or took part in it; times are createdAt's,
    both included."""

    call_id: str | None = None
    room_id: str | None = None
    user_id: str | None = None
    status: CallStatus | None = None
    mode: Mode | None = None
    call_type: CallType | None = None
    since: datetime | None = None
    until: datetime | None = None


_CONDITIONS = {
    "call_id": "s.id = {}",
    "room_id": 's."roomId" = {}',
    "user_id": 's.id IN (SELECT "callSessionId" FROM call_participants WHERE "userId" = {0}'
    ' UNION SELECT id FROM call_sessions WHERE "initiatorId" = {0})',
    "status": 's.status = {}::text::"CallStatus"',
    "mode": "s.mode = {}",
    "call_type": 's."callType" = {}::text::"CallType"',
    "since": 's."createdAt" >= {}',
    "until": 's."createdAt" <= {}',
}


def _where(filters: Sequence[CallFilter], values: list[Any]) -> str:
    """SQL for all of the filters, whose values are added to `values`."""
    conditions = ["true"]
    for one in filters:
        for field, value in msgspec.structs.asdict(one).items():
            if value is not None:
                values.append(value)
                conditions.append(_CONDITIONS[field].format(f"${len(values)}"))
    return " AND ".join(conditions)


async def list_calls(
    connection: Connection, *filters: CallFilter, limit: int, after: Place | None = None
) -> list[dict[str, Any]]:
    """Calls that pass every filter, latest first, without `sfuRtpCapabilities`, with their first `EMBEDDED`
    participants and those's persons. `after` is the createdAt and id of the last call of the page before."""
    values: list[Any] = []
    where = _where(filters, values)
    if after is not None:
        values += after
        where += f' AND (s."createdAt", s.id) < (${len(values) - 1}, ${len(values)})'
    values.append(limit)
    calls = await connection.fetch(
        f"""SELECT {CALL_COLUMNS} FROM call_sessions s WHERE {where}
             ORDER BY s."createdAt" DESC, s.id DESC LIMIT ${len(values)}""",
        *values,
    )
    found = [{**call, "participants": []} for call in calls]
    by_id = {call["id"]: call["participants"] for call in found}
    for row in await connection.fetch(_EMBEDDED, list(by_id), EMBEDDED):
        by_id[row["callSessionId"]].append(with_person(row))
    return found


async def find_call(connection: Connection, *filters: CallFilter) -> dict[str, Any] | None:
    """The call that passes every filter, one of which names its id, as `list_calls` gives it."""
    found = await list_calls(connection, *filters, limit=1)
    return found[0] if found else None


async def call_exists(connection: Connection, *filters: CallFilter) -> bool:
    values: list[Any] = []
    where = _where(filters, values)
    return bool(await connection.fetchval(f"SELECT true FROM call_sessions s WHERE {where} LIMIT 1", *values))


_PERSON = """
SELECT p.*, u.name AS "userName", u.avatar AS "userAvatar", g.name AS "guestName"
  FROM {} p
  LEFT JOIN users u ON u.id = p."userId"
  LEFT JOIN anonymous_participants g ON g.id = p."anonymousUserId"
"""
_EMBEDDED = (
    _PERSON.format(
        """unnest($1::text[]) AS c (id) CROSS JOIN LATERAL (SELECT * FROM call_participants
            WHERE "callSessionId" = c.id ORDER BY "joinedAt", id LIMIT $2)"""
    )
    + ' ORDER BY p."joinedAt", p.id'
)
_LISTED = (
    _PERSON.format("call_participants")
    + """ WHERE p."callSessionId" = $1 AND ($2::timestamptz IS NULL OR (p."joinedAt", p.id) > ($2, $3))
          ORDER BY p."joinedAt", p.id LIMIT $4"""
)


async def list_participants(
    connection: Connection, call_id: str, *, limit: int, after: Place | None = None
) -> list[dict[str, Any]]:
    """A call's participants in order of joining, with their persons. `after` is the joinedAt and id of the
    last one of the page before."""
    place = (None, "") if after is None else after
    rows: Sequence[Row] = await connection.fetch(_LISTED, call_id, *place, limit)
    return [with_person(row) for row in rows]
