from __future__ import annotations

import os
import random
import signal

import pytest
import trio

from server.db.connection import Connection
from server.db.errors import DatabaseRefused, DatabaseUnavailable
from server.db.pool import Database, open_database
from tests.harness.database_proxy import database_proxy
from tests.harness.postgres import TestCluster, psql


async def _backend(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def _sleep(connection: Connection, seconds: float) -> None:
    await connection.execute("SELECT pg_sleep($1)", seconds)


async def _insert(connection: Connection, key: str, seconds: float = 0.0) -> None:
    await connection.execute("INSERT INTO users (id) VALUES ($1)", key)
    await connection.execute("SELECT pg_sleep($1)", seconds)


async def test_a_unit_is_one_transaction(db: Database, url: str) -> None:
    async def fails(connection: Connection) -> None:
        await _insert(connection, "a")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await db.run(fails)
    await db.run(_insert, "b")
    assert psql(url, "SELECT string_agg(id, ',') FROM users") == "b"


async def test_json_is_plain_data(db: Database) -> None:
    async def unit(connection: Connection) -> object:
        return await connection.fetchval("SELECT $1::jsonb || '{\"b\": [1.5, null]}'", {"a": "ü"})

    assert await db.run(unit) == {"a": "ü", "b": [1.5, None]}


@pytest.mark.parametrize(
    ("statement", "kind", "state"),
    [
        ("INSERT INTO call_sessions (id) VALUES ('x')", DatabaseRefused, "23502"),
        ("SELECT 1 / 0", DatabaseRefused, "22012"),
        ("SELEC", DatabaseRefused, "42601"),
        ("SELECT * FROM not_there", DatabaseUnavailable, "42P01"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", DatabaseUnavailable, None),
    ],
)
async def test_errors_say_whether_to_try_again(
    db: Database, statement: str, kind: type[DatabaseRefused | DatabaseUnavailable], state: str | None
) -> None:
    async def unit(connection: Connection) -> None:
        await connection.execute(statement)

    with pytest.raises(kind) as caught:
        await db.run(unit)
    if state is not None:
        assert caught.value.sqlstate == state
    await db.run(_backend)


async def test_cut_connections_are_replaced(db: Database, url: str) -> None:
    pids = set()

    async def note() -> None:
        pids.add(await db.run(_backend))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(note)
    psql(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tandem' AND"
        " datname = current_database()",
    )
    failures = 0
    for _ in range(12):
        try:
            assert await db.run(_backend) not in pids
        except DatabaseUnavailable:
            failures += 1
    assert failures <= 8


async def test_cancellation_leaves_nothing_behind(db: Database, url: str) -> None:
    chance = random.Random(1)

    async def one(key: str) -> None:
        with trio.move_on_after(chance.random() * 0.03):
            await db.run(_insert, key, 0.02)

    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(one, f"k{number}")
    idle = (
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = current_database()"
    )
    assert psql(url, idle) == "0"
    with trio.fail_after(5):
        for number in range(8):
            await db.run(_insert, f"after{number}")
    assert db.connections <= 8


async def test_a_dead_server_does_not_hold_up_a_cancelled_task(db: Database, url: str) -> None:
    pid = await db.run(_backend)
    started = trio.Event()

    async def wait() -> None:
        started.set()
        await db.run(_sleep, 30.0)

    os.kill(pid, signal.SIGSTOP)  # the pool gives out this connection again; nothing answers on it
    try:
        with trio.fail_after(4):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await started.wait()
                await trio.sleep(0.1)
                nursery.cancel_scope.cancel()
    finally:
        os.kill(pid, signal.SIGCONT)
    await db.run(_backend)


async def test_nobody_listens() -> None:
    async with open_database("postgresql://nobody@127.0.0.1:1/nothing") as db:
        with pytest.raises(DatabaseUnavailable, match="Connect"):
            await db.run(_backend)


async def test_a_unit_may_be_run_from_any_task(db: Database) -> None:
    """Also from tasks that were started outside of the pool's block."""
    send, receive = trio.open_memory_channel[int](1)

    @trio.lowlevel.spawn_system_task
    async def elsewhere() -> None:
        await send.send(await db.run(_backend))

    with trio.fail_after(5):
        assert await receive.receive() > 0


async def test_what_was_abandoned_holds_up_nobody_for_long(cluster: TestCluster, url: str) -> None:
    """The network swallows a COMMIT and the cut; PostgreSQL gives the transaction up by itself."""
    psql(url, "INSERT INTO users (id) VALUES ('a')")

    async def rename(connection: Connection, name: str) -> None:
        await connection.execute("UPDATE users SET name = $1 WHERE id = 'a'", name)

    async with database_proxy(str(cluster.postgres.socket_dir / ".s.PGSQL.5432")) as proxy:
        through = proxy.url(url.split("@/")[1].split("?")[0])
        async with open_database(through, size=1, statement_timeout=1.0) as database:
            proxy.cut_at_commit(1, "abandoned")
            with pytest.raises(DatabaseUnavailable):
                await database.run(rename, "lost")
            assert psql(url, "SELECT state FROM pg_stat_activity WHERE state LIKE 'idle in%'") != ""
            with trio.fail_after(10):
                while True:
                    try:
                        await database.run(rename, "kept")
                        break
                    except DatabaseUnavailable:  # its time to wait for the lock is up
                        continue
    assert psql(url, "SELECT name FROM users WHERE id = 'a'") == "kept"
