"""What routers of many calls can do, read once: kilobytes of JSON, the same for every call of a server.

To write a hundred of them out as text, send and parse them would take longer than all else in a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.db.connection import Connection

# Every column of a call but "sfuRtpCapabilities".
CALL_COLUMNS = ", ".join(
    f's."{name}"'
    for name in (
        "id", "roomId", "callType", "status", "startedAt", "endedAt", "duration", "mode", "initiatorId",
        "sfuRoomId", "lastModeChange", "modeChangeCount", "settings", "createdAt", "endReason", "endedBy",
        "updatedAt", "serverInstanceId",
    )
)  # fmt: skip

# Compared by their bytes, with those of any one of the calls; only what differs comes a second time.
_CAPABILITIES = """
WITH said AS MATERIALIZED (
    SELECT id, "sfuRtpCapabilities" AS what FROM call_sessions
     WHERE id = ANY ($1::text[]) AND "sfuRtpCapabilities" IS NOT NULL
), one AS MATERIALIZED (
    SELECT what FROM said LIMIT 1
), compared AS MATERIALIZED (
    SELECT said.id, said.what, record_image_eq(ROW(said.what), ROW(one.what)) AS same FROM said, one
)
SELECT array_agg(id) AS ids, (SELECT what FROM one) AS what FROM compared WHERE same HAVING count(*) > 0
UNION ALL
SELECT ARRAY[id], what FROM compared WHERE NOT same
"""


async def capabilities_of(connection: Connection, call_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`sfuRtpCapabilities` of those of these calls that have some, by call. Equal ones are one object, for
    reading only."""
    rows = await connection.fetch(_CAPABILITIES, list(call_ids))
    return {call_id: row["what"] for row in rows for call_id in row["ids"]}
