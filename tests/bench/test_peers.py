"""What the drivers of other servers have in common, and how an installed mediasoup is found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from bench.peers import mediasoup
from bench.peers.lines import Lines, connected

HOST = "127.0.0.1"


@pytest.fixture
def only_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a Node.js and no packages but those of this folder."""
    node = tmp_path / "bin" / "node"
    node.parent.mkdir()
    node.write_text("#!/bin/sh\n")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", str(node.parent))
    monkeypatch.setenv("NODE_PATH", str(tmp_path / "packages"))
    monkeypatch.delenv("MEDIASOUP_WORKER_BIN", raising=False)
    return tmp_path


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o755)
    return path


def test_without_node_there_is_no_mediasoup(only_here: Path) -> None:
    (only_here / "bin" / "node").unlink()
    assert "Node.js" in (mediasoup.missing() or "")


def test_without_its_package_there_is_no_mediasoup(only_here: Path) -> None:
    assert "npm" in (mediasoup.missing() or "")


def test_a_package_without_a_worker_is_told_of(only_here: Path) -> None:
    (only_here / "packages" / "mediasoup").mkdir(parents=True)
    assert "has no worker" in (mediasoup.missing() or "")


@pytest.mark.parametrize("packages", ["packages", "lib/node_modules"])
def test_it_is_found_by_node_path_and_where_npm_installs_for_all(only_here: Path, packages: str) -> None:
    executable(only_here / packages / "mediasoup/worker/out/Release/mediasoup-worker")
    assert mediasoup.missing() is None


def test_the_worker_may_be_elsewhere(only_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (only_here / "packages" / "mediasoup").mkdir(parents=True)
    monkeypatch.setenv("MEDIASOUP_WORKER_BIN", str(executable(only_here / "elsewhere")))
    assert mediasoup.missing() is None


async def talking_to(answer: bytes, talk: Callable[[Lines], Awaitable[None]]) -> None:
    """`talk` with a server that says this, in two pieces, whatever it is asked, and hangs up."""

    async def serve(stream: trio.SocketStream) -> None:
        if await stream.receive_some():
            await stream.send_all(answer[:5])
            await trio.lowlevel.checkpoint()
            await stream.send_all(answer[5:])
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, host=HOST), serve, 0)
        port = listeners[0].socket.getsockname()[1]
        async with connected(HOST, port) as lines:
            await talk(lines)
        nursery.cancel_scope.cancel()


async def test_a_line_is_one_answer() -> None:
    async def talk(lines: Lines) -> None:
        assert await lines.ask(ask="transport") == {"port": 7}

    await talking_to(b'{"port": 7}\n', talk)


@pytest.mark.parametrize(
    ("answer", "told"), [(b'{"error": "no such producer"}\n', "no such producer"), (b'{"po', "hung up")]
)
async def test_what_is_no_answer_is_an_error(answer: bytes, told: str) -> None:
    async def talk(lines: Lines) -> None:
        with pytest.raises(RuntimeError, match=told):
            await lines.ask(ask="transport")

    await talking_to(answer, talk)
