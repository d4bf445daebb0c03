"""The metadata of recordings: a table of statuses, and files that are never forgotten."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from server.db.errors import MissingRow
from server.db.pool import Database
from server.db.queries import (
    create_call_session,
    create_recording,
    delete_recording,
    end_call,
    fail_recording,
    finish_recording,
    forget_leftover,
    list_recordings,
    recording_by_id,
    recording_leftovers,
    recording_of_call,
    update_recording_status,
)
from server.db.queries.recordings import LEGAL_FROM, RecordingStatus
from server.db.retention import purge
from tests.harness.postgres import psql

T0 = 1_760_000_000.0
STATUSES: tuple[RecordingStatus, ...] = tuple(LEGAL_FROM)
LEGAL = {
    ("starting", "recording"), ("starting", "failed"),
    ("recording", "processing"), ("recording", "ready"), ("recording", "failed"),
    ("processing", "ready"), ("processing", "failed"),
    ("ready", "deleted"), ("failed", "deleted"),
    ("failed", "starting"), ("deleted", "starting"),
}  # fmt: skip


async def call(db: Database, name: str = "c", *, room: str = "r", at: float = T0) -> None:
    await db.run(create_call_session, name, room_id=room, call_type="VIDEO", status="ACTIVE", at=at)


async def move(db: Database, to: RecordingStatus, at: float) -> bool:
    if to in ("recording", "processing"):
        return await db.run(update_recording_status, "rec", to, at=at, stopped_by="u")  # type: ignore[arg-type]
    if to == "ready":
        return await db.run(finish_recording, "rec", file_key="key", file_size=10, at=at)
    if to == "failed":
        return await db.run(fail_recording, "rec", error="why", at=at)
    if to == "deleted":
        return await db.run(delete_recording, "rec", at=at)
    return await db.run(create_recording, "new", "c", at=at) == "rec"


@pytest.mark.parametrize("old", STATUSES)
@pytest.mark.parametrize("new", STATUSES)
async def test_only_legal_moves_change_anything(db: Database, url: str, old: Any, new: Any) -> None:
    await call(db)
    assert await db.run(create_recording, "rec", "c", at=T0) == "rec"
    psql(url, f"UPDATE call_recordings SET status = '{old}'")
    before = await db.run(recording_by_id, "rec")
    assert await move(db, new, T0 + 5) == ((old, new) in LEGAL)
    after = await db.run(recording_by_id, "rec")
    assert after is not None
    if (old, new) in LEGAL:
        assert after["status"] == new
    else:
        assert after == before


async def test_from_start_to_file_and_away(db: Database) -> None:
    await call(db)
    assert await db.run(recording_of_call, "c") is None
    await db.run(create_recording, "rec", "c", format="webm", started_by="ann", metadata={"a": 1}, at=T0)
    await db.run(update_recording_status, "rec", "recording", at=T0 + 1)
    await db.run(update_recording_status, "rec", "processing", stopped_by="ben", at=T0 + 91.5)
    assert await db.run(finish_recording, "rec", file_key="k", file_size=5_000_000_000, at=T0 + 99)
    found = await db.run(recording_of_call, "c")
    assert found is not None
    assert (found["duration"], found["fileSize"], found["format"]) == (90, 5_000_000_000, "webm")
    assert (found["startedBy"], found["stoppedBy"], found["metadata"]) == ("ann", "ben", {"a": 1})
    assert await db.run(recording_leftovers) == []
    assert await db.run(delete_recording, "rec", at=T0 + 200)
    assert await db.run(recording_leftovers) == ["k"]
    await db.run(forget_leftover, "k")
    assert await db.run(recording_leftovers) == []
    assert await db.run(create_recording, "rec2", "c", at=T0 + 300) == "rec"
    found = await db.run(recording_of_call, "c")
    assert found is not None
    assert (found["status"], found["startedAt"], found["endedAt"], found["duration"]) == (
        ("starting", None, None, None)
    )


async def test_two_who_start_at_once_get_one_recording(db: Database) -> None:
    await call(db)
    found: list[str | None] = []

    async def start(name: str) -> None:
        found.append(await db.run(create_recording, name, "c", at=T0))

    async with trio.open_nursery() as nursery:
        for n in range(6):
            nursery.start_soon(start, f"rec{n}")
    assert len([one for one in found if one is not None]) == 1


async def test_the_file_of_a_purged_call_is_a_leftover(db: Database) -> None:
    await call(db)
    await db.run(create_recording, "rec", "c", at=T0)
    await db.run(update_recording_status, "rec", "recording", at=T0)
    await db.run(finish_recording, "rec", file_key="k", file_size=1, duration=2.9, at=T0 + 3)
    await db.run(end_call, "c", at=T0 + 4)
    await purge(db, T0 + 10)
    assert await db.run(recording_of_call, "c") is None
    assert await db.run(recording_leftovers) == ["k"]


async def test_lists(db: Database) -> None:
    for n, room in enumerate("rrs"):
        await call(db, f"c{n}", room=room)
        await db.run(create_recording, f"rec{n}", f"c{n}", at=T0 + n // 2)
    await db.run(fail_recording, "rec1", error="why", at=T0 + 9)
    names = [one["id"] for one in await db.run(list_recordings)]
    assert names == ["rec2", "rec1", "rec0"]
    assert [one["id"] for one in await db.run(list_recordings, room_id="r")] == ["rec1", "rec0"]
    assert [one["id"] for one in await db.run(list_recordings, status="failed")] == ["rec1"]
    paged = await db.run(list_recordings, before=(T0, "rec1"), limit=1)
    assert [(one["id"], one["roomId"]) for one in paged] == [("rec0", "r")]


async def test_what_is_not_there(db: Database) -> None:
    with pytest.raises(MissingRow, match="no call 'x'"):
        await db.run(create_recording, "rec", "x", at=T0)
    with pytest.raises(MissingRow, match="no recording 'x'"):
        await db.run(delete_recording, "x", at=T0)
