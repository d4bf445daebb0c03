"""The recorder under every kind of fault: each change in the rows exactly once, in order."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from server.db import recorder as recorder_module
from server.db.changes import CallCreated, CallEnded, Change, ParticipantMedia, SwitchedToP2p, SwitchedToSfu
from server.db.connection import Connection
from server.db.embedded import EmbeddedPostgres
from server.db.errors import DatabaseUnavailable
from server.db.migrations import migrate
from server.db.pool import Database, open_database
from server.db.recorder import DEAD_LETTERS, Recorder
from server.db.spool import segments
from server.db.writes import register_stream
from tests.harness.postgres import kill

T0 = 1_760_000_000.0


def created(call: str) -> CallCreated:
    return CallCreated(
        at=T0, call_id=call, room_id="r", call_type="AUDIO", status="ACTIVE", mode="p2p", initiator_id=None
    )


def switch(call: str, epoch: int) -> Change:
    """Epochs alternate between SFU and P2P: a lost, doubled or misplaced one shows in the transitions."""
    common: dict[str, Any] = {
        "at": T0 + epoch,
        "call_id": call,
        "epoch": epoch,
        "reason": "requested",
        "duration": 1.0,
    }
    if epoch % 2 == 0:
        return SwitchedToP2p(**common)
    return SwitchedToSfu(**common, sfu_room_id=f"router{epoch}", sfu_rtp_capabilities={}, participants=[])


async def _epochs(connection: Connection, call: str) -> tuple[int, list[int]]:
    row = await connection.fetchrow(
        'SELECT s."modeChangeCount" AS n, m."modeTransitions" AS t FROM call_sessions s'
        ' LEFT JOIN call_metrics m ON m."callSessionId" = s.id WHERE s.id = $1',
        call,
    )
    assert row is not None
    return row["n"], [one["epoch"] for one in row["t"] or []]


async def assert_complete(db: Database, call: str, count: int) -> None:
    assert await db.run(_epochs, call) == (count, list(range(1, count + 1)))


@asynccontextmanager
async def running(recorder: Recorder, db: Database) -> AsyncIterator[None]:
    await db.run(register_stream, recorder.stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run, db)
        nursery.start_soon(recorder.keep_synced)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()


async def test_changes_arrive_in_order(db: Database, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "s1")
    recorder.submit(created("c"))
    async with running(recorder, db):
        for epoch in range(1, 301):
            recorder.submit(switch("c", epoch))
            if epoch % 7 == 0:
                await trio.lowlevel.checkpoint()
        await recorder.flush()
    await assert_complete(db, "c", 300)
    stats = recorder.stats()
    assert (stats.submitted, stats.written, stats.pending, stats.lost, stats.dead_lettered) == (
        301,
        301,
        0,
        0,
        0,
    )
    recorder.close()
    assert segments(tmp_path) == {}


async def test_what_memory_cannot_hold_is_read_back(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "MEMORY_BYTES", 2000)
    recorder = Recorder(tmp_path, "s1")
    recorder.submit(created("c"))
    for epoch in range(1, 401):
        recorder.submit(switch("c", epoch))
    assert recorder._memory_bytes <= 2000
    async with running(recorder, db):
        await recorder.flush()
        for epoch in range(401, 421):
            recorder.submit(switch("c", epoch))
        await recorder.flush()
    await assert_complete(db, "c", 420)
    assert recorder._memory_bytes == 0
    recorder.close()


async def test_a_full_spool_and_memory_lose_the_newest_and_say_so(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "MEMORY_BYTES", 2000)
    recorder = Recorder(tmp_path, "s1", max_spool_bytes=4000)
    recorder.submit(created("c"))
    for epoch in range(1, 201):
        recorder.submit(switch("c", epoch))
    stats = recorder.stats()
    assert stats.lost > 100
    assert stats.spool_bytes <= 4000
    assert stats.pending == 201 - stats.lost
    assert recorder.spool_state == "full, changes are lost"
    async with running(recorder, db):
        await recorder.flush()
        assert recorder.stats().written == 201 - stats.lost
        recorder.submit(created("later"))
        recorder.submit(switch("later", 1))
        await recorder.flush()
    assert recorder.stats().lost == stats.lost
    assert recorder.spool_state == "ok"
    await assert_complete(db, "later", 1)
    recorder.close()


async def test_what_is_in_memory_only_is_told(db: Database, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "s1", max_spool_bytes=2000)
    recorder.submit(created("c"))
    assert recorder.stats().unspooled == 0
    for epoch in range(1, 41):
        recorder.submit(switch("c", epoch))
    stats = recorder.stats()
    assert 0 < stats.unspooled < 40
    assert stats.lost == 0
    assert recorder.spool_state == "full, changes are in memory only"
    async with running(recorder, db):
        await recorder.flush()
    assert recorder.stats().unspooled == 0
    assert recorder.spool_state == "ok"
    await assert_complete(db, "c", 40)
    recorder.close()


async def test_how_long_changes_wait(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    recorder = Recorder(tmp_path, "s1")
    assert recorder.stats().waited == 0.0
    await trio.sleep(5)
    recorder.submit(created("c"))
    await trio.sleep(2)
    recorder._connected = True
    assert not recorder.keeping_up
    recorder.submit(created("d"))
    assert recorder.stats().waited == 2.0
    recorder._advance(1)
    assert recorder.stats().waited == 0.0
    assert recorder.keeping_up
    await trio.sleep(1)
    assert recorder.stats().waited == 1.0
    recorder._advance(2)
    assert recorder.stats().waited == 0.0
    recorder.close()


async def test_changes_come_together_for_a_moment(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """The first is written at once, those close behind by one transaction, a backlog without a pause."""
    written: list[tuple[float, int]] = []

    class Quick:
        async def run(self, unit: Any, stream: str, batch: list[Any]) -> int:
            written.append((trio.current_time() - began, len(batch)))
            return len(batch)

    recorder = Recorder(tmp_path, "s1")
    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(recorder.run, Quick())
        for _ in range(4):
            recorder.submit(created("c"))
            await trio.sleep(0.006)
        await trio.sleep(1)
        for _ in range(150):
            recorder.submit(created("c"))
        await recorder.flush()
        nursery.cancel_scope.cancel()
    assert [count for _, count in written] == [1, 3, 64, 64, 22]
    assert written[0][0] == 0.0
    assert written[1][0] == pytest.approx(recorder_module.GATHER)
    assert written[2][0] == written[4][0]
    assert recorder_module.GATHER < recorder_module.SYNC_AFTER
    recorder.close()


async def test_a_silent_database_is_enough_to_flush(tmp_path: Path) -> None:
    """Nobody has noticed yet that it is away, and yet what waits is on the disk."""

    class Silent:
        async def run(self, *args: Any) -> Any:
            await trio.sleep_forever()

    recorder = Recorder(tmp_path, "s1")
    recorder._connected = True
    synced = trio.Event()
    sync = recorder._spool.sync

    def noted() -> None:
        sync()
        trio.from_thread.run_sync(synced.set)

    recorder._spool.sync = noted  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run, Silent())
        nursery.start_soon(recorder.keep_synced)
        recorder.submit(created("c"))
        with trio.fail_after(5):
            await synced.wait()
        nursery.cancel_scope.cancel()
    recorder._spool.sync = sync  # type: ignore[method-assign]
    recorder.close()


async def test_a_poisoned_change_is_set_aside_and_holds_up_nobody(db: Database, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "s1")
    recorder.submit(created("c"))
    recorder.submit(switch("c", 1))
    recorder.submit(ParticipantMedia(at=T0, participant_id="nobody", audio_enabled=False))
    recorder.submit(CallEnded(at=1e30, call_id="c", status="ENDED", reason="x", ended_by=None))
    recorder.submit(switch("c", 2))
    async with running(recorder, db):
        await recorder.flush()
    await assert_complete(db, "c", 2)
    assert recorder.stats().dead_lettered == 2
    letters = [json.loads(line) for line in (tmp_path / DEAD_LETTERS).read_text().splitlines()]
    assert [(one["n"], one["change"]["change"]) for one in letters] == [
        (3, "participant_media"),
        (4, "call_ended"),
    ]
    assert "nobody" in letters[0]["error"]
    recorder.close()


async def test_what_cannot_be_encoded_does_not_fail_the_caller(db: Database, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "s1")
    bad = created("c")
    recorder.submit(
        CallCreated(
            **{name: getattr(bad, name) for name in bad.__struct_fields__} | {"settings": {"x": object()}}
        )
    )
    assert recorder.stats().lost == 1
    recorder.submit(created("c"))
    async with running(recorder, db):
        await recorder.flush()
    await assert_complete(db, "c", 0)
    recorder.close()


class LosesAnswers:
    """A database whose commits succeed, but whose answers are lost now and then."""

    def __init__(self, db: Database, seed: int) -> None:
        self._db = db
        self._random = random.Random(seed)
        self.lost = 0

    async def run(self, *args: Any) -> Any:
        roll = self._random.random()
        if roll < 0.2:
            raise DatabaseUnavailable("cut before")
        result = await self._db.run(*args)
        if roll < 0.5:
            self.lost += 1
            raise DatabaseUnavailable("cut after the commit")
        return result


@pytest.mark.parametrize("seed", range(3))
async def test_a_lost_answer_doubles_nothing(
    db: Database, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "PAUSE_FIRST", 0.0)
    monkeypatch.setattr(recorder_module, "BATCH", 4)
    recorder = Recorder(tmp_path, "s1")
    recorder.submit(created("c"))
    for epoch in range(1, 61):
        recorder.submit(switch("c", epoch))
    await db.run(register_stream, "s1")
    flaky = LosesAnswers(db, seed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run, flaky)
        await recorder.flush()
        nursery.cancel_scope.cancel()
    assert flaky.lost > 2
    await assert_complete(db, "c", 60)
    recorder.close()


@pytest.mark.parametrize("seed", range(3))
async def test_the_next_process_writes_what_the_last_left(db: Database, tmp_path: Path, seed: int) -> None:
    """Processes that end at any point, one after the other, as after kill -9: only the files remain."""
    chance = random.Random(seed)
    epoch = 0
    for generation in range(6):
        recorder = Recorder(tmp_path, f"s{generation}")
        with trio.CancelScope() as killed:
            streams = await recorder.write_left_behind(db)
            recorder.forget(streams)
            await db.run(register_stream, recorder.stream)
            if generation == 0:
                recorder.submit(created("c"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(recorder.run, db)
                for _ in range(chance.randrange(40)):
                    epoch += 1
                    recorder.submit(switch("c", epoch))
                    if chance.random() < 0.3:
                        await trio.sleep(chance.random() * 0.01)
                killed.cancel()
        recorder._spool.close()
    last = Recorder(tmp_path, "s9")
    last.forget(await last.write_left_behind(db))
    await assert_complete(db, "c", epoch)
    assert segments(tmp_path) == {}
    last.close()


async def test_an_order_of_streams_is_kept(db: Database, tmp_path: Path) -> None:
    first, second = Recorder(tmp_path, "s1"), Recorder(tmp_path, "s2")
    second.submit(switch("c", 2))
    first.submit(created("c"))
    first.submit(switch("c", 1))
    first._spool.close()
    second._spool.close()
    last = Recorder(tmp_path, "s3")
    assert await last.write_left_behind(db) == ["s1", "s2"]
    assert await last.write_left_behind(db) == ["s1", "s2"]  # again, as after a crash before the files went
    await assert_complete(db, "c", 2)
    last.close()


@pytest.fixture
async def own_postgres(data_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(data_dir)
    await postgres.start()
    yield postgres
    await postgres.stop()


async def _stop(postgres: EmbeddedPostgres) -> None:
    await postgres.stop()


@pytest.mark.parametrize("fault", [_stop, kill], ids=["stopped", "killed"])
async def test_postgres_goes_and_comes_back(
    own_postgres: EmbeddedPostgres, tmp_path: Path, fault: Any
) -> None:
    async with open_database(own_postgres.dsn, size=4) as db:
        await migrate(db)
        recorder = Recorder(tmp_path, "s1")
        async with running(recorder, db):
            recorder.submit(created("c"))
            epoch = 0
            for _ in range(2):
                for _ in range(80):
                    epoch += 1
                    recorder.submit(switch("c", epoch))
                    await trio.sleep(0.001)
                await fault(own_postgres)
                for _ in range(80):
                    epoch += 1
                    recorder.submit(switch("c", epoch))
                    await trio.sleep(0.001)
                assert not recorder.connected
                assert recorder.stats().pending > 0
                await own_postgres.start()
                with trio.fail_after(10):
                    await recorder.flush()
                await assert_complete(db, "c", epoch)
        recorder.close()


async def test_the_outage_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = trio.Event()
    async with open_database("postgresql://nobody@127.0.0.1:1/nothing", size=1) as db:
        recorder = Recorder(tmp_path, "s1")
        sync = recorder._spool.sync

        def noted() -> None:
            sync()
            trio.from_thread.run_sync(synced.set)

        monkeypatch.setattr(recorder._spool, "sync", noted)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recorder.run, db)
            nursery.start_soon(recorder.keep_synced)
            recorder.submit(created("c"))
            with trio.fail_after(5):
                await synced.wait()
            nursery.cancel_scope.cancel()
        monkeypatch.undo()
        recorder.close()
    assert list(segments(tmp_path)) == ["s1"]
