"""The bridge to PostgreSQL, and the only file that knows asyncio, asyncpg and trio-asyncio.

A unit of work crosses from Trio to asyncio once, as a whole: acquire, transaction, statements and release run
on the asyncio side, so that a cancelled Trio task still rolls back and gives its connection back. Crossing
with the context manager instead would cancel the rollback too and leave the connection idle in transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import structlog
import trio
import trio_asyncio

from server.db.connection import P, T, Unit
from server.db.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable

log = structlog.get_logger("tandem.db")

CONNECT_TIMEOUT = 5.0  # seconds
COMMAND_TIMEOUT = 30.0  # seconds
ROLLBACK_TIMEOUT = 1.0  # seconds, after a cancellation
SILENCE_TIMEOUT = 10.0  # seconds after which PostgreSQL gives up a transaction that we say nothing more in
CLOSE_TIMEOUT = 2.0  # seconds

# Refused for good: the value or the statement is at fault. What is left out of class 42 depends on the schema
# or on rights, which an admin can mend without losing the change.
_REFUSED_CLASSES = ("21", "22", "23", "42", "44", "54")
_MENDABLE = {"42501", "42P01", "42703", "42883", "42704"}
# InternalClientError: what asyncpg makes of a connection that is cut while it prepares a statement.
_LOST = (
    OSError,
    EOFError,
    TimeoutError,
    asyncio.CancelledError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class Database:
    """A pool of connections. It connects when it is used, and again after a loss, so it may be made while the
    database is away."""

    def __init__(self, loop: trio_asyncio.TrioEventLoop, pool: asyncpg.Pool) -> None:
        self._loop = loop
        self._pool = pool

    async def run(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `unit(connection, ...)` in one transaction and returns its result.

        Raises `DatabaseUnavailable` (try again later; the transaction may or may not have been committed) or
        `DatabaseRefused` (rolled back, and would be again); other exceptions of the unit roll back and pass.
        Cancellation rolls back.
        """
        return await self._translating(self._cross(unit, *args, **kwargs))

    async def run_bare(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `unit(connection, ...)` in no transaction: for statements that allow none, and for work of
        several transactions. Raises what `run` raises."""
        return await self._translating(self._cross_bare(unit, *args, **kwargs))

    async def _translating(self, crossing: Coroutine[Any, Any, T]) -> T:
        try:
            return await self._loop.run_aio_coroutine(crossing)  # type: ignore[no-any-return]
        except DatabaseError:
            raise
        except asyncpg.PostgresError as error:
            raise _translated(error) from error
        except _LOST as error:
            # The clean-up of a cancelled unit may fail in its own way: that is still a cancellation.
            await trio.lowlevel.checkpoint_if_cancelled()
            raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error

    async def _cross(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The asyncio side of `run`."""
        connection = await self._pool.acquire(timeout=CONNECT_TIMEOUT)
        guards: list[asyncio.TimerHandle] = []

        def arm() -> None:
            """A server that answers no more must not hold up the clean-up of a cancelled unit."""
            guards.append(self._loop.call_later(ROLLBACK_TIMEOUT, connection.terminate))

        try:
            async with connection.transaction():
                try:
                    return await unit(connection, *args, **kwargs)
                except asyncio.CancelledError:
                    arm()  # before the rollback
                    raise
        except asyncio.CancelledError:
            arm()  # before the release, when BEGIN or COMMIT was cancelled
            raise
        finally:
            try:
                await self._pool.release(connection)
            finally:
                for guard in guards:
                    guard.cancel()

    async def _cross_bare(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The asyncio side of `run_bare`. A cancelled unit's connection is not worth keeping: ending it gives
        back whatever the session holds."""
        connection = await self._pool.acquire(timeout=CONNECT_TIMEOUT)
        try:
            return await unit(connection, *args, **kwargs)
        except asyncio.CancelledError:
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection)

    @property
    def connections(self) -> int:
        """Open connections, busy or idle."""
        return int(self._pool.get_size())

    @property
    def idle_connections(self) -> int:
        return int(self._pool.get_idle_size())


def _translated(error: asyncpg.PostgresError) -> DatabaseError:
    state = getattr(error, "sqlstate", None) or ""
    text = f"{state} {error}"
    if state[:2] in _REFUSED_CLASSES and state not in _MENDABLE:
        return DatabaseRefused(text, sqlstate=state, constraint=getattr(error, "constraint_name", None))
    return DatabaseUnavailable(text, sqlstate=state)


def _json_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


async def _prepare(connection: asyncpg.Connection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name, encoder=_json_text, decoder=msgspec.json.decode, schema="pg_catalog"
        )


def _when_we_are_gone(silence: float) -> dict[str, str]:
    """For a network or a machine that goes without a word: PostgreSQL would keep the transaction's locks for
    hours, and the next try would wait for them."""
    return {
        "idle_in_transaction_session_timeout": f"{round(silence * 1000)}",  # ms
        "client_connection_check_interval": "5s",  # while a statement runs or waits for a lock
        "tcp_keepalives_idle": "15",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }


def _log_loop_error(loop: object, context: dict[str, Any]) -> None:
    # trio-asyncio's own handler would end the loop for what asyncpg reports as news.
    log.warning("database connection", note=context.get("message"), error=repr(context.get("exception")))


@asynccontextmanager
async def open_database(
    dsn: str, *, size: int = 20, statement_timeout: float = COMMAND_TIMEOUT
) -> AsyncIterator[Database]:
    """A `Database` on `dsn` (a PostgreSQL URL) with at most `size` connections, for the length of the block.
    A statement may take `statement_timeout` seconds.

    Raises `ValueError` for a URL that cannot be read.
    """
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(_log_loop_error)

        async def make() -> asyncpg.Pool:
            return await asyncpg.create_pool(
                dsn,
                min_size=0,
                max_size=size,
                init=_prepare,
                timeout=CONNECT_TIMEOUT,
                command_timeout=statement_timeout,
                max_inactive_connection_lifetime=300.0,
                server_settings={
                    "application_name": "tandem",
                    "timezone": "UTC",
                    # Rows come from memory or an SSD: one by an index costs little more than the next one.
                    "random_page_cost": "1.1",
                    # Compiling these short statements costs more than running them.
                    "jit": "off",
                    **_when_we_are_gone(min(SILENCE_TIMEOUT, statement_timeout)),
                },
            )

        pool = await loop.run_aio_coroutine(make())
        try:
            yield Database(loop, pool)
        finally:
            with trio.CancelScope(shield=True):
                with trio.move_on_after(CLOSE_TIMEOUT) as scope:
                    await loop.run_aio_coroutine(pool.close())
                if scope.cancelled_caught:
                    pool.terminate()
