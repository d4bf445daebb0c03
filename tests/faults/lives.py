"""Processes of one node, one after the other, between a `Model`'s changes and a PostgreSQL behind a proxy."""

from __future__ import annotations

import random
import time
from pathlib import Path

import trio

from server.db.errors import DatabaseUnavailable
from server.db.pool import Database, open_database
from server.db.recorder import Recorder
from server.db.spool import segments
from server.db.startup import take_over
from server.db.upkeep import verify
from tests.faults import witness
from tests.faults.model import Model, rows
from tests.harness.database_proxy import COMMIT_FAULTS, DatabaseProxy
from tests.harness.postgres import TestCluster, kill, psql

STATEMENT_S = 0.3  # a statement's time limit in these processes: a black hole is given up after it
MOST = 400  # changes of one life
IN_TRANSACTION = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"


async def play(cluster: TestCluster, proxy: DatabaseProxy, spool: Path, seed: int) -> None:
    """One case: two or three lives under faults, and then all must be right."""
    chance = random.Random(seed)
    direct = await cluster.fresh()
    url = proxy.url(direct.split("@/")[1].split("?")[0])
    model = Model(chance)
    lives = chance.choice((2, 3, 3))
    for life in range(lives):
        await _live(proxy, url, spool, f"s{life}", model, last=life == lives - 1)
        if life < lives - 1:
            model.restart()
            if chance.random() < 0.1:
                await kill(cluster.postgres)
                await cluster.postgres.start()
    await assert_right(direct, model, spool)


async def assert_right(url: str, model: Model, spool: Path) -> None:
    """Rows, witness, spool and PostgreSQL's sessions at the end of a case."""
    witness.assert_once_and_in_order(witness.testimony(url), model.told)
    async with open_database(url, size=1) as db:
        assert await db.run(rows) == model.rows()
        assert await verify(db) == []
    assert segments(spool) == {}
    with trio.fail_after(5):  # what the proxy abandoned is given up by PostgreSQL itself
        while psql(url, IN_TRANSACTION) != "0":  # noqa: ASYNC110 - another process
            await trio.sleep(0.05)


async def _live(proxy: DatabaseProxy, url: str, spool: Path, name: str, model: Model, *, last: bool) -> None:
    """One life of the server. All but the last die at any point: only their files remain."""
    chance = model.chance
    recorder = Recorder(spool, name, max_spool_bytes=1 << 20)
    async with (
        open_database(url, size=3, statement_timeout=STATEMENT_S) as db,
        trio.open_nursery() as nursery,
    ):
        ready = trio.Event()
        nursery.start_soon(write, db, recorder, ready)
        nursery.start_soon(recorder.keep_synced)
        async with trio.open_nursery() as inner:
            spoiling = trio.CancelScope()
            inner.start_soon(_spoil, proxy, random.Random(chance.random()), spoiling)
            n, least = 0, chance.randrange(10, 60)
            while n < least or (not spoiling.cancelled_caught and n < MOST):
                recorder.submit(model.next(name))
                n += 1
                if chance.random() < 0.5:
                    await trio.sleep(chance.random() * 0.02)
            inner.cancel_scope.cancel()
        proxy.heal()
        if last:
            with trio.fail_after(30):
                await ready.wait()
                await recorder.flush()
        nursery.cancel_scope.cancel()
    stats = recorder.stats()
    assert stats.lost == stats.dead_lettered == 0
    if last:
        assert recorder._memory == {}
        recorder.close()
    else:
        recorder._spool.close()


async def write(db: Database, recorder: Recorder, ready: trio.Event) -> None:
    """What the server's storage does."""
    while True:
        try:
            await take_over(db, recorder, "node", at=time.time(), last_seen=None)
            break
        except DatabaseUnavailable:
            await trio.sleep(0.02)
    ready.set()
    await recorder.run(db)


async def _spoil(proxy: DatabaseProxy, chance: random.Random, done: trio.CancelScope) -> None:
    """One fault after the other, with some moments of peace. Most are where exactly-once is decided; they are
    waited for."""
    with done:
        for _ in range(chance.randrange(2, 6)):
            roll = chance.random()
            if roll < 0.5:
                proxy.cut_at_commit(chance.randrange(1, 4), chance.choice(COMMIT_FAULTS))
                await _struck(proxy)
            elif roll < 0.65:
                proxy.cut_at_message(chance.randrange(1, 60))
                await _struck(proxy)
            else:
                fault, seconds = chance.choice((
                    (lambda: proxy.cut_after(chance.randrange(1, 3000)), 0.1),
                    (lambda: proxy.delay(chance.random() * 0.01), 0.1),
                    (proxy.refuse, 0.4), (proxy.black_hole, 0.4), (proxy.cut, 0.0),
                ))  # fmt: skip
                fault()
                await trio.sleep(chance.random() * seconds)
            proxy.heal()
            await trio.sleep(chance.random() * 0.03)
        done.cancel()
        await trio.lowlevel.checkpoint()


async def _struck(proxy: DatabaseProxy) -> None:
    before = proxy.faults.total()
    with trio.move_on_after(0.7):
        while proxy.faults.total() == before:  # noqa: ASYNC110 - whenever the recorder talks
            await trio.sleep(0.005)
