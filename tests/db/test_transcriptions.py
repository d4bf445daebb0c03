from __future__ import annotations

from typing import Any

import pytest

from server.db.errors import MissingRow
from server.db.pool import Database
from server.db.queries import (
    NewParticipant,
    add_participant,
    add_transcription,
    create_call_session,
    delete_transcriptions,
    transcriptions_of_call,
)

T0 = 1_760_000_000.0


async def call(db: Database) -> None:
    people = [
        NewParticipant(id="p-ann", user_id="ann", name="Ann"),
        NewParticipant(id="p-gus", anonymous_id="gus", name="Gus"),
    ]
    await db.run(
        create_call_session, "c", room_id="r", call_type="VIDEO", status="ACTIVE", participants=people, at=T0
    )


async def say(db: Database, name: str, who: str, text: str, start: float, **more: Any) -> bool:
    return await db.run(
        add_transcription, name, "c", who, text, started_at=T0 + start, ended_at=T0 + start + 1, at=T0, **more
    )


async def test_what_was_said_comes_back_in_the_order_in_which_it_was_begun(db: Database) -> None:
    await call(db)
    assert await say(db, "b", "p-gus", "world", 2, language="en", confidence=0.5, segment_id="7")
    assert await say(db, "a", "p-ann", "hello", 1, language="de")
    found = await db.run(transcriptions_of_call, "c")
    assert [(one["name"], one["text"]) for one in found] == [("Ann", "hello"), ("Gus", "world")]
    assert (found[1]["confidence"], found[1]["segmentId"], found[1]["source"]) == (0.5, "7", "client")
    assert [one["id"] for one in await db.run(transcriptions_of_call, "c", after=(T0 + 1, "a"))] == ["b"]
    assert [one["id"] for one in await db.run(transcriptions_of_call, "c", limit=1)] == ["a"]
    assert [one["id"] for one in await db.run(transcriptions_of_call, "c", language="en")] == ["b"]
    assert [one["id"] for one in await db.run(transcriptions_of_call, "c", participant_id="p-ann")] == ["a"]
    assert await db.run(delete_transcriptions, "c") == 2
    assert await db.run(transcriptions_of_call, "c") == []


async def test_a_segment_is_replaced_until_it_is_final(db: Database) -> None:
    await call(db)
    assert await say(db, "a", "p-ann", "hel", 1, is_final=False)
    assert not await say(db, "a", "p-gus", "stolen", 1)
    assert await say(db, "a", "p-ann", "hello", 1)
    assert not await say(db, "a", "p-ann", "goodbye", 1)
    [one] = await db.run(transcriptions_of_call, "c")
    assert (one["text"], one["isFinal"]) == ("hello", True)


async def test_the_words_of_one_who_came_again_are_under_the_first_row(db: Database) -> None:
    await call(db)
    await db.run(add_participant, "c", NewParticipant(id="p-ann2", user_id="ann", name="Ann"), at=T0 + 5)
    assert await say(db, "a", "p-ann2", "again", 6)
    [one] = await db.run(transcriptions_of_call, "c")
    assert one["participantId"] == "p-ann"


async def test_strangers_say_nothing(db: Database) -> None:
    await call(db)
    await db.run(create_call_session, "d", room_id="r", call_type="VIDEO", status="ACTIVE", at=T0)
    with pytest.raises(MissingRow, match="no participant 'p-x' in call 'c'"):
        await say(db, "a", "p-x", "boo", 1)
    with pytest.raises(MissingRow, match="no participant 'p-ann' in call 'd'"):
        await db.run(add_transcription, "a", "d", "p-ann", "boo", started_at=T0, ended_at=T0, at=T0)
