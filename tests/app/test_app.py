"""The parts put together, with storage and media that only keep a diary."""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from server import app
from server.config import load
from server.db.recorder import RecorderStats
from server.db.startup import InterruptedCall
from server.errors import ConfigError
from server.rtc.parameters import IceCandidate
from server.signaling.settings import AuthSettings
from server.signaling.tokens import Tokens, load_secret
from tests.harness.fake_media import FakeMedia
from tests.signaling.fakes import Client


class Recorder:
    keeping_up = True
    spool_state = "ok"

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    def submit(self, change: Any) -> None:
        self.diary.append(type(change).__name__)

    def stats(self) -> RecorderStats:
        return RecorderStats(submitted=7)


class Storage:
    ready = True

    def __init__(self, diary: list[str]) -> None:
        self.recorder = Recorder(diary)

    def resumable(self, room_id: str, *, at: float, grace: float) -> InterruptedCall | None:
        return None  # the last server left nothing open


class Media(FakeMedia):
    running = True
    candidates = (IceCandidate("1", 1, "192.0.2.1", 5, "udp"),)

    def __init__(self, diary: list[str]) -> None:
        super().__init__()
        self.diary = diary

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.diary.append("media runs")
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.diary.append("media ends")


@dataclass
class Server:
    data_dir: Path
    settings: list[tuple[str, str]]
    diary: list[str] = field(default_factory=list)
    stop: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)
    port: int = 0

    def parts(self) -> app.Parts:
        @asynccontextmanager
        async def storage(config: Any) -> AsyncIterator[Any]:
            self.diary.append("storage opens")
            yield Storage(self.diary)
            self.diary.append("storage closes")

        return app.Parts(open_storage=storage, make_media=lambda config: Media(self.diary))

    async def run(self, *, task_status: trio.TaskStatus[app.Started] = trio.TASK_STATUS_IGNORED) -> None:
        flags = [("data_dir", str(self.data_dir)), ("http.port", "0"), ("media.port", "0"), *self.settings]

        def started(told: app.Started) -> None:
            self.port = told.port
            task_status.started(told)

        config = load(flags=flags)
        await app.run(config, stop=self.stop, started=started, parts=self.parts())
        self.ended.set()

    async def get(self, path: str) -> tuple[int, str]:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            await stream.send_all(
                f"GET {path} HTTP/1.1\r\nHost: localhost:{self.port}\r\nConnection: close\r\n\r\n".encode()
            )
            data = b"".join([bytes(chunk) async for chunk in stream])
        head, _, body = data.decode().partition("\r\n\r\n")
        return int(head.split()[1]), body

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with trio.open_nursery() as nursery:
            wire = await wrap_client_stream(
                nursery, stream, f"localhost:{self.port}", "/ws", subprotocols=["tandem.v1"]
            )
            yield Client(wire, stream)
            with trio.move_on_after(1):
                await wire.aclose()
            await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def serving(data_dir: Path, *settings: tuple[str, str]) -> AsyncIterator[Server]:
    server = Server(data_dir, list(settings))
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield server
        server.stop.set()


async def test_the_page_and_the_servers_word_about_itself(tmp_path: Path) -> None:
    async with serving(tmp_path, ("dev", "1")) as server:
        status, page = await server.get("/?room=x")
        assert status == 200
        assert "<!doctype html>" in page.lower()
        status, health = await server.get("/healthz")
        assert status == 200
        assert json.loads(health)["status"] == "ok"
        status, metrics = await server.get("/metrics")
        assert status == 200
        assert "tandem_rooms_sessions 0.0" in metrics
        assert "tandem_recorder_submitted 7.0" in metrics
        assert (await server.get("/ws"))[0] == 426
        assert (await server.get("/nothing"))[0] == 404


async def test_a_call_and_an_orderly_end(tmp_path: Path) -> None:
    async with serving(tmp_path, ("dev", "1")) as server, server.client() as ann, server.client() as bob:
        hello = (await ann.request("hello", {"name": "Ann"}))["result"]
        assert hello["iceServers"][0]["urls"] == [f"stun:localhost:{Media([]).udp_port}"]
        call = (await ann.request("call.join", {"roomId": "r"}))["result"]["call"]
        assert call["media"]["addresses"] == ["192.0.2.1"]
        await bob.request("hello", {"name": "Bob"})
        await bob.request("call.join", {"roomId": "r"})
        seen = []
        while "participant.joined" not in seen:
            seen.append((await ann.notification())[0])
        assert "tandem_rooms_participants 2.0" in (await server.get("/metrics"))[1]
        server.stop.set()
        told = {}
        with trio.fail_after(5):
            try:
                while True:
                    method, params = await ann.notification()
                    told[method] = params
            except ConnectionClosed:
                pass
        assert told["server.draining"]["reconnectAfterMs"] > 0
        assert ann.wire.closed is not None
        assert ann.wire.closed.code == 1001
        with trio.fail_after(5):
            await server.ended.wait()
    diary = server.diary
    assert diary[:2] == ["storage opens", "media runs"]
    assert diary[-2:] == ["media ends", "storage closes"]
    assert diary.index("CallEnded") < diary.index("media ends")
    with pytest.raises(OSError, match="attempts to connect"):
        await server.get("/healthz")


async def test_without_dev_nothing_without_a_token(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, server.client() as client:
        assert (await client.request("hello"))["error"]["data"]["code"] == "token_missing"
        tokens = Tokens(AuthSettings(), secret=load_secret(AuthSettings(), tmp_path))
        token = tokens.mint(
            room="mine", user_id="u1", name="Ann", can=["publish"], ttl_s=60, now=app.time.time()
        )
        result = (await client.request("hello", {"token": token}))["result"]
        assert (result["userId"], result["guest"]) == ("u1", False)
        error = (await client.request("call.join", {"roomId": "other"}))["error"]
        assert error["data"] == {"code": "forbidden", "field": "roomId"}
        assert "result" in await client.request("call.join", {"roomId": "mine"})


async def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    (taken,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with taken:
        port = taken.socket.getsockname()[1]
        config = load(flags=[("data_dir", str(tmp_path)), ("http.port", str(port))])
        parts = Server(tmp_path, []).parts()
        with pytest.raises(
            ConfigError, match=rf"^http\.port = {port}: is in use by another program; .*--http-port"
        ):
            await app.run(config, stop=trio.Event(), parts=parts)


async def test_a_taken_media_port_is_told_in_one_line(tmp_path: Path) -> None:
    server = Server(tmp_path, [])

    class Failing(Media):
        async def run(self, *, task_status: Any = None) -> None:
            raise OSError(errno.EADDRINUSE, "in use")

    parts = app.Parts(open_storage=server.parts().open_storage, make_media=lambda config: Failing([]))
    config = load(flags=[("data_dir", str(tmp_path)), ("http.port", "0")])
    with pytest.RaisesGroup(ConfigError, flatten_subgroups=True, allow_unwrapped=True) as caught:
        await app.run(config, stop=trio.Event(), parts=parts)
    error: Any = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert str(error).startswith("media.port = 8444: is in use")


async def test_a_data_dir_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = load(flags=[("data_dir", str(tmp_path / "file" / "x"))])
    with pytest.raises(ConfigError, match="choose a folder that this user may write by --data-dir"):
        await app.run(config, stop=trio.Event(), parts=Server(tmp_path, []).parts())
