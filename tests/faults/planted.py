"""Bugs of the kind that the fault suite is there to find, to be planted into the recorder one at a time.

Each is a function that patches the product for a test's length. `test_planted_bugs.py` sees to it that the
short set of cases finds every one of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from server.db import pool, recorder, spool, writes
from server.db.connection import Connection
from server.db.pool import Database
from server.db.recorder import BATCH, Recorder
from server.db.spool import Spool, read_segment, segments
from server.db.writes import Record, apply_change, decode_change, skip_record

Plant = Callable[[pytest.MonkeyPatch], None]


async def _apply_all(connection: Connection, stream: str, records: list[Record]) -> int:
    """`apply_batch` that does not ask what is applied already."""
    for record in records:
        await apply_change(connection, decode_change(record.payload), stream)
    return len(records)


def doubles_after_an_unknown_commit(patch: pytest.MonkeyPatch) -> None:
    async def apply_batch(connection: Connection, stream: str, records: list[Record]) -> int:
        count = await _apply_all(connection, stream, records)
        await skip_record(connection, stream, records[-1].n)
        return count

    patch.setattr(recorder, "apply_batch", apply_batch)


def marks_in_another_transaction(patch: pytest.MonkeyPatch) -> None:
    async def apply_unmarked(connection: Connection, stream: str, records: list[Record]) -> int:
        mark = await writes.register_stream(connection, stream)
        return await _apply_all(connection, stream, [one for one in records if one.n > mark])

    class Apart:
        """The database with the mark moved after the changes, as a unit of its own."""

        def __init__(self, database: Database) -> None:
            self._database = database

        async def run(self, unit: Any, stream: str, records: Any) -> Any:
            if unit is not recorder.apply_batch:
                return await self._database.run(unit, stream, records)
            count = await self._database.run(apply_unmarked, stream, records)
            await self._database.run(skip_record, stream, records[-1].n)
            return count

    write = Recorder._write

    async def _write(self: Recorder, database: Any, stream: str, batch: list[Record]) -> int:
        return await write(self, Apart(database), stream, batch)  # type: ignore[arg-type]

    patch.setattr(Recorder, "_write", _write)


def works_without_a_transaction(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Database, "_cross", Database._cross_bare)


def forgets_the_last_change_before_a_crash(patch: pytest.MonkeyPatch) -> None:
    """As if the last record sat in a buffer of the process."""
    patch.setattr(recorder, "read_segment", lambda path: read_segment(path)[:-1])


def drops_the_tail_of_the_spool(patch: pytest.MonkeyPatch) -> None:
    """The next process reads the first batch of a segment only."""
    patch.setattr(recorder, "read_segment", lambda path: read_segment(path)[: BATCH // 4])


def swaps_two_changes(patch: pytest.MonkeyPatch) -> None:
    next_batch = Recorder._next_batch

    def swapped(self: Recorder) -> list[Record]:
        batch = next_batch(self)
        if len(batch) > 3:
            a, b = batch[1:3]
            batch[1:3] = [Record(a.n, b.payload), Record(b.n, a.payload)]
        return batch

    patch.setattr(Recorder, "_next_batch", swapped)


def gives_up_after_some_tries(patch: pytest.MonkeyPatch) -> None:
    write = Recorder._write

    async def impatient(self: Recorder, database: Any, stream: str, batch: list[Record]) -> int:
        with trio.move_on_after(0.1):
            return await write(self, database, stream, batch)
        return 0

    patch.setattr(Recorder, "_write", impatient)


def writes_the_newest_life_first(patch: pytest.MonkeyPatch) -> None:
    left_behind = Recorder.left_behind
    patch.setattr(Recorder, "left_behind", lambda self: left_behind(self)[::-1])


def removes_the_spool_before_it_is_written(patch: pytest.MonkeyPatch) -> None:
    async def write_stream(self: Recorder, database: Database, stream: str) -> None:
        records = [one for _, path in segments(self._directory)[stream] for one in read_segment(path)]
        self.forget([stream])
        for start in range(0, len(records), BATCH):
            await self._write(database, stream, records[start : start + BATCH])

    patch.setattr(Recorder, "write_stream", write_stream)


def never_flushes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Spool, "sync", lambda self: None)


def flushes_files_but_no_names(patch: pytest.MonkeyPatch) -> None:
    flush = spool._flush

    def files_only(path: Path) -> None:
        if not path.is_dir():
            flush(path)

    patch.setattr(spool, "_flush", files_only)


def forgets_without_a_flush(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Recorder, streams: list[str]) -> None:
        for stream in streams:
            self._spool.forget(stream)

    patch.setattr(Recorder, "forget", forget)


def leaves_transactions_open(patch: pytest.MonkeyPatch) -> None:
    """Where PostgreSQL has not been told to give up transactions of which nothing more is heard."""
    patch.setattr(pool, "_when_we_are_gone", lambda silence: {})


BETWEEN: tuple[Plant, ...] = (  # found by the cases of `lives`
    doubles_after_an_unknown_commit,
    marks_in_another_transaction,
    works_without_a_transaction,
    forgets_the_last_change_before_a_crash,
    drops_the_tail_of_the_spool,
    swaps_two_changes,
    gives_up_after_some_tries,
    writes_the_newest_life_first,
    removes_the_spool_before_it_is_written,
    leaves_transactions_open,
)
POWER: tuple[Plant, ...] = (  # found by `test_power_failures`
    never_flushes,
    flushes_files_but_no_names,
    forgets_without_a_flush,
)


@contextlib.contextmanager
def planted(plant: Plant) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        yield
