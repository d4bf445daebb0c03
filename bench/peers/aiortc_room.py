"""The relay of bench.peers.aiortc_relay with a publisher and N subscribers."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from bench.load import namespace
from bench.load.endpoint import Endpoint
from bench.load.tandem import CAMERA
from bench.peers.process import answering, process
from bench.peers.side import candidate, side
from server.rtc.certificate import Certificate
from tests.harness.sdp_client import Track, recv_answer, remote_side, send_offer

_PORT = 18189


def missing() -> str | None:
    return None if importlib.util.find_spec("aiortc") else "aiortc is not installed"


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[int]:
    """Yields its process id."""
    command = [sys.executable, "-m", "bench.peers.aiortc_relay", namespace.SERVER, str(_PORT)]
    async with process(command, folder) as pid:
        yield pid


class Room:
    def __init__(self, nursery: trio.Nursery) -> None:
        self._certificate = Certificate.generate(time.time())
        self._streams: list[trio.SocketStream] = []
        self.publisher: Endpoint | None = None
        self.subscribers: list[Endpoint] = []

    async def _open(self) -> trio.SocketStream:
        await answering(namespace.SERVER, _PORT)
        stream = await trio.open_tcp_stream(namespace.SERVER, _PORT)
        self._streams.append(stream)
        return stream

    async def publish(self, address: str) -> None:
        stream, endpoint = await self._open(), Endpoint(self._certificate, address)
        offer = send_offer(
            **side(endpoint), tracks=[Track("video", CAMERA.mid, CAMERA.ssrc, CAMERA.rtx_ssrc)]
        )
        await _say(stream, role="publisher", sdp=offer + candidate(endpoint))
        await endpoint.connect(*remote_side((await _hear(stream))["sdp"]))
        self.publisher = endpoint

    async def subscribe(self, address: str) -> None:
        stream, endpoint = await self._open(), Endpoint(self._certificate, address)
        await _say(stream, role="subscriber")
        offer = (await _hear(stream))["sdp"]
        await _say(stream, sdp=recv_answer(offer, **side(endpoint)) + candidate(endpoint))
        await endpoint.connect(*remote_side(offer))
        self.subscribers.append(endpoint)

    def keep_alive(self) -> None:
        for one in [self.publisher, *self.subscribers]:
            if one is not None:
                one.keep_alive()


async def _say(stream: trio.SocketStream, **message: str) -> None:
    await stream.send_all(msgspec.json.encode(message) + b"\n")


async def _hear(stream: trio.SocketStream) -> dict[str, Any]:
    line = bytearray()
    while not line.endswith(b"\n"):
        data = await stream.receive_some()
        if not data:
            raise RuntimeError("the aiortc relay has hung up")
        line += data
    message: dict[str, Any] = msgspec.json.decode(line)
    return message
