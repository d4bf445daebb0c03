"""The machine dies: what waited for PostgreSQL for a moment outlives it, and nothing of it is written twice.

The disk keeps only what was flushed (`tests.faults.power`). Two machines die one after the other: the first
while PostgreSQL is silent, the second at any point while it takes over what the first has left.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from server.db.pool import open_database
from server.db.recorder import SYNC_AFTER, Recorder
from server.db.spool import Spool
from tests.faults import witness
from tests.faults.lives import STATEMENT_S, write
from tests.faults.model import Model
from tests.faults.power import ForgetfulDisk
from tests.faults.settings import seeds
from tests.harness.database_proxy import DatabaseProxy
from tests.harness.postgres import TestCluster

FLUSH_S = 1.0  # what has waited for longer must be on the disk (a busy machine's measure, not the server's)


@pytest.mark.parametrize("seed", seeds(short=4, share=0.1))
async def test_what_has_waited_outlives_the_machine(
    cluster: TestCluster, proxy: DatabaseProxy, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await play(cluster, proxy, tmp_path, seed, monkeypatch)


async def play(
    cluster: TestCluster, proxy: DatabaseProxy, spool: Path, seed: int, patch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    patch.setitem(Spool.__init__.__kwdefaults__, "segment_bytes", 1000)
    direct = await cluster.fresh()
    url = proxy.url(direct.split("@/")[1].split("?")[0])
    disk = ForgetfulDisk(spool, patch)
    model = Model(chance)
    first = Recorder(spool, "s0")
    async with (
        open_database(url, size=2, statement_timeout=STATEMENT_S) as db,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(write, db, first, trio.Event())
        nursery.start_soon(first.keep_synced)
        for _ in range(chance.randrange(5, 40)):
            first.submit(model.next("s0"))
        await _until_flushed(first)
        chance.choice((proxy.refuse, proxy.black_hole))()
        for _ in range(chance.randrange(5, 60)):
            first.submit(model.next("s0"))
            await trio.sleep(chance.random() * 2 * SYNC_AFTER * (chance.random() < 0.2))
        await _until_flushed(first)
        disk.fail()
        nursery.cancel_scope.cancel()
    first._spool.close()
    proxy.heal()

    second = Recorder(spool, "s1")
    chance.choice((
        lambda: None, lambda: proxy.cut_at_commit(chance.randrange(1, 9), "unanswered"),
        lambda: proxy.cut_at_message(chance.randrange(1, 200)),
    ))()  # fmt: skip
    async with (
        open_database(url, size=2, statement_timeout=STATEMENT_S) as db,
        trio.open_nursery() as nursery,
    ):
        ready = trio.Event()
        nursery.start_soon(write, db, second, ready)
        with trio.move_on_after(chance.choice((chance.random() * 0.3, 5.0))):
            await ready.wait()
        disk.fail()
        nursery.cancel_scope.cancel()
    second._spool.close()
    proxy.heal()

    last = Recorder(spool, "s2")
    async with open_database(url, size=2) as db, trio.open_nursery() as nursery:
        ready = trio.Event()
        nursery.start_soon(write, db, last, ready)
        with trio.fail_after(20):
            await ready.wait()
        nursery.cancel_scope.cancel()
    last.close()
    witness.assert_once_and_in_order(witness.testimony(direct), model.told)


async def _until_flushed(recorder: Recorder) -> None:
    """As long as a change may be in danger; then the machine may die."""
    last = recorder._last
    with trio.move_on_after(FLUSH_S):
        while recorder._done < last:  # noqa: ASYNC110 - or written: that is as good
            await trio.sleep(0.01)
