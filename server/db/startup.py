"""What a starting server does with the records of those before it: nothing stays open that nobody holds.

A node is a data directory, an instance one process that ran on it. Later instances of a node know that the
earlier ones are gone (a lock on the directory says so). Another node's instance counts as gone when it has
not been seen for `STRANGER_SILENCE`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog

from server.db.changes import CallMetricsUpdate
from server.db.connection import Connection
from server.db.errors import DatabaseUnavailable
from server.db.migrations import migrate
from server.db.pool import Database
from server.db.queries import metrics
from server.db.recorder import Recorder
from server.db.times import moment
from server.db.writes import register_stream

log = structlog.get_logger("tandem.db")

STRANGER_SILENCE = 600.0  # seconds


class InterruptedCall(msgspec.Struct, frozen=True):
    """A call that was open when its server went away; it was closed as of `ended_at`."""

    call_id: str
    room_id: str
    mode: str
    ended_at: datetime
    settings: dict[str, Any] | None = None
    metrics: CallMetricsUpdate | None = None  # as they were stored last


async def register_instance(connection: Connection, instance_id: str, node_id: str, *, at: float) -> None:
    """Notes that this process runs, and opens its stream."""
    await connection.execute(
        """
        INSERT INTO server_instances (id, "nodeId", "startedAt", "lastSeenAt") VALUES ($1, $2, $3, $3)
        ON CONFLICT (id) DO NOTHING
        """,
        instance_id,
        node_id,
        moment(at),
    )
    await register_stream(connection, instance_id)


async def heartbeat(connection: Connection, instance_id: str, *, at: float, stopped: bool = False) -> None:
    """Notes that this process is alive, or that it is about to stop."""
    await connection.execute(
        """
        UPDATE server_instances SET "lastSeenAt" = $2, "stoppedAt" = CASE WHEN $3 THEN $2::timestamptz END
         WHERE id = $1
        """,
        instance_id,
        moment(at),
        stopped,
    )


async def close_interrupted(
    connection: Connection,
    instance_id: str,
    node_id: str,
    *,
    at: float,
    last_seen: float | None = None,
    spare: Sequence[str] = (),
) -> list[InterruptedCall]:
    """Closes the calls that instances which are gone left open, each as of the last moment known of it: the
    instance's last heartbeat (`last_seen` where the node's own file knows better) or the call's last change.

    A call that still rang was missed; the others ended. Both get `endReason` `server_restart`, and whoever
    was in is marked as having left at that moment. The calls of the instances in `spare` stay open.
    """
    calls = await connection.fetch(
        """
        WITH gone AS (
            SELECT id, CASE WHEN "nodeId" = $2
                            THEN GREATEST("lastSeenAt", $3::timestamptz) ELSE "lastSeenAt" END AS seen
              FROM server_instances
             WHERE id <> $1 AND id <> ALL ($5::text[]) AND ("nodeId" = $2 OR "lastSeenAt" < $4)
        )
        SELECT s.id, s."roomId", s.mode, s.settings, GREATEST(gone.seen, s."startedAt", s."updatedAt",
               (SELECT max(p."updatedAt") FROM call_participants p WHERE p."callSessionId" = s.id)) AS "at"
          FROM call_sessions s JOIN gone ON gone.id = s."serverInstanceId"
         WHERE s.status IN ('INITIATED', 'ACTIVE') ORDER BY s.id FOR UPDATE OF s
        """,
        instance_id,
        node_id,
        None if last_seen is None else moment(last_seen),
        moment(at - STRANGER_SILENCE),
        list(spare),
    )
    ids, moments = [call["id"] for call in calls], [call["at"] for call in calls]
    if ids:
        await connection.execute(
            """
            UPDATE call_sessions s
               SET status = CASE WHEN s.status = 'INITIATED' THEN 'MISSED' ELSE 'ENDED' END::"CallStatus",
                   "endedAt" = c.at, duration = floor(extract(epoch FROM c.at - s."startedAt"))::integer,
                   "endReason" = 'server_restart', "updatedAt" = $3
              FROM unnest($1::text[], $2::timestamptz[]) AS c (id, at) WHERE s.id = c.id
            """,
            ids,
            moments,
            moment(at),
        )
        await connection.execute(
            """
            UPDATE call_participants p
               SET "leftAt" = GREATEST(p."joinedAt", c.at), "leftReason" = 'server_restart', status = 'left',
                   "updatedAt" = $3
              FROM unnest($1::text[], $2::timestamptz[]) AS c (id, at)
             WHERE p."callSessionId" = c.id AND p."leftAt" IS NULL
            """,
            ids,
            moments,
            moment(at),
        )
    stored = await metrics.stored_metrics(connection, ids)
    return [
        InterruptedCall(
            call["id"], call["roomId"], call["mode"], call["at"], call["settings"], stored.get(call["id"])
        )
        for call in calls
    ]


async def _still_interrupted(connection: Connection, call_ids: list[str]) -> list[str]:
    """Those of the calls that no later process has reopened or ended otherwise."""
    rows = await connection.fetch(
        "SELECT id FROM call_sessions"
        " WHERE id = ANY ($1::text[]) AND \"endReason\" = 'server_restart' ORDER BY id",
        call_ids,
    )
    return [row["id"] for row in rows]


async def forget_predecessors(connection: Connection, instance_id: str, node_id: str) -> None:
    """Removes the marks of this node's earlier instances, whose spools are written and gone."""
    await connection.execute(
        """
        WITH gone AS (DELETE FROM server_instances WHERE "nodeId" = $2 AND id <> $1 RETURNING id)
        DELETE FROM change_streams WHERE id IN (SELECT id FROM gone)
        """,
        instance_id,
        node_id,
    )


async def take_over(
    database: Database, recorder: Recorder, node_id: str, *, at: float, last_seen: float | None
) -> list[InterruptedCall]:
    """Migrates, writes what earlier processes left in the spool, closes what they left open, and registers.

    Each step may be repeated, so after `DatabaseUnavailable` the whole is simply called again. Raises also
    `MigrationError`.
    """
    for migration in await migrate(database):
        log.info("migrated", version=migration.version, name=migration.name)
    streams = recorder.left_behind()
    found: dict[str, InterruptedCall] = {}
    for n, stream in enumerate(streams):
        # One process after the other, as they were: a later one may have reopened an earlier one's calls.
        # Its own registration may never have come through, and its calls must be found all the same.
        await database.run(register_instance, stream, node_id, at=0.0)
        await recorder.write_stream(database, stream)
        rest = streams[n + 1 :]
        if rest:
            closed = await database.run(close_interrupted, recorder.stream, node_id, at=at, spare=rest)
            found |= {call.call_id: call for call in closed}
    await database.run(register_instance, recorder.stream, node_id, at=at)
    closed = await database.run(close_interrupted, recorder.stream, node_id, at=at, last_seen=last_seen)
    found |= {call.call_id: call for call in closed}
    ended = await database.run(_still_interrupted, list(found))
    interrupted = [found[call_id] for call_id in ended]
    for call in interrupted:
        log.warning("a call was interrupted by the server's end", call=call.call_id, at=str(call.ended_at))
    try:
        recorder.forget(streams)
    except OSError as error:
        log.error("the spool's directory cannot be flushed to the disk", error=str(error))
        return interrupted  # the marks stay until a next start
    with contextlib.suppress(DatabaseUnavailable):  # the next start removes them as well
        await database.run(forget_predecessors, recorder.stream, node_id)
    return interrupted
