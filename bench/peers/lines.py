"""Lines of JSON over TCP: the signaling of those peers whose program is our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from bench.peers.process import answering


class Lines:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def say(self, **message: Any) -> None:
        await self._stream.send_all(msgspec.json.encode(message) + b"\n")

    async def hear(self) -> dict[str, Any]:
        """RuntimeError where the other side hangs up, or tells of an error."""
        line = bytearray()
        while not line.endswith(b"\n"):
            data = await self._stream.receive_some()
            if not data:
                raise RuntimeError("the other server has hung up")
            line += data
        message: dict[str, Any] = msgspec.json.decode(line)
        if "error" in message:
            raise RuntimeError(f"the other server: {message['error']}")
        return message

    async def ask(self, **request: Any) -> dict[str, Any]:
        await self.say(**request)
        return await self.hear()


@asynccontextmanager
async def connected(host: str, port: int) -> AsyncIterator[Lines]:
    """As soon as somebody listens there. RuntimeError after ten seconds."""
    await answering(host, port)
    async with await trio.open_tcp_stream(host, port) as stream:
        yield Lines(stream)


async def talking(host: str, port: int, *, task_status: trio.TaskStatus[Lines]) -> None:
    """The same as a task, for as long as its nursery lives."""
    async with connected(host, port) as lines:
        task_status.started(lines)
        await trio.sleep_forever()
