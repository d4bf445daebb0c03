"""Each access pattern goes by its index, on a database that is large enough for PostgreSQL to care."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from pytest_trio import trio_fixture

from bench.data.explained import explain, generic, indexes, rows_read
from bench.data.generate import fill
from bench.data.patterns import READS, WRITES, Pattern, questions
from bench.data.playground import playground
from server.db import queries
from server.db.pool import Database, open_database
from server.db.upkeep import verify

CALLS = 12_000
RUNS = 6  # PostgreSQL tries five plans for the values before it settles for a generic one


@trio_fixture
async def filled(url: str) -> AsyncIterator[Database]:
    async with open_database(url, size=1) as db:
        await fill(db, CALLS)
        yield db


async def _faults(db: Database, pattern: Pattern) -> list[str]:
    prepared: dict[str, str] = {}
    used, read = set[str](), Counter[str]()
    asked = (await questions(db, pattern))[: RUNS + 2]
    assert len(asked) > RUNS, pattern.name
    for number, (values, named) in enumerate(asked):
        how: Any = explain if number < RUNS else generic
        found = await db.run(how, prepared, pattern.unit, *values, **named)
        used |= indexes(found)
        read |= rows_read(found)
    return pattern.faults(used, read)


async def test_every_pattern_goes_by_its_index(filled: Database) -> None:
    wrong = {pattern.name: await _faults(filled, pattern) for pattern in READS}
    async with playground(filled):
        wrong |= {pattern.name: await _faults(filled, pattern) for pattern in WRITES}
    assert {name: faults for name, faults in wrong.items() if faults} == {}


async def test_a_missing_index_is_noticed(filled: Database) -> None:
    async def drop(connection: Any) -> None:
        await connection.execute('DROP INDEX "CallParticipant_sfuVideoProducerId_idx"')
        await connection.execute('DROP INDEX "call_sessions_roomId_startedAt_id_idx"')

    await filled.run(drop)
    by_name = {pattern.name: pattern for pattern in READS}
    faults = await _faults(filled, by_name["participant by video producer"])
    assert "no use of CallParticipant_sfuVideoProducerId_idx" in faults
    assert any(one.endswith("rows of call_participants") for one in faults)
    faults = await _faults(filled, by_name["history of the busiest room, a page of 50"])
    assert "no use of call_sessions_roomId_startedAt_id_idx" in faults


async def test_the_generated_calls_are_whole(filled: Database) -> None:
    """What the benches measure on are rows that Tandem could have written."""
    assert [found for found in await verify(filled) if found.count] == []
    history = await filled.run(queries.call_history, "room-0")
    assert len(history) == 50
    assert all(2 <= len(call["participants"]) <= 50 for call in history)
    live = await filled.run(queries.active_sfu_calls)
    assert len(live) == 100
    assert all(one["sfuAudioProducerId"] for call in live for one in call["participants"])
