"""Calls in pages: each filter, and that no page loses or repeats a call while others are written."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from server.db.pool import Database
from server.db.queries import (
    NewParticipant,
    add_participant,
    create_call_session,
    listing,
    update_call_status,
)
from server.db.queries.listing import CallFilter, Place, call_exists, find_call, list_calls, list_participants
from server.db.times import moment

T0 = 1_760_000_000.0


async def create(db: Database, call: str, *, at: float = T0, room: str = "r", **more: Any) -> None:
    fields: dict[str, Any] = {"call_type": "VIDEO", "status": "ACTIVE", **more}
    await db.run(create_call_session, call, room_id=room, at=at, **fields)


async def join(db: Database, call: str, user: str, at: float = T0) -> None:
    one = NewParticipant(id=f"{call}-{user}", user_id=user, name=user.title())
    await db.run(add_participant, call, one, at=at)


async def ids(db: Database, *filters: CallFilter, **more: Any) -> list[str]:
    return [call["id"] for call in await db.run(list_calls, *filters, **{"limit": 100, **more})]


@pytest.fixture
async def three(db: Database) -> Database:
    await create(db, "a", at=T0, initiator_id="ann")
    await create(db, "b", at=T0 + 1, room="other", mode="sfu", sfu_room_id="x", sfu_rtp_capabilities={})
    await create(db, "c", at=T0 + 2, call_type="AUDIO", status="INITIATED")
    await db.run(update_call_status, "a", "ENDED", at=T0 + 5)
    await join(db, "b", "ann")
    await join(db, "b", "bob")
    await join(db, "c", "bob")
    return db


@pytest.mark.parametrize(
    ("one", "found"),
    [
        (CallFilter(), ["c", "b", "a"]),
        (CallFilter(call_id="b"), ["b"]),
        (CallFilter(call_id="none"), []),
        (CallFilter(room_id="r"), ["c", "a"]),
        (CallFilter(user_id="ann"), ["b", "a"]),
        (CallFilter(user_id="bob"), ["c", "b"]),
        (CallFilter(status="INITIATED"), ["c"]),
        (CallFilter(mode="sfu", status="ACTIVE"), ["b"]),
        (CallFilter(call_type="AUDIO"), ["c"]),
        (CallFilter(since=moment(T0 + 1)), ["c", "b"]),
        (CallFilter(until=moment(T0 + 1)), ["b", "a"]),
        (CallFilter(room_id="r", user_id="bob", since=moment(T0), until=moment(T0 + 9)), ["c"]),
    ],
)
async def test_a_filter(three: Database, one: CallFilter, found: list[str]) -> None:
    assert await ids(three, one) == found
    assert await three.run(call_exists, one) == bool(found)


async def test_filters_narrow_together(three: Database) -> None:
    assert await ids(three, CallFilter(user_id="bob"), CallFilter(user_id="ann")) == ["b"]
    assert await three.run(find_call, CallFilter(call_id="a"), CallFilter(room_id="other")) is None


async def test_participants_come_with_their_persons(three: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    call = await three.run(find_call, CallFilter(call_id="b"))
    assert call is not None
    assert [one["user"]["id"] for one in call["participants"]] == ["ann", "bob"]
    monkeypatch.setattr(listing, "EMBEDDED", 1)
    call = await three.run(find_call, CallFilter(call_id="b"))
    assert call is not None
    assert len(call["participants"]) == 1


async def test_participants_in_pages(db: Database) -> None:
    await create(db, "call")
    for n in range(7):
        await join(db, "call", f"user{n}", at=T0 + n // 3)  # some at the same moment
    seen: list[str] = []
    after: Place | None = None
    while page := await db.run(list_participants, "call", limit=2, after=after):
        seen += [one["userId"] for one in page]
        after = (page[-1]["joinedAt"], page[-1]["id"])
    assert seen == [f"user{n}" for n in range(7)]


async def test_pages_stay_whole_while_calls_are_written_and_end(db: Database) -> None:
    there = [f"call{n:02}" for n in range(20)]
    for n, call in enumerate(there):
        await create(db, call, at=T0 + n // 4)  # four at the same moment
    seen: list[str] = []

    async def write(n: int) -> None:
        await create(db, f"new{n:02}", at=T0 + 100 + n)
        await db.run(update_call_status, there[n], "ENDED", at=T0 + 200)

    after: Place | None = None
    for n in range(20):
        page: list[dict[str, Any]] = []

        async def read(after: Place | None, page: list[dict[str, Any]]) -> None:
            page += await db.run(list_calls, CallFilter(room_id="r"), limit=3, after=after)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, after, page)
            nursery.start_soon(write, n)
        if not page:
            break
        seen += [call["id"] for call in page]
        after = (page[-1]["createdAt"], page[-1]["id"])
    old = [call for call in seen if call in there]
    assert old == sorted(there, reverse=True)
    assert len(set(seen)) == len(seen)
