"""The database as the server sees it: one call opens it, whichever PostgreSQL it is, and keeps it right."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NoReturn

import structlog
import trio

from server.db.backfill import backfill
from server.db.embedded import EmbeddedPostgres
from server.db.errors import DatabaseError, DatabaseUnavailable, DataDirBusy, EmbeddedError, MigrationError
from server.db.pool import Database, open_database
from server.db.recorder import PAUSE_LAST, Recorder
from server.db.retention import purge
from server.db.spool import MAX_BYTES
from server.db.startup import InterruptedCall, heartbeat, take_over
from server.ids import cuid

log = structlog.get_logger("tandem.db")

HEARTBEAT = 2.0  # seconds
PURGE_EVERY = 3600.0  # seconds, when calls are kept for a time only
FLUSH_TIMEOUT = 2.0  # seconds for the last changes at the end; what is left waits in the spool
# What waiting cannot mend: a wrong password or user (class 28), a database that does not exist (3D).
_HOPELESS = ("28", "3D")


@contextmanager
def lock_data_dir(data_dir: Path) -> Iterator[None]:
    """Keeps other servers off the data directory. Raises `DataDirBusy`."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with open(data_dir / "lock", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirBusy(f"another Tandem uses {data_dir}; give each its own --data-dir") from None
        yield


def _node_id(data_dir: Path) -> str:
    path = data_dir / "node-id"
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.write_text(cuid() + "\n")
        fresh.rename(path)
    return path.read_text().strip()


class _LifeSign:
    """A file that knows when this node was last alive, also while PostgreSQL does not."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "last-seen"

    def read(self) -> float | None:
        try:
            return self._path.stat().st_mtime
        except OSError:
            return None

    def give(self) -> None:
        with contextlib.suppress(OSError):
            self._path.touch()


class Storage:
    """`db` runs units of work, `recorder` takes changes, `interrupted` names the calls that an earlier
    process left open and this one closed (known once `ready`)."""

    def __init__(self, db: Database, recorder: Recorder, data_dir: Path) -> None:
        self.db = db
        self.recorder = recorder
        self.interrupted: list[InterruptedCall] = []
        self._ready = trio.Event()
        self._node_id = _node_id(data_dir)
        self._life_sign = _LifeSign(data_dir)
        self._last_seen = self._life_sign.read()

    @property
    def instance_id(self) -> str:
        return self.recorder.stream

    @property
    def ready(self) -> bool:
        """Whether the database has been reached, migrated and taken over from the last process."""
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        await self._ready.wait()

    def resumable(self, room_id: str, *, at: float, grace: float) -> InterruptedCall | None:
        """A call of this room that the last process left open no longer than `grace` seconds ago; given once.
        A `CallCreated` with its id opens it again, with its history."""
        for call in self.interrupted:
            if call.room_id == room_id and at - call.ended_at.timestamp() <= grace:
                self.interrupted.remove(call)
                return call
        return None

    async def check(self) -> bool:
        """Asks the database for an answer now (for health checks; bound it with a timeout)."""
        try:
            await self.db.run(_ping)
        except DatabaseUnavailable:
            return False
        return True

    async def _take_over(self) -> None:
        self.interrupted = await take_over(
            self.db, self.recorder, self._node_id, at=time.time(), last_seen=self._last_seen
        )
        self._ready.set()

    async def _run(self) -> NoReturn:
        while not self.ready:
            try:
                await self._take_over()
            except DatabaseUnavailable as error:
                log.warning("the database is not there yet", error=str(error))
                await trio.sleep(PAUSE_LAST)
            except Exception:
                log.exception("the database cannot be taken over; changes wait in the spool")
                await trio.sleep(15 * PAUSE_LAST)
        await self.recorder.run(self.db)

    async def _backfill(self) -> None:
        """Rows of before the last migration get their values while the server already serves."""
        await self.wait_ready()
        while True:
            try:
                for done in await backfill(self.db):
                    if done.changed:
                        log.info("backfilled", table=done.table, rows=done.done, changed=done.changed)
            except DatabaseError as error:
                log.warning("the backfill stopped; trying again later", error=str(error))
                await trio.sleep(15 * PAUSE_LAST)
            else:
                return

    async def _give_life_signs(self) -> NoReturn:
        """Apart from the heartbeat, which a silent database holds up."""
        while True:
            self._life_sign.give()
            await trio.sleep(HEARTBEAT)

    async def _beat(self) -> NoReturn:
        while True:
            if self.ready:
                with contextlib.suppress(DatabaseUnavailable):
                    await self.db.run(heartbeat, self.instance_id, at=time.time())
            await trio.sleep(HEARTBEAT)

    async def _purge(self, retention_days: int) -> NoReturn:
        """Deletes what has been over for longer, now and every hour."""
        await self.wait_ready()
        while True:
            try:
                done = await purge(self.db, time.time() - retention_days * 86_400)
            except DatabaseError as error:
                log.warning("old calls could not be purged; trying again later", error=str(error))
            else:
                if done.calls or done.guests:
                    log.info("purged old calls", calls=done.calls, guests=done.guests)
            await trio.sleep(PURGE_EVERY)

    async def _finish(self) -> None:
        with trio.move_on_after(FLUSH_TIMEOUT) as scope:
            scope.shield = True
            self._life_sign.give()
            if self.ready:
                await self.recorder.flush()
                with contextlib.suppress(DatabaseUnavailable):
                    await self.db.run(heartbeat, self.instance_id, at=time.time(), stopped=True)


async def _ping(connection: object) -> None:
    """A transaction alone is an answer."""


async def _keep_alive(postgres: EmbeddedPostgres) -> NoReturn:
    """Starts PostgreSQL again when it has ended by itself."""
    while True:
        await trio.sleep(0.25)
        if not postgres.alive():
            log.error("PostgreSQL ended by itself; starting it again")
            try:
                await postgres.start()
            except (EmbeddedError, OSError) as error:
                log.error("PostgreSQL does not start", error=str(error))
                await trio.sleep(PAUSE_LAST)


@asynccontextmanager
async def _server(
    data_dir: Path, database_url: str | None, binaries: Path | None
) -> AsyncIterator[tuple[str, EmbeddedPostgres | None]]:
    if database_url is not None:
        yield database_url, None
        return
    postgres = EmbeddedPostgres(data_dir, binaries=binaries)
    try:
        await postgres.start()
        yield postgres.dsn, postgres
    finally:
        await postgres.stop()


@asynccontextmanager
async def open_storage(
    *,
    data_dir: Path,
    database_url: str | None = None,
    postgres_binaries: Path | None = None,
    pool_size: int = 20,
    patience: float = 5.0,
    max_spool_bytes: int = MAX_BYTES,
    retention_days: int | None = None,
) -> AsyncIterator[Storage]:
    """Opens the database at `database_url`, or an embedded one in `data_dir`, for the length of the block.

    Migrates, writes what an earlier process left in the spool, and closes its calls. If an external database
    is not there within `patience` seconds, the block begins without it: changes wait in the spool and the
    rest follows when it comes. With `retention_days`, calls are deleted that long after their end. Call it on
    the main thread.

    Raises `DataDirBusy`, `EmbeddedError`, `MigrationError`, `DatabaseUnavailable` for a refused login or a
    database that does not exist, and `ValueError` for a URL that cannot be read.
    """
    with lock_data_dir(data_dir):
        async with (
            _server(data_dir, database_url, postgres_binaries) as (dsn, postgres),
            open_database(dsn, size=pool_size) as database,
        ):
            recorder = Recorder(data_dir / "spool", cuid(), max_spool_bytes=max_spool_bytes)
            storage = Storage(database, recorder, data_dir)
            try:
                await _first_try(storage, patience)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(storage._run)
                    nursery.start_soon(storage._give_life_signs)
                    nursery.start_soon(storage._beat)
                    nursery.start_soon(recorder.keep_synced)
                    nursery.start_soon(storage._backfill)
                    if retention_days is not None:
                        nursery.start_soon(storage._purge, retention_days)
                    if postgres is not None:
                        nursery.start_soon(_keep_alive, postgres)
                    try:
                        yield storage
                    finally:
                        await storage._finish()
                        nursery.cancel_scope.cancel()
            finally:
                recorder.close()


async def _first_try(storage: Storage, patience: float) -> None:
    with trio.move_on_after(patience):
        pause = 0.05
        while not storage.ready:
            try:
                await storage._take_over()
            except MigrationError:
                raise
            except DatabaseUnavailable as error:
                if error.sqlstate[:2] in _HOPELESS:
                    raise
                await trio.sleep(pause)
                pause = min(2 * pause, 1.0)
    if not storage.ready:
        log.error("the database is not ready; the server begins without it and goes on trying")
