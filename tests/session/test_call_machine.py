"""Everything that may happen to a call, in any order: what must hold, holds."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.errors import ClientError
from server.session.epoch import pairs_of
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.session.world import World, joiner

NAMES = ["ann", "bob", "cid", "dan", "eve"]


class CallMachine(RuleBasedStateMachine):
    tell_at_once_up_to = 25

    @initialize(policy=st.sampled_from(["auto", "auto", "auto", "auto", "p2p", "sfu"]), ring=st.booleans())
    def begin(self, policy: str, ring: bool) -> None:
        settings = CallSettings(
            policy=policy,  # type: ignore[arg-type]
            max_participants=4,
            tell_at_once_up_to=self.tell_at_once_up_to,
        )
        self.world = World(joiner("ann"), settings=settings, invite=["bob", "cid"] if ring else [])
        self.sessions = 0
        self.ids: dict[str, str] = {"ann": self.world.id("ann")}

    def here(self) -> list[str]:
        return list(self.world.clients)

    def pick(self, n: int) -> str:
        here = self.here()
        return here[n % len(here)]

    def alive(self) -> bool:
        return not self.world.call.over

    def occupied(self) -> bool:
        return self.alive() and bool(self.world.clients)

    @precondition(alive)
    @rule(name=st.sampled_from(NAMES), new_device=st.booleans())
    def join(self, name: str, new_device: bool) -> None:
        self.sessions += new_device
        before = self.world.rows.present
        try:
            pid = self.world.join(name, session=f"s-{name}-{self.sessions if new_device else 0}")
        except ClientError as error:
            assert error.code == "call_full"  # noqa: PT017
            assert self.world.call.effects() == []
            assert self.world.rows.present == before
        else:
            assert self.ids.setdefault(name, pid) == pid, "a person has one id in a call"

    def pass_time(self, seconds: float, *, diligent: bool) -> None:
        """Diligent clients swap whatever can be swapped as soon as they can."""
        end = self.world.now + seconds
        while self.alive() and self.world.now < end:
            if diligent:
                self.world.swap_all()
            self.world.advance(min(0.5, end - self.world.now))

    @precondition(alive)
    @rule(people=st.integers(2, 4), seconds=st.sampled_from([0.0, 1.0, 8.0, 15.0]))
    def gather(self, people: int, seconds: float) -> None:
        """So many are here and all goes well: the way to the states that lone steps seldom reach."""
        for name in NAMES:
            if len(self.here()) < people and self.world.call.participant_of(name) is None:
                self.join(name, False)
        for pid in self.here()[people:]:
            self.world.call.leave(pid, self.world.now)
            self.world.run()
        self.pass_time(seconds, diligent=True)

    @precondition(occupied)
    @rule(n=st.integers(0, 9))
    def leave(self, n: int) -> None:
        self.world.call.leave(self.pick(n), self.world.now)
        self.world.run()

    @precondition(occupied)
    @rule(n=st.integers(0, 9), cut=st.booleans())
    def connection(self, n: int, cut: bool) -> None:
        pid = self.pick(n)
        (self.world.call.detach if cut else self.world.call.attach)(pid, self.world.now)
        self.world.run()

    @precondition(occupied)
    @rule(n=st.integers(0, 9), k=st.integers(0, 9), epoch_off=st.sampled_from([0, 0, 0, 0, -1, 1]))
    def swap(self, n: int, k: int, epoch_off: int) -> None:
        receiver, sender = self.pick(n), self.pick(k)
        client = self.world.clients[receiver]
        epoch = client.pending.epoch if client.pending is not None else client.epoch
        said = m.EpochSwapped(max(0, epoch + epoch_off), sender)
        self.world.call.swapped(receiver, said, self.world.now)
        self.world.run()

    @precondition(occupied)
    @rule()
    def swap_all(self) -> None:
        self.world.swap_all()

    @precondition(occupied)
    @rule(n=st.integers(0, 9), k=st.integers(0, 9), current=st.booleans())
    def p2p_fails(self, n: int, k: int, current: bool) -> None:
        if n < 9:  # seldom: there is no way back from it
            return
        client = self.world.clients[self.pick(n)]
        epoch = client.pending.epoch if client.pending is not None else client.epoch
        said = m.P2pFailed(self.pick(k), epoch if current else epoch + 1)
        self.world.call.p2p_failed(client.id, said, self.world.now)
        self.world.run()

    @precondition(occupied)
    @rule(n=st.integers(0, 9), loss=st.floats(0, 1), path=st.sampled_from(["p2p", "sfu-udp", None]))
    def stats(self, n: int, loss: float, path: str | None) -> None:
        said = m.ClientStats(packet_loss=loss, path=path)  # type: ignore[arg-type]
        self.world.call.stats(self.pick(n), said, self.world.now)
        self.world.run()

    @precondition(occupied)
    @rule(n=st.integers(0, 9), k=st.integers(0, 9), video=st.floats(0, 500), back=st.integers(0, 2))
    def measured(self, n: int, k: int, video: float, back: int) -> None:
        client = self.world.clients[self.pick(n)]
        said = m.EpochMeasured(max(0, client.epoch - back), self.pick(k), video, None)
        self.world.call.measured(client.id, said, self.world.now)
        self.world.run()

    @precondition(occupied)
    @rule(mode=st.sampled_from(["p2p", "p2p", "sfu"]))
    def request(self, mode: m.Mode) -> None:
        try:
            self.world.call.request_mode(mode, self.world.now)
        except ClientError as error:
            assert error.code == "bad_state"  # noqa: PT017
            assert self.world.call.effects() == []
        self.world.run()

    @precondition(alive)
    @rule(on=st.booleans())
    def feature(self, on: bool) -> None:
        self.world.call.want_feature(on, self.world.now)
        self.world.run()

    @precondition(occupied)
    @rule(
        n=st.integers(0, 9),
        direction=st.sampled_from(["send", "recv"]),
        state=st.sampled_from(["connected", "disconnected", "failed"]),
    )
    def transport(self, n: int, direction: str, state: str) -> None:
        said = m.TransportChanged(direction, state)  # type: ignore[arg-type]
        self.world.call.transport_state(self.pick(n), said.direction, said, self.world.now)
        self.world.run()

    @precondition(occupied)
    @rule(n=st.integers(0, 9), audio=st.booleans(), screen=st.booleans())
    def update(self, n: int, audio: bool, screen: bool) -> None:
        said = m.ParticipantUpdate(audio_enabled=audio, screen_share_enabled=screen)
        self.world.call.update(self.pick(n), said, self.world.now)
        self.world.run()

    @precondition(alive)
    @rule(user=st.sampled_from(["bob", "cid"]))
    def reject(self, user: str) -> None:
        if self.world.call.incoming_for(user) is not None:
            self.world.call.reject(user, f"s-{user}", self.world.now)
            self.world.run()

    @precondition(alive)
    @rule(
        seconds=st.sampled_from([0.1, 1.0, 3.0, 6.0, 10.0, 31.0]),
        diligent=st.sampled_from([True] * 4 + [False]),
    )
    def wait(self, seconds: float, diligent: bool) -> None:
        self.pass_time(seconds, diligent=diligent)

    @rule(n=st.integers(0, 99))
    def end(self, n: int) -> None:
        if n == 99 and self.occupied():
            self.world.call.end(self.pick(n), self.world.now)
            self.world.run()

    @invariant()
    def rows_are_true(self) -> None:
        world = self.world
        rows, call = world.rows, world.call
        assert rows.call["status"] == call.status
        assert (rows.call["ended_at"] is not None) == call.over
        if call.over:
            assert world.rows.metrics is not None
            assert call.next_timeout(world.now) is None
            return
        assert rows.present == set(call.participant_ids) == set(world.clients) == world.peers
        assert rows.call["mode"] == call.mode
        assert rows.call["changes"] == len(rows.transitions)
        assert (rows.call["sfu_room"] is not None) == (call.mode == "sfu")
        for pid in rows.present:
            assert (rows.people[pid]["sfu"] is not None) == (call.mode == "sfu")
        assert [row["to"] for row in rows.transitions] == [
            ("sfu", "p2p")[n % 2] for n in range(len(rows.transitions))
        ]

    @invariant()
    def clients_agree(self) -> None:
        call = self.world.call
        if call.over:
            return
        if call.roster.waits:
            return  # they will
        pending = {client.pending.epoch for client in self.world.clients.values() if client.pending}
        assert len(pending) <= 1
        for client in self.world.clients.values():
            assert set(client.others) == set(call.participant_ids) - {client.id}
            assert client.mode == call.mode
            state = call.snapshot(client.id, pending=True)
            assert {one.participant_id: one for one in state.participants} == (
                client.others
                | {client.id: next(p for p in state.participants if p.participant_id == client.id)}
            )
            if state.pending_epoch is None:
                assert client.pending is None
            elif state.pending_epoch.to_mode == "sfu":
                assert client.pending is not None

    @invariant()
    def media_follow_the_mode(self) -> None:
        """Whoever is on the SFU, or on the way to or from it, is forwarded."""
        world = self.world
        if world.call.over:
            return
        pending = world.pending
        if world.call.mode == "sfu" or (pending is not None and pending.to_mode == "sfu"):
            assert world.forwarding
        elif pending is None and all(one.lingering is None for one in world.clients.values()):
            assert not world.forwarding or not world.clients

    @invariant()
    def time_goes_on(self) -> None:
        """No timer is due that a tick does not clear."""
        world = self.world
        timeout = world.call.next_timeout(world.now)
        assert timeout is None or timeout[0] > world.now

    def teardown(self) -> None:
        """Whatever happened, everybody settles on one path, and an empty call ends."""
        if not hasattr(self, "world") or self.world.call.over:
            return
        world = self.world
        world.call.want_feature(False, world.now)
        for pid in self.here():
            world.call.attach(pid, world.now)
        world.run()
        for _ in range(200):
            world.swap_all()
            world.advance(1)
        if world.call.over:  # it rang in vain
            return
        assert world.pending is None
        if len(world.clients) > 2:
            assert world.call.mode == "sfu"
        assert all(client.lingering is None for client in world.clients.values())
        for pid in self.here():
            world.call.leave(pid, world.now)
        world.run()
        world.advance(31)
        assert world.call.over
        assert pairs_of(world.rows.present) == set()


class LargeCallMachine(CallMachine):
    """As if so few were many: who comes and goes is told together."""

    tell_at_once_up_to = 1


_SETTINGS = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
CallMachine.TestCase.settings = _SETTINGS
LargeCallMachine.TestCase.settings = settings(_SETTINGS, max_examples=60)
TestCallMachine = CallMachine.TestCase
TestLargeCallMachine = LargeCallMachine.TestCase
