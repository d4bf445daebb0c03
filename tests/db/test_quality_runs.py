"""Quality reports that stand side by side in the stream are written by one statement, as if one by one."""

from __future__ import annotations

from typing import Any

import pytest

from server.db.changes import Change, ParticipantQuality, ParticipantStatusChanged
from server.db.connection import Connection
from server.db.errors import MissingRow
from server.db.pool import Database
from server.db.times import moment
from server.db.writes import Record, apply_batch, apply_change, encode_change
from tests.db.test_writes import T0, created, joined

STREAM = "stream"


def said(participant: str, number: int) -> ParticipantQuality:
    return ParticipantQuality(at=T0 + number, participant_id=participant, metrics={"rttMs": number})


class Counting:
    """A connection that counts what is asked of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        if name in ("execute", "fetch", "fetchrow", "fetchval"):
            self.asked += 1
        return getattr(self._connection, name)


async def _apply(connection: Connection, changes: list[Change], first: int) -> int:
    counting = Counting(connection)
    records = [Record(first + n, encode_change(change)) for n, change in enumerate(changes)]
    assert await apply_batch(counting, STREAM, records) == len(changes)  # type: ignore[arg-type]
    return counting.asked


async def _rows(connection: Connection) -> dict[str, tuple[Any, Any]]:
    rows = await connection.fetch('SELECT id, "qualityMetrics", "updatedAt" FROM call_participants')
    return {row["id"]: (row["qualityMetrics"], row["updatedAt"]) for row in rows}


async def _one_by_one(connection: Connection, changes: list[Change]) -> None:
    for change in changes:
        await apply_change(connection, change, STREAM)


@pytest.fixture
def people() -> list[Change]:
    return [created(), joined("p1", "u1"), joined("p2", "u2"), joined("p1-again", "u1")]


async def test_a_run_is_one_statement(db: Database, people: list[Change]) -> None:
    await db.run(_apply, people, 1)
    few = await db.run(_apply, [said("p1", 1)], 10)
    many = await db.run(_apply, [said(f"p{1 + n % 2}", n) for n in range(50)], 20)
    assert many == few
    assert (await db.run(_rows))["p2"] == ({"rttMs": 49}, moment(T0 + 49))


async def test_the_rows_are_what_they_would_be_one_by_one(db: Database, people: list[Change]) -> None:
    """Also when a person reports under both of their ids, and when something else comes in between."""
    changes: list[Change] = [
        said("p1", 1),
        said("p1-again", 2),
        said("p2", 3),
        ParticipantStatusChanged(at=T0 + 4, participant_id="p2", status="connected"),
        said("p2", 5),
        said("p1-again", 6),
        said("p1", 7),
    ]
    await db.run(_apply, people, 1)
    await db.run(_apply, changes, 10)
    together = await db.run(_rows)
    assert together["p1"][0] == {"rttMs": 7}
    await db.run(_one_by_one, changes)
    assert await db.run(_rows) == together


async def test_who_is_not_there_spoils_the_run(db: Database, people: list[Change]) -> None:
    """The recorder then writes it one by one, and sets the one aside."""
    await db.run(_apply, people, 1)
    with pytest.raises(MissingRow):
        await db.run(_apply, [said("p1", 1), said("nobody", 2)], 10)
    assert (await db.run(_rows))["p1"][0] is None
