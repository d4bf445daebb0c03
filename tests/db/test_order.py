"""Changes are drawn together, and the rows are what they would be one by one."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.db.changes import (
    CallCreated,
    CallEnded,
    CallStarted,
    Change,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantMedia,
    ParticipantQuality,
    ParticipantRenamed,
    ParticipantSfu,
    ParticipantStatusChanged,
    SfuIds,
    SwitchedToP2p,
    UserSeen,
)
from server.db.connection import Connection
from server.db.errors import MissingRow
from server.db.order import arranged
from server.db.pool import Database
from server.db.queries.participants import Joining, NewParticipant, add_participants
from server.db.writes import Record, apply_batch, apply_change, encode_change
from server.ids import cuid
from tests.db.test_quality_runs import Counting

T0 = 1_760_000_000.0
CALLS, PEOPLE = 3, 4  # of each call, the first of whom are users, in every call the same


def opening(prefix: str) -> list[Change]:
    return [
        CallCreated(
            at=T0, call_id=f"{prefix}c{call}", room_id=f"{prefix}r{call}", call_type="VIDEO", status="ACTIVE",
            mode="sfu", initiator_id=None, sfu_room_id=f"{prefix}sfu{call}", sfu_rtp_capabilities={},
        )
        for call in range(CALLS)
    ]  # fmt: skip


def joined(prefix: str, call: int, person: int, at: float) -> ParticipantJoined:
    user = person < PEOPLE // 2
    return ParticipantJoined(
        at=at, participant_id=f"{prefix}p{call}-{person}", call_id=f"{prefix}c{call}", name=f"name {at}",
        user_id=f"{prefix}u{person}" if user else None, anonymous_id=None if user else f"{prefix}g{person}",
        role="participant", audio_enabled=person % 2 == 0, video_enabled=False,
    )  # fmt: skip


def life(prefix: str, seed: int, length: int) -> list[Change]:
    """What happens in some calls at the same time; nobody is named who has never joined."""
    dice = random.Random(seed)
    changes: list[Change] = []
    known: set[tuple[int, int]] = set()
    for number in range(length):
        at = T0 + 1 + number
        call, person = dice.randrange(CALLS), dice.randrange(PEOPLE)
        one: Any = {"at": at, "participant_id": f"{prefix}p{call}-{person}"}
        kind = dice.randrange(12) if (call, person) in known else 0
        known.add((call, person))
        ids = SfuIds(
            participant_id=one["participant_id"], send_transport_id=f"{prefix}send{number}",
            recv_transport_id=None, audio_producer_id=f"{prefix}audio{number}",
        )  # fmt: skip
        if kind <= 1:
            changes.append(joined(prefix, call, person, at))
        elif kind <= 4:
            status: Any = dice.choice(["connected", "reconnecting", "left"])
            changes.append(ParticipantStatusChanged(status=status, **one))
        elif kind <= 6:
            changes.append(ParticipantLeft(reason=f"reason {number}", **one))
        elif kind == 7:
            changes.append(ParticipantMedia(audio_enabled=dice.choice([None, True, False]), **one))
        elif kind == 8:
            changes.append(ParticipantQuality(metrics={"n": number}, **one))
        elif kind == 9:
            changes.append(ParticipantSfu(at=at, call_id=f"{prefix}c{call}", ids=ids))
        elif kind == 10:
            changes.append(ParticipantRenamed(name=f"renamed {number}", **one))
        else:
            changes.append(
                dice.choice([
                    UserSeen(at=at, user_id=f"{prefix}u{person}", name=f"seen {number}"),
                    CallStarted(at=at, call_id=f"{prefix}c{call}"),
                    SwitchedToP2p(at=at, call_id=f"{prefix}c{call}", epoch=1, reason="x", duration=1.0),
                    CallEnded(at=at, call_id=f"{prefix}c{call}", status="ENDED", reason="x", ended_by=None),
                ])
            )  # fmt: skip
    return changes


_TABLES = {
    "call_sessions": 'id, status, mode, "startedAt", "endedAt", duration, "updatedAt"',
    "call_participants": '*, id AS "id"',
    "anonymous_participants": "*",
    "users": "*",
}


async def _rows(connection: Connection, prefix: str) -> list[dict[str, Any]]:
    found = []
    for table, columns in _TABLES.items():
        rows = await connection.fetch(
            f"SELECT {columns} FROM {table} WHERE id LIKE $1 ORDER BY id", prefix + "%"
        )
        for row in rows:
            found.append({
                key: value.removeprefix(prefix) if isinstance(value, str) else value
                for key, value in dict(row).items()
            })  # fmt: skip
    return found


async def _apply(connection: Connection, changes: list[Change]) -> int:
    counting = Counting(connection)
    records = [Record(n, encode_change(change)) for n, change in enumerate(changes, 1)]
    assert await apply_batch(counting, cuid(), records) == len(changes)  # type: ignore[arg-type]
    return counting.asked


async def _one_by_one(connection: Connection, changes: list[Change]) -> None:
    for change in changes:
        await apply_change(connection, change, "stream")


async def test_the_rows_are_what_they_would_be_one_by_one(db: Database) -> None:
    for seed in range(20):
        together, apart = f"t{seed}_", f"a{seed}_"
        await db.run(_apply, opening(together) + life(together, seed, 50))
        await db.run(_one_by_one, opening(apart) + life(apart, seed, 50))
        rows = await db.run(_rows, together)
        assert rows == await db.run(_rows, apart), seed
        assert rows


async def test_those_who_come_at_the_same_time_are_written_together(db: Database) -> None:
    def coming(first: int, count: int) -> list[Change]:
        """Each of them joins, is connected and leaves before the next, as fast as they come."""
        out: list[Change] = []
        for person in range(first, first + count):
            out.append(joined("", person % CALLS, person, T0))
            out.append(
                ParticipantStatusChanged(
                    at=T0, participant_id=f"p{person % CALLS}-{person}", status="connected"
                )
            )
            out.append(ParticipantLeft(at=T0, participant_id=f"p{person % CALLS}-{person}", reason="bye"))
        return out

    await db.run(_apply, opening(""))
    few, many = coming(100, 1), coming(200, 30)
    assert await db.run(_apply, many) == await db.run(_apply, few)


async def test_one_who_is_not_there_spoils_the_run(db: Database) -> None:
    await db.run(_one_by_one, [*opening(""), joined("", 0, 3, T0)])
    for wrong in (
        [joined("", 0, 2, T0), joined("", 77, 1, T0)],
        [ParticipantLeft(at=T0, participant_id=one, reason="x") for one in ("p0-3", "nobody")],
        [ParticipantMedia(at=T0, participant_id=one, video_enabled=True) for one in ("p0-3", "nobody")],
    ):
        with pytest.raises(MissingRow):
            await db.run(_apply, wrong)  # type: ignore[arg-type]
    (row,) = [row for row in await db.run(_rows, "p") if row["id"].endswith("0-3")]
    assert (row["leftAt"], row["hadVideo"]) == (None, False)


async def test_users_and_guests_join_by_one_call(db: Database) -> None:
    await db.run(_one_by_one, opening(""))
    people = [
        Joining("c0", NewParticipant(id="p1", user_id="u"), T0),
        Joining("c1", NewParticipant(id="p2", anonymous_id="g", name="G"), T0),
        Joining("c1", NewParticipant(id="p3"), T0),
        Joining("c1", NewParticipant(id="p4", user_id="u"), T0),
        Joining("c0", NewParticipant(id="p5", anonymous_id="g", name="later"), T0 + 1),
    ]
    assert await db.run(add_participants, people) == ["p1", "p2", "p3", "p4", "p5"]
    again = [Joining("c0", NewParticipant(id="q1", user_id="u"), T0 + 9), people[2]]
    assert await db.run(add_participants, again) == ["p1", "p3"]
    rows = {row["id"]: row for row in await db.run(_rows, "")}
    assert rows["g"]["name"] == "later"
    assert (rows["p1"]["joinCount"], rows["p3"]["joinCount"], rows["p4"]["joinCount"]) == (2, 2, 1)


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_nothing_is_lost_and_each_keeps_its_order(seed: int, length: int) -> None:
    changes = life("", seed, length)
    runs = arranged(changes)
    assert sorted(map(id, changes)) == sorted(id(one) for run in runs for one in run)
    assert all(len({type(one) for one in run}) == 1 for run in runs)
    place = {id(one): (number, at) for number, run in enumerate(runs) for at, one in enumerate(run)}
    whole = [one for one in changes if isinstance(one, CallEnded | SwitchedToP2p | ParticipantRenamed)]
    for fixed in whole:
        before = changes[: changes.index(fixed)]
        assert all(
            (place[id(one)][0] < place[id(fixed)][0]) == (one in before)
            for one in changes
            if one is not fixed
        )
    by_participant: dict[str, list[Change]] = {}
    for change in changes:
        named = change.ids if isinstance(change, ParticipantSfu) else change
        by_participant.setdefault(getattr(named, "participant_id", ""), []).append(change)
    for one, own in by_participant.items():
        if one:
            assert [place[id(change)] for change in own] == sorted(place[id(change)] for change in own)
            runs_of_own = [place[id(c)][0] for c in own if not isinstance(c, ParticipantQuality)]
            assert len(set(runs_of_own)) == len(runs_of_own)
