"""What applications ask of the records is answered in time, or said not to be."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from pytest_trio import trio_fixture

from server.db import dead_letters
from server.db.pool import Database, open_database
from server.db.queries import NewParticipant, create_call_session, update_call_status
from server.db.queries.listing import CallFilter
from server.db.recorder import RecorderStats
from server.db.records import AT_ONCE, Records
from server.db.times import moment
from server.errors import ClientError, Unavailable
from tests.harness.database_proxy import DatabaseProxy, database_proxy
from tests.harness.postgres import TestCluster

T0 = 1_760_000_000.0
CALL = CallFilter(call_id="c")


class Recorder:
    connected = True

    def __init__(self) -> None:
        self.flushed = 0

    async def flush(self) -> None:
        self.flushed += 1

    def stats(self) -> RecorderStats:
        return RecorderStats()


def records_of(db: Database, spool: Path, *, timeout_s: float = 2.0, ready: bool = True) -> Records:
    return Records(
        SimpleNamespace(db=db, recorder=Recorder(), ready=ready),  # type: ignore[arg-type]
        spool=spool,
        timeout_s=timeout_s,
    )


async def make_call(db: Database) -> None:
    ann = NewParticipant(id="p", user_id="ann", name="Ann")
    more: dict[str, Any] = {"call_type": "VIDEO", "status": "ACTIVE", "participants": [ann]}
    await db.run(create_call_session, "c", room_id="r", at=T0, **more)


async def test_of_a_call(db: Database, tmp_path: Path) -> None:
    await make_call(db)
    records = records_of(db, tmp_path)
    found = await records.participants(CALL, limit=5)
    assert found is not None
    assert [one["userId"] for one in found] == ["ann"]
    assert await records.participants(CALL, CallFilter(room_id="other"), limit=5) is None
    assert await records.metrics(CALL) == (None,)
    assert await records.recording(CALL) == (None,)
    assert await records.analytics(CallFilter(call_id="none")) is None
    assert await records.transcriptions(CALL, language=None, limit=5, after=(moment(T0), "")) == []
    assert await records.call_by_sfu_room("none") is None
    assert await records.participant_by_producer("none") is None
    await db.run(update_call_status, "c", "ENDED", at=T0 + 5)
    summary = await records.analytics(CALL)
    assert summary is not None
    assert summary[0] is not None
    assert summary[0]["outcome"] == "alone"
    since, until = moment(T0 - 1), moment(T0 + 1)
    assert (await records.transition_stats(since, until))["totalCalls"] == 0
    assert (await records.analytics_summary(since, until, room_id="r"))["calls"] == 1


async def test_a_persons_data(db: Database, tmp_path: Path) -> None:
    await make_call(db)
    dead_letters.append(tmp_path, {"change": {"user_id": "ann"}})
    records = records_of(db, tmp_path)
    assert await records.export_user("nobody") is None
    assert await records.erase_user("nobody") is None
    held = await records.export_user("ann")
    assert held is not None
    assert (held["user"]["name"], len(held["changesSetAside"])) == ("Ann", 1)
    with pytest.raises(ClientError, match="in call 'c' now"):
        await records.erase_user("ann")
    await db.run(update_call_status, "c", "ENDED", at=T0 + 5)
    erased = await records.erase_user("ann")
    assert erased is not None
    assert (erased[0].participations, erased[0].person_row, erased[1]) == (1, "erased", 1)
    assert await records.export_user("ann") is None


@trio_fixture
async def proxied(cluster: TestCluster, url: str) -> AsyncIterator[tuple[DatabaseProxy, Database]]:
    name = url.split("@/")[1].split("?")[0]
    async with (
        database_proxy(str(cluster.postgres.socket_dir / ".s.PGSQL.5432")) as proxy,
        open_database(proxy.url(name), size=20) as db,
    ):
        yield proxy, db


async def test_before_the_database_is_ready(db: Database, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await records_of(db, tmp_path, ready=False).call(CALL)


async def test_a_database_that_is_gone(proxied: tuple[DatabaseProxy, Database], tmp_path: Path) -> None:
    proxy, db = proxied
    records = records_of(db, tmp_path)
    assert await records.call(CALL) is None
    proxy.refuse()
    with pytest.raises(Unavailable):
        await records.call(CALL)
    proxy.heal()
    assert await records.call(CALL) is None


async def test_a_database_that_says_nothing(proxied: tuple[DatabaseProxy, Database], tmp_path: Path) -> None:
    proxy, db = proxied
    records = records_of(db, tmp_path, timeout_s=0.3)
    proxy.black_hole()
    refused = 0
    before = time.monotonic()

    async def ask() -> None:
        nonlocal refused
        with pytest.raises(Unavailable):
            await records.call(CALL)
        refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE * 3):  # those who wait for their turn are in time too
            nursery.start_soon(ask)
    assert refused == AT_ONCE * 3
    assert time.monotonic() - before < 3
    assert db.connections <= AT_ONCE
    proxy.heal()
    assert await records_of(db, tmp_path).call(CALL) is None
