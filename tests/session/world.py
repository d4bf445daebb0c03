"""Around a call under test: a clock, clients that follow the protocol, and the rows its changes leave."""

from __future__ import annotations

from typing import Any

import msgspec

from server.db import changes
from server.session import effects as fx
from server.session.call import Call
from server.session.opening import Ahead, NewCall
from server.session.participants import Joiner
from server.session.settings import CallSettings
from server.session.switch import SfuRoom
from server.signaling import messages as m

START = 1_800_000_000.0
ROUTER = SfuRoom("router", {"codecs": []})


def joiner(name: str, session: str | None = None, **more: Any) -> Joiner:
    """A signed-in user called `name`; `session` tells two devices of one user apart."""
    fields: dict[str, Any] = {
        "session_id": session or f"s-{name}",
        "key": name,
        "user_id": name,
        "anonymous_id": None,
        "name": name,
        "avatar": None,
        "audio_enabled": True,
        "video_enabled": True,
    }
    return Joiner(**(fields | more))


class Rows:
    """What the database would hold. Applying a change that makes no sense fails the test."""

    def __init__(self) -> None:
        self.call: dict[str, Any] = {}
        self.people: dict[str, dict[str, Any]] = {}
        self.transitions: list[dict[str, Any]] = []
        self.metrics: changes.CallMetricsUpdate | None = None
        self.users: set[str] = set()
        self.captions: list[changes.CaptionSaid] = []
        self.renamed: list[tuple[str, str]] = []

    @property
    def present(self) -> set[str]:
        return {key for key, row in self.people.items() if row["left_at"] is None}

    def apply(self, change: changes.Change) -> None:
        assert self.call.get("ended_at") is None, f"after the end: {change}"
        match change:
            case changes.UserSeen():
                self.users.add(change.user_id)
            case changes.CallCreated():
                assert not self.call
                assert change.initiator_id is None or change.initiator_id in self.users
                self.call = {
                    "id": change.call_id, "status": change.status, "mode": change.mode, "changes": 0,
                    "sfu_room": change.sfu_room_id, "caps": change.sfu_rtp_capabilities, "started_at": None,
                    "ended_at": None, "reason": None,
                }  # fmt: skip
            case changes.CallStarted():
                assert self.call["started_at"] is None
                self.call["started_at"] = change.at
                self.call["status"] = "ACTIVE"
            case changes.ParticipantJoined():
                assert change.participant_id not in self.present
                assert (change.user_id is None) != (change.anonymous_id is None)
                assert change.user_id is None or change.user_id in self.users
                self.people[change.participant_id] = {
                    "left_at": None, "status": "connecting", "sfu": None, "audio": change.audio_enabled,
                    "video": change.video_enabled, "screen": False, "reason": None,
                    "user": change.user_id or change.anonymous_id,
                }  # fmt: skip
            case changes.ParticipantStatusChanged():
                assert change.participant_id in self.present
                assert self.people[change.participant_id]["status"] != change.status
                self.people[change.participant_id]["status"] = change.status
            case changes.ParticipantMedia():
                assert change.participant_id in self.present
                row = self.people[change.participant_id]
                for name in ("audio", "video"):
                    said = getattr(change, f"{name}_enabled")
                    row[name] = row[name] if said is None else said
                if change.screen_share_enabled is not None:
                    row["screen"] = change.screen_share_enabled
            case changes.ParticipantQuality():
                assert change.participant_id in self.present
            case changes.ParticipantSfu():
                assert self.call["mode"] == "sfu"
                assert change.ids.participant_id in self.present
                self.people[change.ids.participant_id]["sfu"] = change.ids
            case changes.ParticipantLeft():
                assert change.participant_id in self.present
                self.people[change.participant_id] |= {"left_at": change.at, "reason": change.reason}
            case changes.SwitchedToSfu():
                assert self.call["mode"] == "p2p"
                self.call |= {"mode": "sfu", "sfu_room": change.sfu_room_id, "caps": {}}
                assert {one.participant_id for one in change.participants} == self.present
                for one in change.participants:
                    self.people[one.participant_id]["sfu"] = one
                self._switched(change)
            case changes.SwitchedToP2p():
                assert self.call["mode"] == "sfu"
                self.call |= {"mode": "p2p", "sfu_room": None, "caps": None}
                for row in self.people.values():
                    row["sfu"] = None
                self._switched(change)
            case changes.TransitionGaps():
                row = next(row for row in self.transitions if row["epoch"] == change.epoch)
                row |= {"video": change.max_video_gap_ms, "audio": change.max_audio_gap_ms}
            case changes.ParticipantRenamed():
                assert change.participant_id in self.present
                self.renamed.append((change.participant_id, change.name))
            case changes.CaptionSaid():
                assert change.participant_id in self.present
                self.captions.append(change)
            case changes.CallMetricsUpdate():
                self.metrics = change
            case changes.CallEnded():
                assert self.metrics is not None
                self.call |= {"status": change.status, "ended_at": change.at, "reason": change.reason}
            case _:
                raise AssertionError(change)

    def _switched(self, change: changes.SwitchedToSfu | changes.SwitchedToP2p) -> None:
        self.call["changes"] += 1
        self.transitions.append(
            {"to": self.call["mode"], "reason": change.reason, "epoch": change.epoch,
             "duration": change.duration, "video": None, "audio": None}
        )  # fmt: skip


class Client:
    """One participant's view, by its notifications alone."""

    def __init__(self, state: m.CallState) -> None:
        self.id = state.participant_id
        self.mode: m.Mode = state.mode
        self.epoch = state.epoch
        self.pending: m.EpochPrepare | None = None
        self.lingering: int | None = None
        self.others = {one.participant_id: one for one in state.participants if one.participant_id != self.id}
        self.status = state.status
        self.got: list[tuple[str, m.Wire]] = []
        self.over = False

    def handle(self, method: str, params: m.Wire) -> None:
        assert not self.over, f"{self.id} has left and gets {method}"
        assert isinstance(params, m.NOTIFICATIONS[method])
        msgspec.json.decode(msgspec.json.encode(params), type=type(params))  # keeps the wire's limits
        self.got.append((method, params))
        match params:
            case m.ParticipantEvent() if method == "participant.joined":
                assert params.participant.participant_id not in self.others
                self.others[params.participant.participant_id] = params.participant
            case m.ParticipantEvent():
                assert params.participant.participant_id in self.others
                self.others[params.participant.participant_id] = params.participant
            case m.ParticipantGone():
                del self.others[params.participant_id]
            case m.ParticipantsChanged():
                for gone in params.left:  # perhaps it went before this one came
                    self.others.pop(gone.participant_id, None)
                for one in params.joined:  # perhaps this one found it present
                    self.others[one.participant_id] = one
                for one in params.updated:
                    assert one.participant_id == self.id or one.participant_id in self.others
                    self.others[one.participant_id] = one
                self.others.pop(self.id, None)
            case m.EpochPrepare():
                assert self.pending is None, "two epochs at once"
                assert params.epoch > self.epoch
                assert self.id in params.participants
                assert set(params.participants) == {self.id, *self.others}, "of whom it was not told"
                self.pending = params
            case m.EpochCommit():
                assert self.pending is not None
                assert self.pending.epoch == params.epoch
                assert self.pending.to_mode == params.mode
                self.lingering = params.epoch if self.pending.from_mode is not None else None
                self.pending = None
                self.mode, self.epoch = params.mode, params.epoch
            case m.EpochEnd() if method == "epoch.abort":
                assert self.pending is not None
                assert self.pending.epoch == params.epoch
                assert params.mode == self.mode
                self.pending = None
            case m.EpochEnd():
                assert self.pending is None
                assert params.mode == self.mode
                # One who joined after the commit has no old path, and drops nothing.
                assert self.lingering in (None, params.epoch)
                self.lingering = None
            case m.CallUpdated():
                self.status = params.status
            case m.CallOver():
                self.status = params.status

    def methods(self) -> list[str]:
        return [method for method, _ in self.got]

    def last(self, method: str) -> Any:
        return next(params for name, params in reversed(self.got) if name == method)


class World:
    def __init__(
        self,
        first: Joiner | Ahead | None = None,
        *,
        settings: CallSettings | None = None,
        invite: list[str] | None = None,
        call_type: m.CallTypeName = "VIDEO",
        of_call: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self.now = START
        self.settings = settings or CallSettings()
        self.rows = Rows()
        self.clients: dict[str, Client] = {}  # present participants
        self.user_news: list[tuple[str, str, m.Wire]] = []
        self.session_news: list[tuple[str, str, m.Wire]] = []
        self.dismissed: list[str] = []
        self.peers: set[str] = set()
        self.forwarding = False
        initiator = first or joiner("ann")
        new = NewCall(
            call_id="call",
            room_id="room",
            call_type=call_type,
            initiator=initiator,
            invite=invite or [],
            settings=of_call,
            **more,
        )
        self.call = Call(new, self.settings, ROUTER, m.MediaPath(["192.0.2.1"], 8444, 8444), self.now)
        self._known = 0
        if isinstance(initiator, Joiner):
            pid = self.call.participant_of(initiator.key)
            assert pid is not None
            self.clients[pid] = Client(self.call.snapshot(pid))
        self.run()

    # ---- driving --------------------------------------------------------------------------------------

    def join(self, name: str, session: str | None = None, **more: Any) -> str:
        state = self.call.join(joiner(name, session, **more), self.now)
        pid = state.participant_id
        # One that was there already is replaced: what its old client still gets comes by its session. And
        # the state is told before the notifications that the join causes, as the room does it.
        self.clients[pid] = Client(state)
        self.run()
        return pid

    def run(self) -> None:
        """Carry the effects out."""
        self._run()
        timeout = self.call.next_timeout(self.now)
        if timeout is not None and timeout[1] == "roster" and timeout[0] <= self.now:
            self.call.tick(self.now)  # as the room does after each batch
            self._run()

    def _run(self) -> None:
        while effects := self.call.effects():
            for effect in effects:
                self._carry_out(effect)

    def _carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Notify():
                assert effect.to
                for pid in effect.to:
                    if self.clients.get(pid) is not None:
                        self.clients[pid].handle(effect.method, effect.params)
            case fx.NotifyChanged():
                assert effect.to
                for pid in effect.to:
                    if pid in self.clients:
                        self.clients[pid].handle("participants.changed", effect.changed)
            case fx.NotifyUser():
                self.user_news.append((effect.user_id, effect.method, effect.params))
            case fx.NotifySession():
                self.session_news.append((effect.session_id, effect.method, effect.params))
            case fx.Persist():
                self.rows.apply(effect.change)
                change = effect.change
                if isinstance(change, changes.ParticipantLeft) and change.reason != "replaced":
                    self.clients.pop(change.participant_id, None)
            case fx.OpenPeer():
                assert effect.participant_id not in self.peers
                self.peers.add(effect.participant_id)
                ids = changes.SfuIds(
                    participant_id=effect.participant_id, send_transport_id="s", recv_transport_id="r"
                )
                self.call.sfu_ids(ids, self.now)
            case fx.ClosePeer():
                self.peers.remove(effect.participant_id)
            case fx.Forward():
                self.forwarding = effect.on
            case fx.Dismiss():
                self.dismissed.append(effect.session_id)

    def advance(self, seconds: float) -> None:
        """Let time pass, with a tick whenever one is due."""
        end = self.now + seconds
        for _ in range(1000):
            timeout = self.call.next_timeout(self.now)
            if timeout is None or timeout[0] > end:
                break
            self.now = max(self.now, timeout[0])
            self.call.tick(self.now)
            self.run()
        else:
            raise AssertionError("timers that never cease")
        self.now = end

    def swap(self, receiver: str, sender: str) -> None:
        """The receiver's client reports that it plays the sender on the path of the epoch under way."""
        client = self.clients[receiver]
        epoch = client.pending.epoch if client.pending is not None else client.epoch
        self.call.swapped(receiver, m.EpochSwapped(epoch, sender), self.now)
        self.run()

    def swap_all(self) -> None:
        """Every pair of the epoch under way swaps, and whoever has not at its commit does so late."""
        for receiver in list(self.clients):
            for sender in list(self.clients[receiver].others):
                client = self.clients[receiver]
                trying = client.pending is not None or client.lingering is not None
                if trying and not self.is_away(receiver):
                    self.swap(receiver, sender)

    def is_away(self, pid: str) -> bool:
        return self.rows.people[pid]["status"] == "reconnecting"

    def client(self, name: str) -> Client:
        pid = self.call.participant_of(name)
        assert pid is not None
        return self.clients[pid]

    def id(self, name: str) -> str:
        return self.client(name).id

    @property
    def pending(self) -> m.EpochPrepare | None:
        return next((one.pending for one in self.clients.values()), None)


def p2p_world(**more: Any) -> World:
    """Ann and Bob with a P2P connection in force."""
    world = World(**more)
    world.join("bob")
    world.swap_all()
    assert world.call.mode == "p2p"
    assert world.pending is None
    return world


def sfu_world(**more: Any) -> World:
    """Ann, Bob and Cid on the SFU, the old path released."""
    world = p2p_world(**more)
    world.join("cid")
    world.swap_all()
    world.advance(4)
    assert world.call.mode == "sfu"
    return world
