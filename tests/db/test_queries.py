"""The documents' access patterns, and what they do when two come at once."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from server.db.changes import SfuIds
from server.db.connection import Connection
from server.db.errors import MissingRow
from server.db.pool import Database
from server.db.queries import (
    NewParticipant,
    active_calls,
    active_sfu_calls,
    add_participant,
    call_by_id,
    call_by_sfu_room,
    call_history,
    call_metrics,
    call_status,
    calls_of_user,
    create_call_session,
    end_call,
    leave_call,
    mode_transition_stats,
    participant_by_producer,
    participant_by_transport,
    participants_of_call,
    switch_to_p2p,
    switch_to_sfu,
    update_call_status,
    update_participant_sfu_data,
    update_participant_status,
)
from server.db.queries.switches import Transition
from server.db.times import moment

T0 = 1_760_000_000.0
WHY = Transition(reason="participant_joined", duration=1.0)


async def create(db: Database, call: str, *, at: float = T0, room: str = "room-123", **more: Any) -> None:
    fields: dict[str, Any] = {"call_type": "VIDEO", "status": "ACTIVE", **more}
    await db.run(create_call_session, call, room_id=room, at=at, **fields)


def person(name: str, **more: Any) -> NewParticipant:
    return NewParticipant(id=f"p-{name}", user_id=name, name=name.title(), **more)


async def to_sfu(db: Database, call: str, *who: str, room: str = "router-abc123", at: float = T0) -> bool:
    ids = [
        SfuIds(
            participant_id=one,
            send_transport_id="s" + one,
            recv_transport_id="r" + one,
            audio_producer_id="a" + one,
            video_producer_id="v" + one,
            screen_producer_id="x" + one,
        )
        for one in who
    ]
    return await db.run(
        switch_to_sfu,
        call,
        sfu_room_id=room,
        sfu_rtp_capabilities={},
        participants=ids,
        transition=WHY,
        at=at,
    )


async def test_create_with_participants_and_history(db: Database) -> None:
    """The first document's examples."""
    await create(db, "c1", participants=[person("user-1"), person("user-2", video_enabled=False)])
    await create(db, "c2", at=T0 + 100)
    await create(db, "ringing", at=T0 + 200, status="INITIATED")
    await create(db, "elsewhere", room="other")
    assert await db.run(update_call_status, "c1", "ENDED", at=T0 + 120)
    assert await db.run(update_call_status, "c2", "ENDED", at=T0 + 200)
    assert await db.run(update_call_status, "ringing", "MISSED", at=T0 + 230)
    history = await db.run(call_history, "room-123")
    assert [(one["id"], one["duration"]) for one in history] == [("c2", 100), ("c1", 120)]
    assert [p["user"] for p in history[1]["participants"]] == [
        {"id": "user-1", "name": "User-1", "avatar": None},
        {"id": "user-2", "name": "User-2", "avatar": None},
    ]
    assert [p["hadVideo"] for p in history[1]["participants"]] == [True, False]
    everything = await db.run(call_history, "room-123", status=None)
    assert [one["id"] for one in everything] == ["c2", "c1", "ringing"]
    assert [one["id"] for one in await db.run(call_history, "room-123", limit=1, offset=1)] == ["c1"]
    assert [one["id"] for one in await db.run(calls_of_user, "user-1")] == ["c1"]
    assert await db.run(call_by_id, "nowhere") is None


STATUSES = ("INITIATED", "ACTIVE", "ENDED", "MISSED", "REJECTED")
LEGAL = {
    ("INITIATED", "ACTIVE"), ("INITIATED", "ENDED"), ("INITIATED", "MISSED"), ("INITIATED", "REJECTED"),
    ("ACTIVE", "ACTIVE"), ("ACTIVE", "ENDED"),
}  # fmt: skip


@pytest.mark.parametrize("old", STATUSES)
@pytest.mark.parametrize("new", STATUSES)
async def test_only_legal_moves_change_anything(db: Database, old: Any, new: Any) -> None:
    await create(db, "c", status="INITIATED" if old != "ACTIVE" else old, participants=[person("u")])
    if old in ("ENDED", "MISSED", "REJECTED"):
        await db.run(update_call_status, "c", old, at=T0 + 1)
    before = await db.run(call_by_id, "c")
    assert before is not None
    assert before["status"] == old
    assert await db.run(update_call_status, "c", new, at=T0 + 5) == ((old, new) in LEGAL)
    after = await db.run(call_by_id, "c")
    assert after is not None
    if (old, new) in LEGAL:
        assert after["status"] == new
    else:
        assert after == before


async def test_status_of_a_missing_call(db: Database) -> None:
    with pytest.raises(MissingRow, match="no call 'nowhere'"):
        await db.run(update_call_status, "nowhere", "ENDED", at=T0)


async def test_sfu_lookups(db: Database) -> None:
    await create(db, "c1", participants=[person("ann"), person("ben")])
    await create(db, "c2", participants=[person("cem")])
    await create(db, "p2p", participants=[person("dee")])
    await db.run(update_participant_status, "p-ann", "connected", at=T0)
    assert await to_sfu(db, "c1", "p-ann", "p-ben")
    assert await to_sfu(db, "c2", "p-cem", room="router-2")
    assert await db.run(end_call, "c2", at=T0 + 9)

    assert [one["id"] for one in await db.run(active_calls)] == ["c1", "p2p"]
    assert [one["id"] for one in await db.run(active_calls, "sfu")] == ["c1"]
    assert (await db.run(call_status, "c2"), await db.run(call_status, "x")) == ("ENDED", None)
    assert [one["id"] for one in await db.run(participants_of_call, "c1")] == ["p-ann", "p-ben"]
    assert [one["id"] for one in await db.run(participants_of_call, "c1", status="connected")] == ["p-ann"]
    by_transport = await db.run(participant_by_transport, "sp-ben")
    assert by_transport is not None
    assert (by_transport["user"]["name"], by_transport["callSession"]["id"]) == ("Ben", "c1")
    assert await db.run(participant_by_transport, "x") is None
    [call] = await db.run(active_sfu_calls)
    assert (call["id"], [one["id"] for one in call["participants"]]) == ("c1", ["p-ann"])
    found = await db.run(call_by_sfu_room, "router-abc123")
    assert found is not None
    assert (found["id"], len(found["participants"])) == ("c1", 2)
    assert await db.run(call_by_sfu_room, "router-2") is None  # its call is over

    for producer in ("ap-ben", "vp-ben", "xp-ben"):
        who = await db.run(participant_by_producer, producer)
        assert who is not None
        assert (who["id"], who["user"]["name"], who["callSession"]["id"]) == ("p-ben", "Ben", "c1")
        assert who["anonymousUser"] is None
    assert await db.run(participant_by_producer, "nothing") is None

    new = SfuIds(
        participant_id="p-ben", send_transport_id="t", recv_transport_id="u", audio_producer_id="fresh"
    )
    assert await db.run(update_participant_sfu_data, new, at=T0)
    who = await db.run(participant_by_producer, "fresh")
    assert who is not None
    assert (who["id"], who["sfuVideoProducerId"]) == ("p-ben", None)
    assert await db.run(switch_to_p2p, "c1", transition=WHY, at=T0 + 5)
    assert await db.run(active_sfu_calls) == []
    assert await db.run(participant_by_producer, "fresh") is None
    assert not await db.run(update_participant_sfu_data, new, at=T0)


async def test_transition_statistics(db: Database) -> None:
    nothing = {
        "totalCalls": 0,
        "totalTransitions": 0,
        "avgTransitionsPerCall": 0,
        "avgTransitionDuration": 0,
        "transitionsByReason": {},
    }
    assert await db.run(mode_transition_stats, T0, T0 + 1e6) == nothing
    for number, at in enumerate((T0, T0 + 10, T0 + 20, T0 + 5000)):
        await create(db, f"c{number}", at=at)
    await to_sfu(db, "c0")
    back = Transition(reason="participant_left", duration=2.5)
    await db.run(switch_to_p2p, "c0", transition=back, at=T0 + 60)
    await to_sfu(db, "c0")
    await db.run(
        switch_to_sfu,
        "c1",
        sfu_room_id="x",
        sfu_rtp_capabilities={},
        participants=[],
        transition=Transition(reason="p2p_failed"),
        at=T0,
    )
    await to_sfu(db, "c3")
    stats = await db.run(mode_transition_stats, T0, T0 + 100)
    assert stats == {
        "totalCalls": 2,
        "totalTransitions": 4,
        "avgTransitionsPerCall": 2.0,
        "avgTransitionDuration": 1.5,
        "transitionsByReason": {"participant_joined": 2, "participant_left": 1, "p2p_failed": 1},
    }


# -- at once


async def at_once(*calls: Any) -> list[Any]:
    """The results of units of work that run at the same time, in order of the arguments."""
    results: list[Any] = [None] * len(calls)

    async def one(index: int, call: Any) -> None:
        results[index] = await call()

    async with trio.open_nursery() as nursery:
        for index, call in enumerate(calls):
            nursery.start_soon(one, index, call)
    return results


async def test_the_same_user_twice_at_once(db: Database) -> None:
    await create(db, "c")
    many = [NewParticipant(id=f"p{n}", user_id="u", name="U") for n in range(8)]
    rows = await at_once(*[lambda one=one: db.run(add_participant, "c", one, at=T0) for one in many])
    assert len(set(rows)) == 1
    found = await db.run(call_by_id, "c")
    assert found is not None
    assert [one["id"] for one in found["participants"]] == [rows[0]]
    for one in many:
        await db.run(update_participant_status, one.id, "connected", at=T0)


async def test_many_join_at_once(db: Database) -> None:
    await create(db, "c")
    many = [person(f"u{n}") for n in range(8)]
    rows = await at_once(*[lambda one=one: db.run(add_participant, "c", one, at=T0) for one in many])
    assert rows == [one.id for one in many]


@pytest.mark.parametrize("round", range(8))
async def test_a_join_and_the_end_at_once(db: Database, round: int) -> None:
    """Whichever comes first, nobody is in a call that is over."""
    await create(db, "c", participants=[person("host")])
    join = lambda: db.run(add_participant, "c", person("late"), at=T0 + 5)  # noqa: E731
    end = lambda: db.run(end_call, "c", at=T0 + 5)  # noqa: E731
    await at_once(*([join, end] if round % 2 else [end, join]))
    found = await db.run(call_by_id, "c")
    assert found is not None
    assert found["status"] == "ENDED"
    assert {(p["status"], p["leftAt"] is None) for p in found["participants"]} == {("left", False)}
    assert len(found["participants"]) == 2


async def test_ends_at_once_are_one_end(db: Database) -> None:
    await create(db, "c")
    results = await at_once(*[lambda n=n: db.run(end_call, "c", at=T0 + n, reason=f"r{n}") for n in range(6)])
    assert sorted(results) == [False] * 5 + [True]
    found = await db.run(call_by_id, "c")
    assert found is not None
    winner = results.index(True)
    assert (found["endReason"], found["endedAt"]) == (f"r{winner}", moment(T0 + winner))


async def test_switches_at_once_are_one_transition(db: Database) -> None:
    await create(db, "c", participants=[person("ann")])
    results = await at_once(*[lambda n=n: to_sfu(db, "c", "p-ann", room=f"router{n}") for n in range(6)])
    assert sorted(results) == [False] * 5 + [True]
    found, metrics = await db.run(call_by_id, "c"), await db.run(call_metrics, "c")
    assert found is not None
    assert metrics is not None
    assert (found["modeChangeCount"], len(metrics["modeTransitions"])) == (1, 1)


async def test_switches_there_and_back_at_once_alternate(db: Database) -> None:
    await create(db, "c", participants=[person("ann")])
    back = lambda: db.run(switch_to_p2p, "c", transition=WHY, at=T0)  # noqa: E731
    await at_once(*[lambda: to_sfu(db, "c", "p-ann"), back] * 6)
    found, metrics = await db.run(call_by_id, "c"), await db.run(call_metrics, "c")
    assert found is not None
    assert metrics is not None
    modes = [one["to"] for one in metrics["modeTransitions"]]
    assert modes == [("sfu", "p2p")[n % 2] for n in range(len(modes))]
    assert (found["modeChangeCount"], found["mode"]) == (len(modes), modes[-1])
    [ann] = found["participants"]
    assert (found["sfuRoomId"] is None, ann["sfuAudioProducerId"] is None) == ((modes[-1] == "p2p"),) * 2


async def test_a_join_and_a_leaving_of_the_same_person_do_not_deadlock(db: Database) -> None:
    await create(db, "c", participants=[person("ann")])
    calls: list[Any] = []
    for _ in range(5):
        calls += [
            lambda: db.run(add_participant, "c", person("ann"), at=T0),
            lambda: db.run(leave_call, "p-ann", at=T0 + 1),
            lambda: to_sfu(db, "c", "p-ann"),
            lambda: db.run(switch_to_p2p, "c", transition=WHY, at=T0),
        ]
    with trio.fail_after(10):
        await at_once(*calls)


INDEXED = [
    (
        """SELECT * FROM call_participants p WHERE p."sfuAudioProducerId" = 'x'
        OR p."sfuVideoProducerId" = 'x'
        OR p."sfuScreenProducerId" = 'x'""",
        "sfuScreenProducerId_idx",
    ),
    (
        """SELECT * FROM call_sessions WHERE "sfuRoomId" = 'x' AND status = 'ACTIVE'""",
        "CallSession_sfuRoomId_idx",
    ),
    ("SELECT * FROM call_sessions WHERE mode = 'sfu' AND status = 'ACTIVE'", "CallSession_mode_status_idx"),
]


@pytest.mark.parametrize(("query", "index"), INDEXED, ids=[index for _, index in INDEXED])
async def test_the_documents_queries_use_their_index(db: Database, query: str, index: str) -> None:
    async def plan(connection: Connection) -> str:
        await connection.execute("SET LOCAL enable_seqscan = off")
        return "\n".join(row["QUERY PLAN"] for row in await connection.fetch("EXPLAIN " + query))

    assert index in await db.run(plan)
