"""What the triggers of 0004 make of other applications' writes."""

from __future__ import annotations

import json

import pytest

from server.db.pool import Database
from server.db.queries import NewParticipant, add_participant, create_call_session, switch_to_sfu
from server.db.queries.switches import Transition
from server.db.upkeep import verify
from tests.harness.postgres import psql

T0 = 1_760_000_000.0


async def call(db: Database) -> None:
    people = [NewParticipant(id="p", user_id="u")]
    await db.run(create_call_session, "c", room_id="r", call_type="VIDEO", status="ACTIVE",
                 participants=people, at=T0)  # fmt: skip


async def test_who_only_sets_left_at_has_left(db: Database, url: str) -> None:
    await call(db)
    psql(url, 'UPDATE call_participants SET "leftAt" = now()')
    assert psql(url, "SELECT status FROM call_participants") == "left"
    assert await verify(db) == []
    await db.run(add_participant, "c", NewParticipant(id="p", user_id="u"), at=T0 + 5)
    assert psql(url, 'SELECT status, "leftAt" IS NULL FROM call_participants') == "connecting|t"


@pytest.mark.parametrize("before", ["NULL", "'{}'", "'[]'", "'[{\"n\": 0}]'"])
async def test_push_appends(db: Database, url: str, before: str) -> None:
    await call(db)
    psql(
        url,
        f"""INSERT INTO call_metrics (id, "callSessionId", "modeTransitions", "updatedAt")
            VALUES ('m', 'c', {before}, now())""",
    )
    for n in (1, 2):
        psql(url, f"""UPDATE call_metrics SET "modeTransitions" = '{{"push": {{"n": {n}}}}}'""")
    found = json.loads(psql(url, 'SELECT "modeTransitions" FROM call_metrics'))
    assert [one["n"] for one in found] == ([0, 1, 2] if "0" in before else [1, 2])


async def test_push_and_our_own_switch(db: Database, url: str) -> None:
    await call(db)
    await db.run(switch_to_sfu, "c", sfu_room_id="x", sfu_rtp_capabilities={}, participants=[],
                 transition=Transition(reason="requested", epoch=1), at=T0)  # fmt: skip
    psql(url, """UPDATE call_metrics SET "modeTransitions" = '{"push": {"from": "sfu", "to": "p2p"}}'""")
    found = json.loads(psql(url, 'SELECT "modeTransitions" FROM call_metrics'))
    assert [one["from"] for one in found] == ["p2p", "sfu"]
