"""Live calls to write to, taken away again afterwards, so that a kept data set stays what it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from bench.data.generate import NOW
from server.db import queries
from server.db.changes import SfuIds
from server.db.connection import Connection
from server.db.pool import Database
from server.ids import cuid

ROOM = "bench-playground"
AT = NOW / 1000  # Unix seconds
LARGEST = 50  # participants of the largest calls
_SMALL, _LARGE = 200, 20  # calls of four, and of LARGEST


def ids_of(participant_id: str) -> SfuIds:
    """Transports and producers of a participant, new ones each time."""
    return SfuIds(
        participant_id=participant_id,
        send_transport_id=cuid(),
        recv_transport_id=cuid(),
        audio_producer_id=cuid(),
        video_producer_id=cuid(),
    )


async def _make(connection: Connection, size: int) -> None:
    people = [queries.NewParticipant(id=cuid(), user_id=f"user-{n}", name=f"Person {n}") for n in range(size)]
    call_id = cuid()
    await queries.create_call_session(
        connection, call_id, room_id=ROOM, call_type="VIDEO", status="ACTIVE", mode="sfu",
        sfu_room_id=cuid(), sfu_rtp_capabilities={}, participants=people, at=AT,
    )  # fmt: skip
    for one in people:
        await queries.update_participant_status(connection, one.id, "connected", at=AT)
        await queries.update_participant_sfu_data(connection, ids_of(one.id), at=AT)


async def _clear(connection: Connection) -> None:
    await connection.execute("DELETE FROM chat_rooms WHERE id = $1", ROOM)


@asynccontextmanager
async def playground(database: Database) -> AsyncIterator[None]:
    await database.run(_clear)  # of a run that was cut short
    for size in [4] * _SMALL + [LARGEST] * _LARGE:
        await database.run(_make, size)
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await database.run(_clear)
