"""The relay of bench.peers.aiortc_relay with a publisher and N subscribers."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.load import namespace
from bench.load.tandem import CAMERA
from bench.peers.lines import Lines, talking
from bench.peers.process import process
from bench.peers.room import Room as AnyRoom
from bench.peers.side import candidate, side
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


class Room(AnyRoom):
    async def publish(self, address: str) -> None:
        lines: Lines = await self.nursery.start(talking, namespace.SERVER, _PORT)
        endpoint = self.endpoint(address)
        offer = send_offer(
            **side(endpoint), tracks=[Track("video", CAMERA.mid, CAMERA.ssrc, CAMERA.rtx_ssrc)]
        )
        answer = (await lines.ask(role="publisher", sdp=offer + candidate(endpoint)))["sdp"]
        await endpoint.connect(*remote_side(answer))
        self.publisher = endpoint

    async def subscribe(self, address: str) -> None:
        lines: Lines = await self.nursery.start(talking, namespace.SERVER, _PORT)
        endpoint = self.endpoint(address)
        offer = (await lines.ask(role="subscriber"))["sdp"]
        await lines.say(sdp=recv_answer(offer, **side(endpoint)) + candidate(endpoint))
        await endpoint.connect(*remote_side(offer))
        self.subscribers.append(endpoint)
