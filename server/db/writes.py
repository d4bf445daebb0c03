"""Applies changes to the tables: what each record of `server.db.changes` does to the rows.

`apply_batch` is the recorder's unit of work. Changes carry a number in their server's stream; the same
transaction that applies them moves the stream's mark, so a change that is sent again, because the answer to
its commit was lost, does nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from server.db.changes import (
    AnyChange,
    CallCreated,
    CallEnded,
    CallMetricsUpdate,
    CallStarted,
    CaptionSaid,
    Change,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantMedia,
    ParticipantQuality,
    ParticipantRenamed,
    ParticipantSfu,
    ParticipantStatusChanged,
    SwitchedToP2p,
    SwitchedToSfu,
    TransitionGaps,
    UserSeen,
)
from server.db.connection import Connection
from server.db.errors import DatabaseRefused
from server.db.order import arranged
from server.db.queries import calls, metrics, participants, people, switches, transcriptions
from server.db.text import clean


class Record(msgspec.Struct, frozen=True):
    """A change as it waits to be written: its number in the stream (from 1) and its msgpack bytes."""

    n: int
    payload: bytes


_changes: msgspec.msgpack.Decoder[AnyChange] = msgspec.msgpack.Decoder(AnyChange)


def encode_change(change: Change) -> bytes:
    """The bytes that the spool keeps; what cannot be text in a database is replaced on the way."""
    try:
        return msgspec.msgpack.encode(change)
    except UnicodeEncodeError:
        return msgspec.msgpack.encode(clean(msgspec.to_builtins(change)))


def decode_change(payload: bytes) -> AnyChange:
    """The change that these bytes from the disk hold; raises `DatabaseRefused` if they hold none."""
    try:
        if b"\0" not in payload:  # no NUL in a text then, and no float that is not finite
            return _changes.decode(payload)
        return msgspec.convert(clean(msgspec.msgpack.decode(payload)), AnyChange)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DatabaseRefused(f"this is no change: {error}") from error


async def _user_seen(connection: Connection, c: UserSeen, instance: str) -> None:
    await people.save_user(connection, c.user_id, name=c.name, avatar=c.avatar, at=c.at)


async def _call_created(connection: Connection, c: CallCreated, instance: str) -> None:
    await calls.create_call_session(
        connection,
        c.call_id,
        room_id=c.room_id,
        call_type=c.call_type,
        status=c.status,
        mode=c.mode,
        initiator_id=c.initiator_id,
        settings=c.settings,
        sfu_room_id=c.sfu_room_id,
        sfu_rtp_capabilities=c.sfu_rtp_capabilities,
        instance_id=instance,
        at=c.at,
    )


async def _call_started(connection: Connection, c: CallStarted, instance: str) -> None:
    await calls.start_call(connection, c.call_id, at=c.at)


async def _renamed(connection: Connection, c: ParticipantRenamed, instance: str) -> None:
    await participants.rename_participant(connection, c.participant_id, c.name, at=c.at)


async def _joined(connection: Connection, run: Sequence[ParticipantJoined]) -> None:
    joining = [
        participants.Joining(
            c.call_id,
            participants.NewParticipant(
                id=c.participant_id,
                user_id=c.user_id,
                anonymous_id=c.anonymous_id,
                name=c.name,
                role=c.role,
                audio_enabled=c.audio_enabled,
                video_enabled=c.video_enabled,
                device_info=c.device_info,
            ),
            c.at,
        )
        for c in run
    ]
    await participants.add_participants(connection, joining)


async def _statuses(connection: Connection, run: Sequence[ParticipantStatusChanged]) -> None:
    await participants.update_statuses(connection, [(c.participant_id, c.status, c.at) for c in run])


async def _media(connection: Connection, run: Sequence[ParticipantMedia]) -> None:
    said = [
        (
            c.participant_id,
            participants.Media(
                audio_enabled=c.audio_enabled,
                video_enabled=c.video_enabled,
                screen_share_enabled=c.screen_share_enabled,
                device_info=c.device_info,
            ),
            c.at,
        )
        for c in run
    ]
    await participants.update_media(connection, said)


async def _qualities(connection: Connection, run: Sequence[ParticipantQuality]) -> None:
    await participants.update_qualities(connection, [(c.participant_id, c.metrics, c.at) for c in run])


async def _sfu_data(connection: Connection, run: Sequence[ParticipantSfu]) -> None:
    await participants.update_sfu_data(connection, [(c.ids, c.at) for c in run])


async def _left(connection: Connection, run: Sequence[ParticipantLeft]) -> None:
    await participants.leave_calls(connection, [(c.participant_id, c.reason, c.at) for c in run])


async def _to_sfu(connection: Connection, c: SwitchedToSfu, instance: str) -> None:
    await switches.switch_to_sfu(
        connection,
        c.call_id,
        sfu_room_id=c.sfu_room_id,
        sfu_rtp_capabilities=c.sfu_rtp_capabilities,
        participants=c.participants,
        transition=switches.Transition(reason=c.reason, duration=c.duration, epoch=c.epoch),
        at=c.at,
    )


async def _to_p2p(connection: Connection, c: SwitchedToP2p, instance: str) -> None:
    transition = switches.Transition(reason=c.reason, duration=c.duration, epoch=c.epoch)
    await switches.switch_to_p2p(connection, c.call_id, transition=transition, at=c.at)


async def _gaps(connection: Connection, c: TransitionGaps, instance: str) -> None:
    await switches.record_gaps(
        connection,
        c.call_id,
        c.epoch,
        max_video_gap_ms=c.max_video_gap_ms,
        max_audio_gap_ms=c.max_audio_gap_ms,
        at=c.at,
    )


async def _metrics(connection: Connection, c: CallMetricsUpdate, instance: str) -> None:
    fields = msgspec.structs.asdict(c)
    await metrics.update_call_metrics(connection, fields.pop("call_id"), **fields)


async def _caption(connection: Connection, c: CaptionSaid, instance: str) -> None:
    await transcriptions.add_transcription(
        connection,
        c.transcription_id,
        c.call_id,
        c.participant_id,
        c.text,
        language=c.language,
        started_at=c.started_at,
        ended_at=c.ended_at,
        confidence=c.confidence,
        segment_id=c.segment_id,
        at=c.at,
    )


async def _ended(connection: Connection, c: CallEnded, instance: str) -> None:
    await calls.end_call(
        connection, c.call_id, at=c.at, status=c.status, reason=c.reason, ended_by=c.ended_by
    )


_WRITERS: dict[type[Change], Callable[[Connection, Any, str], Awaitable[None]]] = {
    UserSeen: _user_seen,
    CallCreated: _call_created,
    CallStarted: _call_started,
    ParticipantRenamed: _renamed,
    SwitchedToSfu: _to_sfu,
    SwitchedToP2p: _to_p2p,
    TransitionGaps: _gaps,
    CallMetricsUpdate: _metrics,
    CaptionSaid: _caption,
    CallEnded: _ended,
}

# What calls mostly have to say: of as many participants as there are by one statement.
_RUNS: dict[type[Change], Callable[[Connection, Sequence[Any]], Awaitable[None]]] = {
    ParticipantJoined: _joined,
    ParticipantStatusChanged: _statuses,
    ParticipantMedia: _media,
    ParticipantQuality: _qualities,
    ParticipantSfu: _sfu_data,
    ParticipantLeft: _left,
}


async def apply_change(connection: Connection, change: Change, instance_id: str) -> None:
    """Makes the rows say what happened. Raises `MissingRow` when it names a call or participant that is not
    there, and what the connection raises."""
    await _apply_run(connection, [change], instance_id)


async def _apply_run(connection: Connection, run: Sequence[Change], instance_id: str) -> None:
    kind = type(run[0])
    if kind in _RUNS:
        await _RUNS[kind](connection, run)
    else:
        for change in run:
            await _WRITERS[kind](connection, change, instance_id)


async def register_stream(connection: Connection, stream: str) -> int:
    """Makes the stream's mark where it is missing; returns the number of its last applied change."""
    await connection.execute(
        "INSERT INTO change_streams (id) VALUES ($1) ON CONFLICT (id) DO NOTHING", stream
    )
    return int(await connection.fetchval("SELECT applied FROM change_streams WHERE id = $1", stream))


async def _move_mark(connection: Connection, stream: str, n: int) -> int:
    """Moves the stream's mark on to `n` and returns where it was. An earlier try whose outcome is unknown is
    waited for."""
    mark = await connection.fetchval(
        """
        WITH was AS (SELECT id, applied FROM change_streams WHERE id = $1 FOR UPDATE), moved AS (
            UPDATE change_streams s SET applied = $2 FROM was WHERE s.id = was.id AND was.applied < $2
        )
        SELECT applied FROM was
        """,
        stream,
        n,
    )
    if mark is None:
        await register_stream(connection, stream)
        return await _move_mark(connection, stream, n)
    return int(mark)


async def apply_batch(connection: Connection, stream: str, records: Sequence[Record]) -> int:
    """Applies those records that are not in the tables yet, as if in order; returns how many those were."""
    mark = await _move_mark(connection, stream, records[-1].n)
    fresh = [record for record in records if record.n > mark]
    for run in arranged([decode_change(one.payload) for one in fresh]):
        await _apply_run(connection, run, stream)
    return len(fresh)


async def skip_record(connection: Connection, stream: str, n: int) -> None:
    """Moves the mark past a change that was set aside."""
    await _move_mark(connection, stream, n)
