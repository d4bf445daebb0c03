"""Each way that calls are read and written, as a question to a filled database: function, keys, what it may
take and by which index."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from bench.data.playground import AT, LARGEST, ROOM, ids_of
from server.db import queries
from server.db.connection import Connection
from server.db.pool import Database
from server.db.queries.listing import CallFilter, list_calls
from server.db.queries.switches import Transition
from server.ids import cuid

# Who takes up more rows of a table for a page has no index for it; but to hash all of few people is fair.
MANY = {"call_sessions": 5000, "call_participants": 5000, "call_metrics": 5000}
MANY_PEOPLE = 50_000

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
_epochs = itertools.count(100)


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """`keys` gives a row for each question; `{percent}` in it is the share of participants' pages that holds
    some 50,000. `arguments` makes the function's of a row. `uses` are indexes that its plans must use; one of
    those with a `|` between them. `target` is in ms, of the median on PostgreSQL's side. `whole`: it is about
    more rows than those."""

    name: str
    unit: Callable[..., Awaitable[Any]]
    keys: str
    arguments: Callable[..., Arguments]
    uses: tuple[str, ...] = ()
    target: float | None = None
    whole: bool = False

    def faults(self, used: set[str], read: Mapping[str, int]) -> list[str]:
        """What is wrong with plans that use these indexes and read so many rows of these tables."""
        found = [f"no use of {one}" for one in self.uses if not used & set(one.split("|"))]
        if not self.whole:
            found += [
                f"reads {count:,} rows of {table}"
                for table, count in read.items()
                if count > MANY.get(table, MANY_PEOPLE)
            ]
        return found


def _one(value: str) -> Arguments:
    return (value,), {}


def _at(value: str) -> Arguments:
    return (value,), {"at": AT}


def _participants(column: str) -> str:
    return f"""SELECT "{column}" FROM call_participants TABLESAMPLE SYSTEM ({{percent}})
                WHERE "{column}" IS NOT NULL ORDER BY random() LIMIT 500"""


def _calls(column: str) -> str:
    return f"""SELECT s."{column}" FROM call_participants p TABLESAMPLE SYSTEM ({{percent}})
                 JOIN call_sessions s ON s.id = p."callSessionId" ORDER BY random() LIMIT 500"""


def _period(days: int) -> str:
    return (
        f"SELECT {AT} - 86400 * n, {AT} - 86400 * (n - {days}) FROM generate_series({days}, {days} + 40) AS n"
    )


def _repeated(*values: str) -> str:
    return f"SELECT {', '.join(values)} FROM generate_series(1, 200)"


def _listed(**fields: Any) -> Arguments:
    return (CallFilter(**fields),), {"limit": 50}


READS: tuple[Pattern, ...] = (
    Pattern(
        name="participant by audio producer",
        unit=queries.participant_by_producer,
        keys=_participants("sfuAudioProducerId"),
        arguments=_one,
        uses=(
            "CallParticipant_sfuAudioProducerId_idx",
            "CallParticipant_sfuVideoProducerId_idx",
            "call_participants_sfuScreenProducerId_idx",
        ),
        target=1.0,
    ),
    Pattern(
        name="participant by video producer",
        unit=queries.participant_by_producer,
        keys=_participants("sfuVideoProducerId"),
        arguments=_one,
        uses=("CallParticipant_sfuVideoProducerId_idx",),
        target=1.0,
    ),
    Pattern(
        name="participant by a producer of nobody's",
        unit=queries.participant_by_producer,
        keys="SELECT 'nobody-' || n FROM generate_series(1, 200) AS n",
        arguments=_one,
        uses=("CallParticipant_sfuVideoProducerId_idx",),
        target=1.0,
    ),
    Pattern(
        name="call by SFU room",
        unit=queries.call_by_sfu_room,
        keys="""SELECT "sfuRoomId" FROM call_sessions WHERE mode = 'sfu' AND status = 'ACTIVE'""",
        arguments=_one,
        uses=("CallSession_sfuRoomId_idx",),
        target=1.0,
    ),
    Pattern(
        name="calls of a user, the last 20",
        unit=queries.calls_of_user,
        keys=_participants("userId"),
        arguments=_one,
        uses=("call_participants_userId_joinedAt_callSessionId_idx",),
        target=1.0,
    ),
    Pattern(
        name="calls of the busiest user, the last 20",
        unit=queries.calls_of_user,
        keys=_repeated("'user-0'"),
        arguments=_one,
        uses=("call_participants_userId_joinedAt_callSessionId_idx",),
        target=1.0,
    ),
    Pattern(
        name="history of a room, a page of 50",
        unit=queries.call_history,
        keys=_calls("roomId"),
        arguments=_one,
        uses=("call_sessions_roomId_startedAt_id_idx",),
        target=5.0,
    ),
    Pattern(
        name="history of the busiest room, a page of 50",
        unit=queries.call_history,
        keys=_repeated("'room-0'"),
        arguments=_one,
        uses=("call_sessions_roomId_startedAt_id_idx",),
        target=5.0,
    ),
    Pattern(
        name="active SFU calls, 100 of them",
        unit=queries.active_sfu_calls,
        keys=_repeated(),
        arguments=lambda: ((), {}),
        uses=("CallSession_mode_status_idx|call_sessions_status_idx",),
        target=2.0,
    ),
    Pattern(name="call by id", unit=queries.call_by_id, keys=_participants("callSessionId"), arguments=_one),
    Pattern(
        name="metrics of a call",
        unit=queries.call_metrics,
        keys=_participants("callSessionId"),
        arguments=_one,
    ),
    Pattern(
        name="transition statistics of a day",
        unit=queries.mode_transition_stats,
        keys=_period(1),
        arguments=lambda start, stop: ((start, stop), {}),
        uses=("call_sessions_createdAt_idx",),
    ),
    Pattern(
        name="transition statistics of 30 days",
        unit=queries.mode_transition_stats,
        keys=_period(30),
        arguments=lambda start, stop: ((start, stop), {}),
        whole=True,
    ),
    # -- as the REST API lists calls: latest first by createdAt, 50 of them
    Pattern(
        name="listing of all calls",
        unit=list_calls,
        keys=_repeated(),
        arguments=_listed,
        uses=("call_sessions_createdAt_idx",),
    ),
    Pattern(
        name="listing of a room's calls",
        unit=list_calls,
        keys=_calls("roomId"),
        arguments=lambda room: _listed(room_id=room),
        uses=("call_sessions_roomId_createdAt_id_idx|call_sessions_roomId_idx",),
        target=5.0,
    ),
    Pattern(
        name="listing of the busiest room's calls",
        unit=list_calls,
        keys=_repeated("'room-0'"),
        arguments=lambda room: _listed(room_id=room),
        uses=("call_sessions_roomId_createdAt_id_idx",),
        target=5.0,
    ),
    Pattern(
        name="listing of a user's calls",
        unit=list_calls,
        keys=_participants("userId"),
        arguments=lambda user: _listed(user_id=user),
    ),
    Pattern(
        name="listing of the busiest user's calls",
        unit=list_calls,
        keys=_repeated("'user-0'"),
        arguments=lambda user: _listed(user_id=user),
        whole=True,  # no index holds a user's calls by the calls' createdAt: all of them are sorted
    ),
)

_LIVE_CALL = (
    f"""SELECT id FROM call_sessions WHERE "roomId" = '{ROOM}' AND status = 'ACTIVE' ORDER BY random()"""
)
_LIVE_PARTICIPANT = f"""
    SELECT p.id FROM call_participants p JOIN call_sessions s ON s.id = p."callSessionId"
     WHERE s."roomId" = '{ROOM}' AND p.status = 'connected' ORDER BY random() LIMIT 500
"""
_LARGEST_CALL = f"""
    SELECT p."callSessionId", array_agg(p.id)
      FROM call_participants p JOIN call_sessions s ON s.id = p."callSessionId"
     WHERE s."roomId" = '{ROOM}' GROUP BY 1 HAVING count(*) = {LARGEST}
"""


def _transition() -> Transition:
    return Transition(reason="requested", duration=0.25, epoch=next(_epochs))


def _to_sfu(call: str, ids: list[str]) -> Arguments:
    return (call,), {
        "sfu_room_id": cuid(), "sfu_rtp_capabilities": {"codecs": [], "headerExtensions": []},
        "participants": [ids_of(one) for one in ids], "transition": _transition(), "at": AT,
    }  # fmt: skip


def _new_call(user: str, other: str) -> Arguments:
    people = [queries.NewParticipant(id=cuid(), user_id=one, name=one) for one in (user, other)]
    return (cuid(),), {
        "room_id": ROOM, "call_type": "VIDEO", "initiator_id": user, "participants": people, "at": AT,
    }  # fmt: skip


def _newcomer(call: str) -> Arguments:
    return (call, queries.NewParticipant(id=cuid(), user_id="user-77", name="Ann")), {"at": AT}


# Their keys are of the playground.
WRITES: tuple[Pattern, ...] = (
    Pattern(
        name="switch to P2P, 50 participants",
        unit=queries.switch_to_p2p,
        keys=_LARGEST_CALL,
        arguments=lambda call, ids: ((call,), {"transition": _transition(), "at": AT}),
        uses=("call_sessions_pkey",),
        target=10.0,
    ),
    Pattern(
        name="switch to SFU, 50 participants",
        unit=queries.switch_to_sfu,
        keys=_LARGEST_CALL,
        arguments=_to_sfu,
        uses=("call_sessions_pkey",),
        target=10.0,
    ),
    Pattern(
        name="new call with two participants",
        unit=queries.create_call_session,
        keys="SELECT 'user-' || n, 'user-' || n + 1 FROM generate_series(1, 400) AS n",
        arguments=_new_call,
    ),
    Pattern(name="participant joins", unit=queries.add_participant, keys=_LIVE_CALL, arguments=_newcomer),
    Pattern(
        name="participant mutes",
        unit=queries.update_participant_media,
        keys=_LIVE_PARTICIPANT,
        arguments=lambda who: ((who,), {"at": AT, "audio_enabled": False}),
        uses=("call_participants_pkey",),
    ),
    Pattern(
        name="participant's SFU ids",
        unit=queries.update_participant_sfu_data,
        keys=_LIVE_PARTICIPANT,
        arguments=lambda who: ((ids_of(who),), {"at": AT}),
        uses=("call_participants_pkey",),
    ),
    Pattern(name="participant leaves", unit=queries.leave_call, keys=_LIVE_PARTICIPANT, arguments=_at),
    Pattern(name="call ends", unit=queries.end_call, keys=_LIVE_CALL, arguments=_at),
)


async def questions(database: Database, pattern: Pattern) -> list[Arguments]:
    """The pattern's questions to this database, in random order."""

    async def ask(connection: Connection) -> list[Arguments]:
        count = await connection.fetchval(
            "SELECT reltuples FROM pg_class WHERE oid = 'call_participants'::regclass"
        )
        percent = f"{min(100.0, 5_000_000 / max(1.0, count)):.4f}"
        rows = await connection.fetch(pattern.keys.replace("{percent}", percent))
        return [pattern.arguments(*row.values()) for row in rows]

    return await database.run(ask)
