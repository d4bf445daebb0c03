"""A running server between its clients and its PostgreSQL, all real, with a proxy where faults happen.

Two rooms: in `talk` three people speak through the SFU without a pause while a visitor comes and goes; in
`switch` people mute, share, switch between P2P and SFU, leave, come back and end the call. In the end what
they were told is compared with what is in the database.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import statistics
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio

from server.db.pool import open_database
from server.db.spool import segments
from server.db.upkeep import verify
from server.signaling.settings import AuthSettings
from server.signaling.tokens import Tokens, load_secret
from tests.faults import witness
from tests.faults.callers import Gone, Notes, Person, Refused, Voice
from tests.faults.ledger import assert_as_told
from tests.harness.database_proxy import DatabaseProxy
from tests.harness.postgres import TestCluster, psql
from tests.harness.server_process import ServerProcess

IN_TRANSACTION = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
STALL_S = 0.5  # longer is no call; on a machine that has nothing else to do
GROWTH_BYTES = 40 << 20  # of the server's memory over a case
SETTINGS = (
    "call.linger_s=0.05", "call.back_to_p2p_delay_s=30", "call.empty_grace_s=20",
    "limits.requests_per_s=10000", "call.resume_grace_s=60",
)  # fmt: skip


class Stage:
    """`url` is the database without the proxy, `through` with it (None: the server runs its own)."""

    def __init__(
        self, data_dir: Path, url: str, through: str | None, proxy: DatabaseProxy, chance: random.Random
    ) -> None:
        self.url = url
        self._own_postgres = through is None
        self.proxy = proxy
        self.chance = chance
        self.notes = Notes()
        self.cluster: TestCluster | None = None
        flags = [flag for setting in SETTINGS for flag in ("--set", setting)]
        if through is not None:
            flags += ["--database-url", through]
        addresses = ("--media-address", "127.0.0.1", "--announce", "127.0.0.1")
        self.server = ServerProcess(data_dir, *addresses, *flags)
        self.speakers: list[Person] = []
        self.people: list[Person] = []
        self._late = 0.0
        self._began = 0.0
        self.began_at = 0.0  # Unix seconds
        self._rss = 0
        self._killed = False
        self._stopping = False
        self._loss = False
        self._call: str | None = None  # of those who speak
        self.nursery: trio.Nursery

    # ---- the scene

    async def run(self, fault: Callable[[Stage], object]) -> None:
        """Calls begin; the fault happens among them; they go on, end, and all is checked."""
        await trio.to_thread.run_sync(self.server.start)
        try:
            async with trio.open_nursery() as self.nursery:
                self.nursery.start_soon(self._notice_lateness)
                talk, switch = await self._begin()
                async with trio.open_nursery() as scripts:
                    scripts.start_soon(self._script, talk, self._talk)
                    scripts.start_soon(self._script, switch, self._switch)
                    await trio.sleep(0.3)
                    self._rss = self._memory()
                    self._began, self.began_at = time.monotonic(), time.time()
                    await fault(self)  # type: ignore[misc]
                    await self.caught_up()
                    self._stopping = True
                    await _finished(scripts)
                await self._check_media()
                await self._end(talk)
                await self._end(switch)
                await self.caught_up()
                self._check_server()
                self.nursery.cancel_scope.cancel()
            if self._own_postgres:
                await self._check_rows()
            assert await trio.to_thread.run_sync(self.server.stop) == 0, self.server.tail()
            if not self._own_postgres:
                await self._check_rows()
            assert segments(self.server.data_dir / "spool") == {}
        except BaseException:
            print(self.server.environment, self.server.tail())
            for one in self.people:
                heard = one.voice and {number: len(count) for number, count in one.voice.heard.items()}
                print(one.user, one.in_call, one.mode, one.connected, sorted(one.others), heard)
            raise
        finally:
            with suppress(ProcessLookupError):
                self.server.kill()

    async def _begin(self) -> tuple[list[Person], list[Person]]:
        talk = [self.person(f"talk{n}", "talk", speaks=n < 3) for n in range(4)]
        switch = [self.person(f"switch{n}", "switch", speaks=False) for n in range(3)]
        self.speakers, self.people = talk[:3], talk + switch
        for one in (*talk[:3], *switch[:2]):
            await one.join(self.nursery)
        with trio.fail_after(20):
            await self._all_hear_all()
        self._call = talk[0].in_call
        return talk, switch

    def person(self, user: str, room: str, *, speaks: bool) -> Person:
        tokens = Tokens(AuthSettings(), secret=load_secret(AuthSettings(), self.server.data_dir))

        def token(user: str) -> str:
            return tokens.mint(
                room="*", user_id=user, name=user, can=["publish", "end"], ttl_s=3600, now=time.time()
            )

        person = Person(user, room, self.server.http_port, token, self.notes)
        if speaks:
            person.voice = Voice(person, self.notes.clock)
        return person

    async def _all_hear_all(self) -> None:
        """From now on."""
        for one in self.speakers:
            assert one.voice is not None
            one.voice.heard.clear()
        voices = [one.voice for one in self.speakers if one.voice is not None]
        pairs = list(itertools.permutations(voices, 2))
        while not all(other.number in one.heard for one, other in pairs):  # noqa: ASYNC110 - media
            await trio.sleep(0.02)

    async def _script(self, people: list[Person], act: Callable[[list[Person]], object]) -> None:
        """What happens in a room until the fault is over. Whom a server's death throws out comes back."""
        while not self._stopping or any(one.wanted and not one.in_call for one in people):
            try:
                for one in people:
                    if one.wanted and not one.in_call and not one.connected:
                        await one.join(self.nursery)
                await act(people)  # type: ignore[misc]
            except Gone:
                assert self._killed, "a connection was lost though the server lives"
            await trio.sleep(self.chance.random() * 0.05)

    async def _talk(self, people: list[Person]) -> None:
        visitor = people[-1]
        roll = self.chance.random()
        if roll < 0.2:
            await (visitor.leave() if visitor.in_call else visitor.join(self.nursery))
        else:
            await self._toggle(_here(people))

    async def _switch(self, people: list[Person]) -> None:
        here = _here(people)
        roll = self.chance.random()
        if roll < 0.4:
            await self._toggle(here)
        elif roll < 0.7:
            with suppress(Refused):  # to P2P with three
                await here[0].ask("mode.request", mode="p2p" if here[0].mode == "sfu" else "sfu")
                await trio.sleep(0.02)
        elif roll < 0.8:
            await self.chance.choice(here).report()
        elif roll < 0.93:
            await (people[2].leave() if people[2].in_call else people[2].join(self.nursery))
        elif roll < 0.97:
            await here[0].end_call()
            for one in here[1:]:
                await one.until(lambda one=one: one.in_call is None or not one.connected)
            for one in here:
                await one.hang_up()
            for one in here[:2]:
                await one.join(self.nursery)

    async def _toggle(self, here: list[Person]) -> None:
        await self.chance.choice(here).toggle(self.chance.choice(("audio", "video", "screen")))

    async def _end(self, people: list[Person]) -> None:
        here = [one for one in people if one.in_call]
        await here[0].end_call()
        for one in here:
            await one.until(lambda one=one: one.in_call is None)
            await one.hang_up()

    # ---- what faults do

    def will_die(self, where: str) -> None:
        """The first server dies at this point (`tests.harness.mortal_server`)."""
        self._killed = True
        self.server.module = "tests.harness.mortal_server"
        self.server.environment["TANDEM_TEST_DEATH"] = where

    async def kill_server(self, meanwhile: Callable[[], object] | None = None) -> None:
        """kill -9, and a new one when `meanwhile` is done."""
        self._killed = True
        await trio.to_thread.run_sync(self.server.kill)
        await self.server_died(meanwhile)

    async def server_died(self, meanwhile: Callable[[], object] | None = None) -> None:
        with trio.fail_after(10):
            while any(one.connected for one in self.people):  # noqa: ASYNC110 - all that was said is heard
                await trio.sleep(0.01)
        self.notes.ledger.server_died()
        if meanwhile is not None:
            await meanwhile()  # type: ignore[misc]
        await trio.to_thread.run_sync(self.server.start)

    async def back_in_call(self, *, resumed: bool = True) -> None:
        """The speakers hear each other again; `resumed`: in the same call."""
        with trio.fail_after(20):
            while not all(one.in_call for one in self.speakers):  # noqa: ASYNC110
                await trio.sleep(0.02)
            await self._all_hear_all()
        calls = {one.in_call for one in self.speakers}
        assert not resumed or calls == {self._call}, f"{self._call} was not resumed: {calls}"
        [self._call] = calls

    def expect_loss(self) -> None:
        """The spool has overflown: what was lost is not looked for, nor what it had to be there for."""
        self._loss = True

    # ---- what is checked

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(self.server.url + "metrics", timeout=5) as answer:
            text = answer.read().decode()
        return {key: float(value) for key, value in re.findall(r"^(tandem_\w+) ([-\d.e+]+)$", text, re.M)}

    async def caught_up(self) -> None:
        """All changes so far are in the database; none was lost or set aside."""
        target = _taken(await trio.to_thread.run_sync(self.metrics))
        with trio.move_on_after(80):
            while True:
                figures = await trio.to_thread.run_sync(self.metrics)
                amiss = figures["tandem_recorder_lost"] + figures["tandem_recorder_dead_lettered"]
                assert self._loss or amiss == 0
                if _taken(figures) - figures["tandem_recorder_pending"] >= target:
                    return
                await trio.sleep(0.05)
        raise AssertionError({key: figures[key] for key in figures if "recorder" in key})

    async def _check_media(self) -> None:
        if self._killed:
            await self.back_in_call(resumed=False)
        sent = {one.voice.number: one.voice.sent for one in self.speakers if one.voice is not None}
        await trio.sleep(0.2 + STALL_S)
        for one in self.speakers:
            assert one.voice is not None
            for number, count in sent.items():
                if number == one.voice.number:
                    continue
                counters = list(one.voice.heard[number])
                assert counters[-1] >= count - 1, "media has stopped"
                lost = [b - a for a, b in itertools.pairwise(counters) if b - a > 1]
                assert not lost, f"media was lost: {lost}"
        clock = self.notes.clock
        if not self._killed:
            crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # who else wants the processors
            allowed = STALL_S * crowd + 3 * self._late
            answer, delay = clock.worst(clock.answers, self._began), clock.worst(clock.delays, self._began)
            assert answer < allowed, f"an answer took {answer:.3f} s"
            assert delay < allowed, f"media was {delay:.3f} s under way"
            assert statistics.median(seconds for _, seconds in clock.answers) < 0.1 * crowd + self._late

    def _check_server(self) -> None:
        if not self._killed:
            assert self._memory() - self._rss < GROWTH_BYTES

    async def _check_rows(self) -> None:
        entries = await trio.to_thread.run_sync(witness.testimony, self.url)
        witness.assert_nothing_twice(entries)
        if not self._loss:
            assert_as_told(self.notes.ledger, entries)
        async with open_database(self.url, size=1) as db:
            assert await verify(db) == []
        with trio.fail_after(15):
            while psql(self.url, IN_TRANSACTION) != "0":  # noqa: ASYNC110 - another process
                await trio.sleep(0.1)

    def _memory(self) -> int:
        """The server's resident memory in bytes."""
        with open(f"/proc/{self.server.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def _notice_lateness(self) -> None:
        """How late this process itself is: other people's load is not the server's fault."""
        while True:
            due = trio.current_time() + 0.02
            await trio.sleep_until(due)
            if self._began:
                self._late = max(self._late, trio.current_time() - due)


def _here(people: list[Person]) -> list[Person]:
    here = [one for one in people if one.in_call]
    if not here:
        raise Gone("everybody was thrown out")
    return here


def _taken(figures: dict[str, float]) -> float:
    """Changes that the recorder has, or has written."""
    return figures["tandem_recorder_submitted"] - figures["tandem_recorder_lost"]


async def _finished(scripts: trio.Nursery) -> None:
    with trio.move_on_after(30):
        while scripts.child_tasks:  # noqa: ASYNC110 - other tasks
            await trio.sleep(0.02)
        return
    waits = [
        [f"{frame.f_code.co_name}:{line}" for frame, line in task.iter_await_frames()]
        for task in scripts.child_tasks
    ]
    raise AssertionError(f"people wait for something that never comes: {waits}")
