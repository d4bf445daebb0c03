"""A call moves between P2P and SFU: one transaction, and as many statements for fifty participants as for
two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from server.db.changes import Mode, SfuIds
from server.db.connection import Connection
from server.db.errors import MissingRow
from server.db.queries.calls import with_person
from server.db.queries.capabilities import CALL_COLUMNS, capabilities_of
from server.db.times import iso, moment
from server.ids import cuid


class Transition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An element of `call_metrics."modeTransitions"`; `from` and `timestamp` are added when it is written."""

    reason: str
    duration: float | None = None  # seconds
    epoch: int | None = None
    max_video_gap_ms: float | None = None
    max_audio_gap_ms: float | None = None


async def _mode_for_update(connection: Connection, call_id: str) -> Mode:
    mode: Mode | None = await connection.fetchval(
        "SELECT mode FROM call_sessions WHERE id = $1 FOR UPDATE", call_id
    )
    if mode is None:
        raise MissingRow(f"there is no call {call_id!r}")
    return mode


async def _append(
    connection: Connection, call_id: str, old: Mode, new: Mode, transition: Transition, at: float
) -> None:
    element = {"from": old, "to": new, "timestamp": iso(at), **msgspec.to_builtins(transition)}
    if transition.duration is not None:
        element["duration"] = round(transition.duration, 3)
    await connection.execute(
        """
        INSERT INTO call_metrics AS m (id, "callSessionId", "modeTransitions", "createdAt", "updatedAt")
        VALUES ($1, $2, jsonb_build_array($3::jsonb), $4, $4)
        ON CONFLICT ("callSessionId") DO UPDATE
           SET "modeTransitions" = COALESCE(m."modeTransitions", '[]'::jsonb) || excluded."modeTransitions",
               "updatedAt" = excluded."updatedAt"
        """,
        cuid(),
        call_id,
        element,
        moment(at),
    )


async def switch_to_sfu(
    connection: Connection,
    call_id: str,
    *,
    sfu_room_id: str,
    sfu_rtp_capabilities: dict[str, Any],
    participants: Sequence[SfuIds],
    transition: Transition,
    at: float,
) -> bool:
    """Moves the call to SFU mode with its router and everybody's ids, counts and notes the transition.

    A call that is in SFU mode already gets the new ids, but no transition is counted, and the result is
    False. Raises `MissingRow` if there is no such call.
    """
    old = await _mode_for_update(connection, call_id)
    await connection.execute(
        """
        UPDATE call_sessions
           SET mode = 'sfu', "sfuRoomId" = $2, "sfuRtpCapabilities" = $3,
               "lastModeChange" = CASE WHEN mode = 'sfu' THEN "lastModeChange" ELSE $4 END,
               "modeChangeCount" = "modeChangeCount" + CASE WHEN mode = 'sfu' THEN 0 ELSE 1 END,
               "updatedAt" = $4
         WHERE id = $1
        """,
        call_id,
        sfu_room_id,
        sfu_rtp_capabilities,
        moment(at),
    )
    await connection.execute(
        """
        UPDATE call_participants p
           SET "sfuSendTransportId" = n.send, "sfuRecvTransportId" = n.recv, "sfuAudioProducerId" = n.audio,
               "sfuVideoProducerId" = n.video, "sfuScreenProducerId" = n.screen, "updatedAt" = $8
          FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
               AS n (id, send, recv, audio, video, screen)
          LEFT JOIN participant_aliases a ON a.id = n.id
         WHERE p.id = COALESCE(a."participantId", n.id) AND p."callSessionId" = $1
        """,
        call_id,
        [one.participant_id for one in participants],
        [one.send_transport_id for one in participants],
        [one.recv_transport_id for one in participants],
        [one.audio_producer_id for one in participants],
        [one.video_producer_id for one in participants],
        [one.screen_producer_id for one in participants],
        moment(at),
    )
    if old == "sfu":
        return False
    await _append(connection, call_id, old, "sfu", transition, at)
    return True


async def switch_to_p2p(connection: Connection, call_id: str, *, transition: Transition, at: float) -> bool:
    """Moves the call back to P2P, clears every SFU column, counts and notes the transition.

    False, and no transition is counted, if the call is in P2P mode already. Raises `MissingRow`.
    """
    old = await _mode_for_update(connection, call_id)
    await connection.execute(
        """
        UPDATE call_sessions
           SET mode = 'p2p', "sfuRoomId" = NULL, "sfuRtpCapabilities" = NULL,
               "lastModeChange" = CASE WHEN mode = 'p2p' THEN "lastModeChange" ELSE $2 END,
               "modeChangeCount" = "modeChangeCount" + CASE WHEN mode = 'p2p' THEN 0 ELSE 1 END,
               "updatedAt" = $2
         WHERE id = $1
        """,
        call_id,
        moment(at),
    )
    await connection.execute(
        """
        UPDATE call_participants
           SET "sfuSendTransportId" = NULL, "sfuRecvTransportId" = NULL, "sfuAudioProducerId" = NULL,
               "sfuVideoProducerId" = NULL, "sfuScreenProducerId" = NULL, "updatedAt" = $2
         WHERE "callSessionId" = $1
        """,
        call_id,
        moment(at),
    )
    if old == "p2p":
        return False
    await _append(connection, call_id, old, "p2p", transition, at)
    return True


async def record_gaps(
    connection: Connection,
    call_id: str,
    epoch: int,
    *,
    max_video_gap_ms: float | None,
    max_audio_gap_ms: float | None,
    at: float,
) -> None:
    """Raises the gaps noted at the latest transition of this epoch to these; nothing if there is none. (The
    epochs of a call that outlived its server begin anew.)"""
    await connection.execute(
        """
        UPDATE call_metrics
           SET "modeTransitions" = (
                   SELECT jsonb_agg(CASE WHEN t.n IS DISTINCT FROM (
                           SELECT max(l.n) FROM jsonb_array_elements("modeTransitions")
                                  WITH ORDINALITY AS l (e, n) WHERE l.e -> 'epoch' = to_jsonb($2::bigint))
                       THEN t.e ELSE t.e || jsonb_build_object(
                           'maxVideoGapMs', GREATEST((t.e ->> 'maxVideoGapMs')::float8, $3::float8),
                           'maxAudioGapMs', GREATEST((t.e ->> 'maxAudioGapMs')::float8, $4::float8)) END
                       ORDER BY t.n)
                     FROM jsonb_array_elements("modeTransitions") WITH ORDINALITY AS t (e, n)),
               "updatedAt" = $5
         WHERE "callSessionId" = $1
           AND "modeTransitions" @> jsonb_build_array(jsonb_build_object('epoch', $2::bigint))
        """,
        call_id,
        epoch,
        max_video_gap_ms,
        max_audio_gap_ms,
        moment(at),
    )


async def active_sfu_calls(connection: Connection) -> list[dict[str, Any]]:
    """Every active call in SFU mode, with those participants that are connected: three statements. Equal
    `sfuRtpCapabilities` are one object, for reading only."""
    calls = await connection.fetch(
        f"SELECT {CALL_COLUMNS} FROM call_sessions s WHERE mode = 'sfu' AND status = 'ACTIVE'"
    )
    can = await capabilities_of(connection, [call["id"] for call in calls])
    found = [{**call, "sfuRtpCapabilities": can.get(call["id"]), "participants": []} for call in calls]
    by_id = {call["id"]: call["participants"] for call in found}
    rows = await connection.fetch(
        """
        SELECT p.*, u.name AS "userName", u.avatar AS "userAvatar", g.name AS "guestName"
          FROM call_participants p
          LEFT JOIN users u ON u.id = p."userId"
          LEFT JOIN anonymous_participants g ON g.id = p."anonymousUserId"
         WHERE p."callSessionId" = ANY ($1::text[]) AND p.status = 'connected' ORDER BY p."joinedAt", p.id
        """,
        list(by_id),
    )
    for row in rows:
        by_id[row["callSessionId"]].append(with_person(row))
    return found
