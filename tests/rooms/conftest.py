"""A directory with a fake media server, a recorder that only keeps, and clients that negotiate for real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import trio

from server.db import changes
from server.rooms.directory import Directory
from server.rooms.session import Session
from server.rtc.parameters import Fingerprint
from server.session.identity import Grants, Identity
from server.session.opening import Resumed
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.harness.fake_media import FakeMedia, FakeRouter, FakeTransport
from tests.harness.sdp_client import recv_answer, send_offer

CLIENT_FINGERPRINT = Fingerprint("sha-256", ":".join(["CD"] * 32))
OTHER_FINGERPRINT = Fingerprint("sha-256", ":".join(["EF"] * 32))
ALL = Grants(room="*", join=True, start=True, publish=True, end=True)
EPOCH = 1_800_000_000.0


class Recorder:
    def __init__(self) -> None:
        self.changes: list[changes.Change] = []

    def submit(self, change: changes.Change) -> None:
        self.changes.append(change)

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.changes if isinstance(one, kind)]


class Wire:
    """A connection's end of the sink."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any, int]] = []
        self.closed: int | None = None
        self.full = False
        self.arrived = trio.Event()

    def send_nowait(self, method: str, params: msgspec.Raw) -> bool:
        if self.full or self.closed is not None:
            return False
        seq = msgspec.json.decode(params)["seq"]
        self.got.append((method, msgspec.json.decode(params, type=m.NOTIFICATIONS[method]), seq))
        self.arrived.set()
        self.arrived = trio.Event()
        return True

    def close(self, code: int, reason: str) -> None:
        self.closed = code


class Client:
    """One user's app: does what docs/protocol.md says, as far as a test asks for it."""

    def __init__(self, house: House, identity: Identity) -> None:
        self.house = house
        self.identity = identity
        self.wire = Wire()
        self.session: Session
        self.hello: m.HelloResult
        self.ufrag = "clientufrag"

    def connect(self, **more: Any) -> Client:
        self.session, self.hello = self.house.directory.hello(self.identity, m.Hello(**more), ice_servers=[])
        self.wire = Wire()
        self.house.directory.attach(self.session, self.wire)
        return self

    def resume(self, last_seq: int | None = None) -> m.HelloResult:
        seen = self.wire.got[-1][2] if self.wire.got else 0
        said = m.Resume(self.session.id, self.session.resume_token, seen if last_seq is None else last_seq)
        self.connect(resume=said)
        return self.hello

    def cut(self) -> None:
        self.wire.closed = 1006
        self.house.directory.detach(self.session, self.wire)

    async def ask(self, method: str, params: m.Wire | None = None) -> Any:
        with self.session.answering():
            return await self.house.directory.request(self.session, method, params or m.Empty())

    async def join(self, room: str = "room", **more: Any) -> m.CallState:
        result = await self.ask("call.join", m.CallJoin(room, **more))
        assert isinstance(result, m.CallResult)
        return result.call

    async def enter(self, room: str = "room") -> m.CallState:
        """Join, and bring both connections up."""
        state = await self.join(room)
        await self.publish()
        await self.answer_offer()
        return state

    async def publish(self, fingerprint: Fingerprint = CLIENT_FINGERPRINT, **more: Any) -> m.SfuPublishResult:
        offer = send_offer(ufrag=self.ufrag, pwd="p" * 24, fingerprint=fingerprint, **more)
        result = await self.ask("sfu.publish", m.SfuPublish(offer))
        assert isinstance(result, m.SfuPublishResult)
        return result

    async def answer_offer(self, **more: Any) -> m.SfuOffer:
        offer = self.last("sfu.offer")
        assert isinstance(offer, m.SfuOffer)
        sdp = recv_answer(offer.sdp, ufrag="recvufrag", pwd="q" * 24, fingerprint=CLIENT_FINGERPRINT, **more)
        await self.ask("sfu.answer", m.SfuAnswer(offer.offer_id, sdp))
        return offer

    async def swap(self, *others: Client) -> None:
        epoch = self.last("epoch.prepare").epoch
        for other in others:
            await self.ask("epoch.swapped", m.EpochSwapped(epoch, other.pid))

    async def until(self, method: str, count: int = 1) -> Any:
        """Wait for a notification (the `count`th of its kind on this connection)."""
        with trio.fail_after(20):
            while self.count(method) < count:
                await self.wire.arrived.wait()
        return self.last(method)

    @property
    def pid(self) -> str:
        assert self.session.participant_id is not None
        return self.session.participant_id

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.wire.got]

    def last(self, method: str) -> Any:
        return next(params for name, params, _ in reversed(self.wire.got) if name == method)

    def count(self, method: str) -> int:
        return self.methods().count(method)


class House:
    def __init__(self, settings: CallSettings, recorder: Any = None) -> None:
        self.settings = settings
        self.media = FakeMedia()
        self.recorder = Recorder() if recorder is None else recorder
        self.interrupted: dict[str, Resumed] = {}  # calls that the last server left open, by room
        self.directory = Directory(
            settings,
            self.media,
            self.recorder,
            self.now,
            resumable=lambda room_id: self.interrupted.pop(room_id, None),
        )

    @staticmethod
    def now() -> float:
        return EPOCH + trio.current_time()

    def client(self, name: str, grants: Grants = ALL, **hello: Any) -> Client:
        identity = Identity(user_id=name, name=name.title(), guest=False, grants=grants)
        return Client(self, identity).connect(**hello)

    def guest(self, name: str = "Guest") -> Client:
        return Client(self, Identity(user_id=None, name=name, guest=True, grants=ALL)).connect()

    @property
    def router(self) -> FakeRouter:
        return self.media.routers[-1]

    def transport(self, client: Client, direction: str) -> FakeTransport:
        room = client.session.room
        assert room is not None
        peer = room.sfu.peer(client.pid)
        wanted = (peer.send if direction == "send" else peer.recv).id
        return next(one for one in self.router.transports if one.id == wanted)


async def settle() -> None:
    """Let actors do what they have to do."""
    await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
def settings() -> CallSettings:
    return CallSettings(media_addresses=("192.0.2.1",), server_version="1", server_instance="i")


@pytest.fixture
async def house(settings: CallSettings, nursery: trio.Nursery) -> AsyncIterator[House]:
    house = House(settings)
    await nursery.start(house.directory.run)
    yield house
    nursery.cancel_scope.cancel()
