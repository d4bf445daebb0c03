"""Writes what calls submit: every change exactly once, in order, however long PostgreSQL is away.

`submit` puts a change into the spool on disk and into memory, and returns. One task takes the changes in
order and applies them, several to a transaction: the first at once, then those that have come meanwhile. The
transaction moves the stream's mark (see `server.db.writes`), so whatever is sent twice is written once. When
PostgreSQL is away the task tries again with back-off, and what waits is flushed to the disk so that it
outlives the machine too. After a restart of the server the next process writes what the spool still holds
before anything of its own.

A change that PostgreSQL refuses for good is set aside in `dead-letters.jsonl`, and does not hold up the rest.
"""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import NoReturn

import msgspec
import structlog
import trio

from server.db import dead_letters
from server.db.changes import Change
from server.db.errors import DatabaseUnavailable
from server.db.pool import Database
from server.db.spool import MAX_BYTES, Spool, read_segment, segments
from server.db.writes import Record, apply_batch, encode_change, skip_record

log = structlog.get_logger("tandem.recorder")

BATCH = 64  # changes in one transaction at most
MEMORY_BYTES = 8 << 20  # payloads kept in memory; beyond, they are read back from the spool
PAUSE_FIRST, PAUSE_LAST = 0.05, 2.0  # seconds between tries while PostgreSQL is away
STALLED = 2.0  # seconds without progress after which the database counts as away, whatever it says
GATHER = 0.02  # seconds after a transaction in which changes come together for the next one
SYNC_AFTER = 0.05  # seconds; what PostgreSQL has not taken by then is flushed to the disk
DEAD_LETTERS = dead_letters.NAME


class RecorderStats(msgspec.Struct):
    """Counters since the start, and levels (from `pending` on)."""

    submitted: int = 0
    written: int = 0
    retries: int = 0
    dead_lettered: int = 0
    lost: int = 0  # submitted while both the spool and the memory were full
    pending: int = 0
    unspooled: int = 0  # of these, in memory only, because the spool or its disk is full
    waited: float = 0.0  # seconds since one of them was written, or since there are any
    spool_bytes: int = 0


class Recorder:
    """The stream of changes of one server process. `submit` may be called from the Trio thread at any time,
    before the database is there and while it is away; `run` does the writing."""

    def __init__(self, directory: Path, stream: str, *, max_spool_bytes: int = MAX_BYTES) -> None:
        self.stream = stream
        self._directory = directory
        self._spool = Spool(directory, stream, max_bytes=max_spool_bytes)
        self._memory: dict[int, bytes] = {}
        self._memory_bytes = 0
        self._unspooled: set[int] = set()
        self._losing = False  # the change submitted last is lost
        self._moved_at = 0.0  # trio's time: something was written, or began to wait
        self._last = 0  # number of the change submitted last
        self._done = 0  # every change up to this number is written or set aside
        self._stats = RecorderStats()
        self._connected = False
        self._submitted = trio.Event()
        self._unsynced = trio.Event()
        self._progress = trio.Event()

    # -- the side of the calls

    def submit(self, change: Change) -> None:
        """Takes a change to be written. Never waits and never fails."""
        self._stats.submitted += 1
        try:
            payload = encode_change(change)
        except Exception:
            log.exception("a change that cannot be encoded is lost", change=type(change).__name__)
            self._stats.lost += 1
            return
        n = self._last + 1
        spooled = self._spool.append(n, payload)
        if self._memory_bytes + len(payload) <= MEMORY_BYTES:
            self._memory[n] = payload
            self._memory_bytes += len(payload)
        elif not spooled:
            self._lose(change)
            return
        if not spooled:
            self._unspooled.add(n)
            if len(self._unspooled) == 1:
                log.error(
                    "the spool is full, or its disk is: changes are in memory only, and die with the server",
                    spool_bytes=self._spool.size,
                )
        if self._done == self._last:
            self._moved_at = trio.current_time()
        self._losing = False
        self._last = n
        self._submitted.set()
        self._unsynced.set()

    async def flush(self) -> None:
        """Returns when all that has been submitted so far is written or set aside. Waits for the database."""
        target = self._last
        while self._done < target:
            await self._progress.wait()

    @property
    def connected(self) -> bool:
        """Whether the last attempt to write succeeded."""
        return self._connected

    @property
    def keeping_up(self) -> bool:
        """Whether what is submitted is written, or nothing is submitted."""
        stats = self.stats()
        return stats.pending == 0 or (self._connected and stats.waited < STALLED)

    @property
    def spool_state(self) -> str:
        """For people: `ok`, or what becomes of the changes that the spool or its disk has no room for."""
        if self._losing:
            return "full, changes are lost"
        return "full, changes are in memory only" if self._unspooled else "ok"

    def stats(self) -> RecorderStats:
        """A copy of the counters and levels as they are now."""
        pending = self._last - self._done
        return msgspec.structs.replace(
            self._stats,
            pending=pending,
            unspooled=len(self._unspooled),
            waited=trio.current_time() - self._moved_at if pending else 0.0,
            spool_bytes=self._spool.size,
        )

    def _lose(self, change: Change) -> None:
        self._losing = True
        self._stats.lost += 1
        if self._stats.lost & (self._stats.lost - 1) == 0:  # at 1, 2, 4, 8 …
            log.error(
                "the spool is full: changes are being lost",
                lost=self._stats.lost,
                spool_bytes=self._spool.size,
                change=type(change).__name__,
            )

    # -- the side of the database

    def left_behind(self) -> list[str]:
        """The streams that earlier processes left in the spool, oldest first."""
        return [stream for stream in segments(self._directory) if stream != self.stream]

    async def write_stream(self, database: Database, stream: str) -> None:
        """Writes what is left of an earlier process's stream. Waits out `DatabaseUnavailable`. The files stay
        until `forget`."""
        count = 0
        for _, path in segments(self._directory)[stream]:
            records = await trio.to_thread.run_sync(read_segment, path)
            for start in range(0, len(records), BATCH):
                count += await self._write(database, stream, records[start : start + BATCH])
        log.info("wrote what an earlier process left behind", stream=stream, changes=count)

    async def write_left_behind(self, database: Database) -> list[str]:
        """Writes what every earlier process left in the spool, oldest first; returns their streams."""
        streams = self.left_behind()
        for stream in streams:
            await self.write_stream(database, stream)
        return streams

    def forget(self, streams: list[str]) -> None:
        """Removes the files of streams that `write_left_behind` has written, for good: were they to come back
        after a power failure, when the database has forgotten their marks, they would be written again.
        Raises `OSError`."""
        for stream in streams:
            self._spool.forget(stream)
        self._spool.sync()

    async def run(self, database: Database) -> NoReturn:
        """Writes until cancelled."""
        while True:
            batch = self._next_batch()
            if not batch:
                self._spool.drop_through(self._done)
                self._submitted = trio.Event()
                await self._submitted.wait()
                continue
            await self._write(database, self.stream, batch)
            self._advance(batch[-1].n)
            if len(batch) < BATCH:
                await trio.sleep(GATHER)  # else each change would be a transaction of its own

    async def keep_synced(self) -> NoReturn:
        """Flushes the spool to the disk when something in it has waited for a moment, whether or not somebody
        has noticed that PostgreSQL is away: a black hole is silent."""
        while True:
            await self._unsynced.wait()
            self._unsynced = trio.Event()
            last = self._last
            await trio.sleep(SYNC_AFTER)
            if self._done >= last:
                continue
            try:
                await trio.to_thread.run_sync(self._spool.sync)
            except OSError as error:
                log.error("the spool cannot be flushed to the disk", error=str(error))
                await trio.sleep(PAUSE_LAST)
                self._unsynced.set()

    def close(self) -> None:
        """After `run` has ended: flushes what is left to the disk, or removes the files if nothing is."""
        if self._done == self._last:
            self._spool.drop_through(self._last, all_written=True)
        else:
            with contextlib.suppress(OSError):
                self._spool.sync()
        self._spool.close()

    def _next_batch(self) -> list[Record]:
        batch: list[Record] = []
        for n in range(self._done + 1, min(self._last, self._done + BATCH) + 1):
            payload = self._memory.get(n) or self._spool.get(n)
            if payload is not None:
                batch.append(Record(n, payload))
            else:
                self._stats.lost += 1
                log.error("a change is in the spool no more", n=n)
        if not batch and self._done < self._last:
            self._advance(min(self._last, self._done + BATCH))
            return self._next_batch()
        return batch

    def _advance(self, n: int) -> None:
        for number in range(self._done + 1, n + 1):
            self._memory_bytes -= len(self._memory.pop(number, b""))
            self._unspooled.discard(number)
        self._done = n
        self._moved_at = trio.current_time()
        self._spool.drop_through(n)
        self._progress.set()
        self._progress = trio.Event()

    async def _write(self, database: Database, stream: str, batch: list[Record]) -> int:
        """Applies the batch, waiting out an absent database; one by one if something in it is refused."""
        pause = PAUSE_FIRST
        while True:
            try:
                count = await database.run(apply_batch, stream, batch)
            except DatabaseUnavailable as error:
                self._away(error)
                await trio.sleep(pause)
                pause = min(2 * pause, PAUSE_LAST)
                continue
            except Exception as error:
                if len(batch) == 1:
                    await self._set_aside(database, stream, batch[0], error)
                    return 0
                return sum([await self._write(database, stream, [record]) for record in batch])
            self._back()
            self._stats.written += count
            return count

    async def _set_aside(self, database: Database, stream: str, record: Record, error: Exception) -> None:
        log.error("a change was refused and set aside", stream=stream, n=record.n, error=str(error))
        self._stats.dead_lettered += 1
        try:
            await trio.to_thread.run_sync(self._bury, stream, record, str(error))
        except OSError:
            log.exception(
                "the change could not be set aside", payload=base64.b64encode(record.payload).decode()
            )
        pause = PAUSE_FIRST
        while True:
            try:
                await database.run(skip_record, stream, record.n)
                return
            except DatabaseUnavailable as away:
                self._away(away)
                await trio.sleep(pause)
                pause = min(2 * pause, PAUSE_LAST)

    def _bury(self, stream: str, record: Record, error: str) -> None:
        """Adds a line to the dead letters; one that was cut off before its mark moved comes a second time."""
        try:
            change = msgspec.msgpack.decode(record.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            change = base64.b64encode(record.payload).decode()
        letter = {"stream": stream, "n": record.n, "error": error, "change": change}
        dead_letters.append(self._directory, letter)

    def _away(self, error: DatabaseUnavailable) -> None:
        self._stats.retries += 1
        if self._connected or self._stats.retries == 1:
            log.warning("the database is away; changes wait in the spool", error=str(error))
        self._connected = False

    def _back(self) -> None:
        if not self._connected and self._stats.retries:
            log.info("the database is back", pending=self._last - self._done)
        self._connected = True
