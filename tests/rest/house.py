"""A whole server in this process, with a real PostgreSQL and media that only pretend; and its clients."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from trio_websocket import wrap_client_stream

from server import app
from server.config import load
from server.rtc.parameters import IceCandidate
from server.signaling.settings import AuthSettings
from server.signaling.tokens import Tokens, load_secret
from tests.harness.fake_media import FakeMedia
from tests.signaling.fakes import Client


class Media(FakeMedia):
    running = True
    candidates = (IceCandidate("1", 1, "192.0.2.1", 5, "udp"),)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: Any  # JSON, else text

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self
        assert self.body["status"] == self.status
        code: str = self.body["code"]
        return code


@dataclass
class House:
    data_dir: Path
    port: int = 0
    stop: trio.Event = field(default_factory=trio.Event)

    def token(self, *can: str, room: str = "*", user: str | None = None, name: str = "") -> str:
        tokens = Tokens(AuthSettings(), secret=load_secret(AuthSettings(), self.data_dir))
        return tokens.mint(
            room=room,
            user_id=user,
            name=name,
            can=can,  # type: ignore[arg-type]
            ttl_s=600,
            now=time.time(),
        )

    async def raw(self, request: bytes) -> bytes:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            await stream.send_all(request)
            with trio.fail_after(20):
                return b"".join([bytes(chunk) async for chunk in stream])

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> Answer:
        """`headers` by their names with underscores; a body that is bytes goes as it is."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        said = {"host": f"localhost:{self.port}", "connection": "close", "content-length": str(len(data))}
        if data:
            said["content-type"] = "application/json"
        if token is not None:
            said["authorization"] = f"Bearer {token}"
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        target = path if path.startswith("/") else f"/api/v1/{path}"
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items() if value)
        answer = await self.raw(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + data)
        top, _, text = answer.partition(b"\r\n\r\n")
        first, *lines = top.decode().split("\r\n")
        got = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        is_json = "json" in got.get("content-type", "") and text
        return Answer(int(first.split()[1]), got, json.loads(text) if is_json else text.decode())

    @asynccontextmanager
    async def person(self, name: str, **more: Any) -> AsyncIterator[Client]:
        """A user's WebSocket, which has said hello."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with trio.open_nursery() as nursery:
            wire = await wrap_client_stream(
                nursery, stream, f"localhost:{self.port}", "/ws", subprotocols=["tandem.v1"]
            )
            client = Client(wire, stream)
            token = self.token("start", "publish", "end", user=name, name=name.title(), **more)
            assert "result" in await client.request("hello", {"token": token})
            yield client
            with trio.move_on_after(1):
                await wire.aclose()
            await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()


async def until(client: Client, method: str) -> dict[str, Any]:
    """The next notification of that kind."""
    with trio.fail_after(10):
        while True:
            name, params = await client.notification()
            if name == method:
                return params


@asynccontextmanager
async def serving(data_dir: Path, database_url: str, *settings: tuple[str, str]) -> AsyncIterator[House]:
    house = House(data_dir)
    flags = [
        ("data_dir", str(data_dir)),
        ("database.url", database_url),
        ("http.port", "0"),
        ("media.port", "0"),
        ("rest.request_burst", "100000"),
        *settings,
    ]
    parts = app.Parts(open_storage=app.real_parts().open_storage, make_media=lambda config: Media())

    async def run(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        def started(told: app.Started) -> None:
            house.port = told.port
            task_status.started()

        await app.run(load(flags=flags), stop=house.stop, started=started, parts=parts)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield house
        house.stop.set()
