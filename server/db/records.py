"""What applications ask of the records: each answer is bounded in time, and all of them together in number.

They share the pool with the recorder, which must not wait for them. What cannot be answered in time is
`Unavailable`, so that the caller can say so and live calls go on being told.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import trio

from server.db import dead_letters, persons, queries
from server.db.connection import Connection
from server.db.errors import DatabaseUnavailable
from server.db.pool import Database
from server.db.queries.listing import (
    CallFilter,
    Place,
    call_exists,
    find_call,
    list_calls,
    list_participants,
)
from server.db.recorder import RecorderStats
from server.errors import ClientError, Unavailable

__all__ = ["CallFilter", "Place", "Records"]

T = TypeVar("T")
AT_ONCE = 8  # of the pool's connections
SETTLE_S = 1.0  # for what was just decided to be in the rows
Row = dict[str, Any]


class Recorder(Protocol):
    @property
    def connected(self) -> bool: ...
    async def flush(self) -> None: ...
    def stats(self) -> RecorderStats: ...


class Store(Protocol):
    """What this needs of `server.db.storage.Storage`."""

    @property
    def db(self) -> Database: ...
    @property
    def recorder(self) -> Recorder: ...
    @property
    def ready(self) -> bool: ...


class Records:
    """Times are aware datetimes in UTC where rows are asked for; statistics take Unix seconds."""

    def __init__(self, store: Store, *, spool: Path, timeout_s: float) -> None:
        self._store = store
        self._spool = spool
        self._timeout_s = timeout_s
        self._at_once = trio.CapacityLimiter(AT_ONCE)

    async def settled(self) -> bool:
        """Whether what was decided so far is in the rows. Waits a moment for it, unless the database is
        away."""
        recorder = self._store.recorder
        if recorder.connected or not recorder.stats().retries:
            with trio.move_on_after(SETTLE_S):
                await recorder.flush()
                return True
        return False

    # -- calls

    async def calls(self, *filters: CallFilter, limit: int, after: Place | None = None) -> list[Row]:
        return await self._read(list_calls, *filters, limit=limit, after=after)

    async def call(self, *filters: CallFilter) -> Row | None:
        return await self._read(find_call, *filters)

    # -- of one call: None if no call passes the filters, one of which names its id

    async def participants(
        self, *filters: CallFilter, limit: int, after: Place | None = None
    ) -> list[Row] | None:
        return await self._of_call(filters, list_participants, limit=limit, after=after)

    async def metrics(self, *filters: CallFilter) -> tuple[Row | None] | None:
        return await self._of_call(filters, _wrapped(queries.call_metrics))

    async def analytics(self, *filters: CallFilter) -> tuple[Row | None] | None:
        return await self._of_call(filters, _wrapped(queries.call_analytics))

    async def recording(self, *filters: CallFilter) -> tuple[Row | None] | None:
        return await self._of_call(filters, _wrapped(queries.recording_of_call))

    async def transcriptions(
        self, *filters: CallFilter, language: str | None, limit: int, after: Place | None
    ) -> list[Row] | None:
        place = None if after is None else (after[0].timestamp(), after[1])
        return await self._of_call(
            filters, queries.transcriptions_of_call, language=language, limit=limit, after=place
        )

    # -- found by what the media server calls them

    async def call_by_sfu_room(self, sfu_room_id: str) -> Row | None:
        return await self._read(queries.call_by_sfu_room, sfu_room_id)

    async def participant_by_producer(self, producer_id: str) -> Row | None:
        return await self._read(queries.participant_by_producer, producer_id)

    async def participant_by_transport(self, transport_id: str) -> Row | None:
        return await self._read(queries.participant_by_transport, transport_id)

    async def recordings(
        self, *, room_id: str | None, status: Any, limit: int, after: Place | None
    ) -> list[Row]:
        place = None if after is None else (after[0].timestamp(), after[1])
        return await self._read(
            queries.list_recordings, room_id=room_id, status=status, limit=limit, before=place
        )

    # -- many calls in figures

    async def transition_stats(self, since: datetime, until: datetime) -> Row:
        return await self._read(queries.mode_transition_stats, since.timestamp(), until.timestamp())

    async def analytics_summary(self, since: datetime, until: datetime, *, room_id: str | None) -> Row:
        return await self._read(
            queries.analytics_summary, since.timestamp(), until.timestamp(), room_id=room_id
        )

    # -- persons

    async def export_user(self, user_id: str) -> Row | None:
        """All that is held on a user; None if nothing is."""
        held = await self._read(persons.export_person, user_id, "user")
        ids = await self._read(persons.participation_ids, user_id, "user")
        letters = await trio.to_thread.run_sync(dead_letters.naming, self._spool, user_id, *ids)
        if held is None and not letters:
            return None
        return {**(held or {"user": None}), "changesSetAside": letters}

    async def erase_user(self, user_id: str) -> tuple[persons.Erased, int] | None:
        """Takes a user out of all rows, and of the changes that were set aside; None if nothing was held.

        ClientError: `bad_state` while the user is in a call.
        """
        await self.settled()
        ids = await self._read(persons.participation_ids, user_id, "user")
        try:
            erased = await self._read(persons.erase_person, user_id, "user", at=time.time())
        except persons.InCall as error:
            raise ClientError("bad_state", str(error), field="userId") from None
        letters = await trio.to_thread.run_sync(dead_letters.erase, self._spool, user_id, *ids)
        if erased is None and not letters:
            return None
        return erased or persons.Erased(0, 0, 0, "absent"), letters

    # -- how it is asked

    async def _of_call(
        self, filters: tuple[CallFilter, ...], unit: Callable[..., Awaitable[T]], **more: Any
    ) -> T | None:
        (call_id,) = {one.call_id for one in filters if one.call_id is not None}

        async def both(connection: Connection) -> T | None:
            if not await call_exists(connection, *filters):
                return None
            return await unit(connection, call_id, **more)

        return await self._read(both)

    async def _read(self, unit: Callable[..., Awaitable[T]], *args: Any, **more: Any) -> T:
        if not self._store.ready:
            raise Unavailable("the database is not ready")
        with trio.move_on_after(self._timeout_s):
            async with self._at_once:
                try:
                    return await self._store.db.run(unit, *args, **more)
                except DatabaseUnavailable as error:
                    raise Unavailable(str(error)) from error
        raise Unavailable("the database did not answer in time")


def _wrapped(
    unit: Callable[[Connection, str], Awaitable[Row | None]],
) -> Callable[[Connection, str], Awaitable[tuple[Row | None]]]:
    """So that no row can be told from no call."""

    async def wrapped(connection: Connection, call_id: str) -> tuple[Row | None]:
        return (await unit(connection, call_id),)

    return wrapped
