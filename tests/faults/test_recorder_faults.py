"""Seeded faults between the recorder and PostgreSQL, and deaths of the server: nothing lost, nothing doubled.

Each case plays a few processes of one node, one after the other. Each submits what calls would while the
connection is delayed, cut in the middle of statements and of commits' answers, refused and black-holed, and
then dies at any point: only its files remain. At the end the rows are compared with a model that saw every
change once.
`TANDEM_FAULT_CASES` says how many seeds (12 by default), `TANDEM_FAULT_FIRST` with which to begin.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from pytest_trio import trio_fixture

from server.db.changes import (
    CallCreated,
    CallEnded,
    Change,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantMedia,
    SfuIds,
    SwitchedToP2p,
    SwitchedToSfu,
)
from server.db.connection import Connection
from server.db.errors import DatabaseUnavailable
from server.db.pool import Database, open_database
from server.db.recorder import Recorder
from server.db.spool import segments
from server.db.startup import take_over
from server.db.upkeep import verify
from tests.harness.database_proxy import DatabaseProxy, database_proxy
from tests.harness.postgres import TestCluster, kill, psql
from tests.harness.postgres import test_cluster as start_cluster

FIRST = int(os.environ.get("TANDEM_FAULT_FIRST", "0"))
CASES = int(os.environ.get("TANDEM_FAULT_CASES", "12"))
CALLS, PEOPLE = ("a", "b", "c"), ("u", "v", "w")
RESTART = "server_restart"


class Model:
    """What the rows must say, and the changes that make them say it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.calls: dict[str, dict[str, Any]] = {}
        self.now = time.time() - 1000.0

    def restart(self) -> None:
        """The server died, and the next one closes what was open."""
        for call in self.calls.values():
            if call["end"] is None:
                self._end(call, RESTART)

    def _end(self, call: dict[str, Any], reason: str) -> None:
        call["end"] = reason
        for person in call["people"].values():
            person["in"] = False

    def next(self) -> Change:
        self.now += 0.01
        name = self.chance.choice(CALLS)
        call = self.calls.get(name)
        if call is None or call["end"] == RESTART:
            return self._create(name)
        if call["end"] is not None:  # over for good: a late change of a person who left changes little
            name += "x" * (1 + sum(one.startswith(name) for one in self.calls))
            return self._create(name)
        present = [person for person, state in call["people"].items() if state["in"]]
        roll = self.chance.random()
        if roll < 0.03:
            self._end(call, "hangup")
            return CallEnded(at=self.now, call_id=name, status="ENDED", reason="hangup", ended_by=None)
        if roll < 0.25 or not present:
            return self._join(name, call, self.chance.choice(PEOPLE))
        person = self.chance.choice(present)
        if roll < 0.35:
            call["people"][person]["in"] = False
            return ParticipantLeft(at=self.now, participant_id=f"{name}-{person}", reason="left")
        if roll < 0.6:
            return self._mute(name, call["people"][person], person)
        return self._switch(name, call, present)

    def _create(self, name: str) -> Change:
        call = self.calls.setdefault(name, {"epochs": [], "people": {}})
        call |= {"end": None, "mode": "p2p"}
        return CallCreated(at=self.now, call_id=name, room_id="r", call_type="VIDEO", status="ACTIVE",
                           mode="p2p", initiator_id=None)  # fmt: skip

    def _join(self, name: str, call: dict[str, Any], person: str) -> Change:
        state = call["people"].setdefault(person, {"muted": False})
        state |= {"in": True, "audio": True}
        return ParticipantJoined(at=self.now, participant_id=f"{name}-{person}", call_id=name, user_id=person,
                                 anonymous_id=None, name=person, role="participant", audio_enabled=True,
                                 video_enabled=False)  # fmt: skip

    def _mute(self, name: str, state: dict[str, Any], person: str) -> Change:
        state["audio"] = self.chance.random() < 0.5
        state["muted"] = state["muted"] or not state["audio"]
        return ParticipantMedia(at=self.now, participant_id=f"{name}-{person}", audio_enabled=state["audio"])

    def _switch(self, name: str, call: dict[str, Any], present: list[str]) -> Change:
        call["mode"] = "sfu" if call["mode"] == "p2p" else "p2p"
        epoch = len(call["epochs"]) + 1
        call["epochs"].append((epoch, call["mode"]))
        common: dict[str, Any] = {
            "at": self.now, "call_id": name, "epoch": epoch, "reason": "requested", "duration": 0.5
        }  # fmt: skip
        if call["mode"] == "p2p":
            return SwitchedToP2p(**common)
        ids = [
            SfuIds(participant_id=f"{name}-{one}", send_transport_id="s", recv_transport_id="r")
            for one in present
        ]
        return SwitchedToSfu(
            **common, sfu_room_id=f"{name}{epoch}", sfu_rtp_capabilities={}, participants=ids
        )


async def _rows(connection: Connection) -> dict[str, dict[str, Any]]:
    rows = await connection.fetch(
        """
        SELECT s.id, s.mode, s."endReason", s."modeChangeCount" AS n, m."modeTransitions" AS transitions,
               (SELECT jsonb_object_agg(p."userId", jsonb_build_object(
                    'in', p."leftAt" IS NULL, 'audio', p."audioEnabled", 'muted', p."wasMuted"))
                  FROM call_participants p WHERE p."callSessionId" = s.id) AS people
          FROM call_sessions s LEFT JOIN call_metrics m ON m."callSessionId" = s.id
        """
    )
    found = {}
    for row in rows:
        epochs = [(one["epoch"], one["to"]) for one in row["transitions"] or []]
        assert row["n"] == len(epochs)
        found[row["id"]] = {
            "mode": row["mode"], "end": row["endReason"], "epochs": epochs, "people": row["people"] or {}
        }  # fmt: skip
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[TestCluster]:
    with start_cluster() as running:
        yield running


@trio_fixture
async def proxy(cluster: TestCluster) -> AsyncIterator[DatabaseProxy]:
    socket_path = cluster.postgres.socket_dir / ".s.PGSQL.5432"
    async with database_proxy(str(socket_path)) as running:
        yield running


async def write(db: Database, recorder: Recorder, ready: trio.Event) -> None:
    """What the server's storage does."""
    while True:
        try:
            await take_over(db, recorder, "node", at=time.time(), last_seen=None)
            break
        except DatabaseUnavailable:
            await trio.sleep(0.02)
    ready.set()
    await recorder.run(db)


async def spoil(proxy: DatabaseProxy, chance: random.Random) -> None:
    """One fault after the other, with some moments of peace."""
    while True:
        fault = chance.choice([
            lambda: proxy.delay(chance.random() * 0.01),
            proxy.cut,
            lambda: proxy.cut_after(chance.randrange(1, 6000)),
            lambda: proxy.cut_after(chance.randrange(1, 600)),
            proxy.black_hole,
            proxy.refuse,
            lambda: None,
        ])  # fmt: skip
        fault()
        await trio.sleep(chance.random() * 0.06)
        proxy.heal()
        await trio.sleep(chance.random() * 0.04)


async def process(
    proxy: DatabaseProxy, url: str, spool: Path, name: str, model: Model, *, last: bool
) -> None:
    """One life of the server. The last one is let finish."""
    chance = model.chance
    recorder = Recorder(spool, name, max_spool_bytes=1 << 20)
    async with open_database(url, size=3, statement_timeout=1.0) as db, trio.open_nursery() as nursery:
        ready = trio.Event()
        nursery.start_soon(write, db, recorder, ready)
        nursery.start_soon(recorder.keep_synced)
        with trio.CancelScope() as faults:
            async with trio.open_nursery() as inner:
                inner.start_soon(spoil, proxy, random.Random(chance.random()))
                for _ in range(chance.randrange(60)):
                    recorder.submit(model.next())
                    if chance.random() < 0.4:
                        await trio.sleep(chance.random() * 0.02)
                faults.cancel()
        proxy.heal()
        if last:
            with trio.fail_after(30):
                await ready.wait()
                await recorder.flush()
        nursery.cancel_scope.cancel()
    assert recorder.stats().lost == recorder.stats().dead_lettered == 0
    if last:
        recorder.close()
    else:
        recorder._spool.close()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + CASES))
async def test_every_change_once_and_in_order(
    cluster: TestCluster, proxy: DatabaseProxy, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    direct = await cluster.fresh()
    url = proxy.url(direct.split("@/")[1].split("?")[0])
    model = Model(chance)
    lives = chance.randrange(1, 5)
    for life in range(lives):
        await process(proxy, url, tmp_path, f"s{life}", model, last=life == lives - 1)
        if life < lives - 1:
            model.restart()
            if chance.random() < 0.1:
                await kill(cluster.postgres)
                await cluster.postgres.start()
    async with open_database(direct, size=1) as db:
        assert await db.run(_rows) == model.calls
        assert await verify(db) == []
    assert segments(tmp_path) == {}
    stuck = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
    assert psql(direct, stuck) == "0"
