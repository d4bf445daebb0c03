"""Janus' VideoRoom (Debian's `janus`), over its WebSocket: one room, one publisher, N subscribers.

Its configuration is written for the run: one address, no plugins but the one, logging of errors only. ICE is
lite, so that it answers checks and sends none.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from bench.load import namespace
from bench.load.endpoint import Endpoint
from bench.load.tandem import CAMERA
from bench.peers.process import answering, process
from bench.peers.room import Room as AnyRoom
from bench.peers.side import candidate, side
from tests.harness.sdp_client import Track, recv_answer, remote_side, send_offer

_LIBRARIES = sorted(Path("/usr/lib").glob("*/janus"))
_PORT = 18188
_ROOM = 1
_GENERAL = """
general: {{
  configs_folder = "{folder}"
  plugins_folder = "{libraries}/plugins"
  transports_folder = "{libraries}/transports"
  debug_level = 2
  session_timeout = 0
}}
media: {{ rtp_port_range = "20000-60000" }}
nat: {{ ice_lite = true  ice_enforce_list = "{address}"  ignore_mdns = true }}
plugins: {{ disable = "{others}" }}
transports: {{ disable = "{transports}" }}
"""
_WEBSOCKETS = 'general: {{ ws = true  ws_ip = "{address}"  ws_port = {port} }}\n'


def missing() -> str | None:
    """What has to be installed first, if anything."""
    if shutil.which("janus") is None or not _LIBRARIES:
        return "janus is not installed (Debian's package `janus`)"
    return None


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[int]:
    """Yields its process id."""
    libraries = _LIBRARIES[0]
    others = [one.name for one in (libraries / "plugins").glob("*.so") if "videoroom" not in one.name]
    transports = [one.name for one in (libraries / "transports").glob("*.so") if "websockets" not in one.name]
    (folder / "janus.jcfg").write_text(
        _GENERAL.format(
            folder=folder, libraries=libraries, address=namespace.SERVER, others=",".join(others),
            transports=",".join(transports),
        )
    )  # fmt: skip
    websockets = _WEBSOCKETS.format(address=namespace.SERVER, port=_PORT)
    (folder / "janus.transport.websockets.jcfg").write_text(websockets)
    (folder / "janus.plugin.videoroom.jcfg").write_text("general: {}\n")
    async with process(["janus", "--configs-folder", str(folder), "--disable-colors"], folder) as pid:
        yield pid


class Handle:
    """One attachment to the plugin, with a session of its own, as a browser has."""

    def __init__(self, socket: WebSocketConnection, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._socket = socket
        self._numbers = itertools.count(1)
        self._ids: dict[str, Any] = {}

    async def open(self) -> None:
        self._ids["session_id"] = (await self._ask({"janus": "create"}))["data"]["id"]
        attached = await self._ask({"janus": "attach", "plugin": "janus.plugin.videoroom"})
        self._ids["handle_id"] = attached["data"]["id"]

    async def message(self, jsep: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
        return await self._ask({"janus": "message", "body": body, **({"jsep": jsep} if jsep else {})})

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer that is more than an acknowledgement. RuntimeError where it is an error."""
        number = str(next(self._numbers))
        await self._socket.send_message(
            msgspec.json.encode({**request, **self._ids, "transaction": number}).decode()
        )
        while True:
            answer = msgspec.json.decode(await self._socket.get_message())
            if answer.get("transaction") != number or answer["janus"] == "ack":
                continue
            data = answer.get("plugindata", {}).get("data", {})
            if answer["janus"] == "error" or "error" in data:
                raise RuntimeError(f"janus: {answer.get('error', data.get('error'))}")
            return dict(answer)


class Room(AnyRoom):
    _feed = 0  # the publisher's id

    async def _open(self, address: str) -> Handle:
        await answering(namespace.SERVER, _PORT)
        socket = await self.nursery.start(_connected, f"ws://{namespace.SERVER}:{_PORT}")
        handle = Handle(socket, self.endpoint(address))
        await handle.open()
        return handle

    async def publish(self, address: str) -> None:
        handle = await self._open(address)
        endpoint = handle.endpoint
        await handle.message(
            request="create", room=_ROOM, publishers=2, bitrate=0, fir_freq=0, videocodec="vp8",
            videoorient_ext=False, playoutdelay_ext=False, audiolevel_ext=False,
        )  # fmt: skip
        joined = await handle.message(request="join", room=_ROOM, ptype="publisher", display="bench")
        self._feed = joined["plugindata"]["data"]["id"]
        offer = send_offer(
            **side(endpoint), tracks=[Track("video", CAMERA.mid, CAMERA.ssrc, CAMERA.rtx_ssrc)]
        )
        offer += candidate(endpoint)
        answer = await handle.message(request="configure", video=True, jsep={"type": "offer", "sdp": offer})
        await endpoint.connect(*remote_side(answer["jsep"]["sdp"]))
        self.publisher = endpoint

    async def subscribe(self, address: str) -> None:
        handle = await self._open(address)
        endpoint = handle.endpoint
        offer = await handle.message(
            request="join", room=_ROOM, ptype="subscriber", streams=[{"feed": self._feed}]
        )
        sdp = offer["jsep"]["sdp"]
        answer = recv_answer(sdp, **side(endpoint)) + candidate(endpoint)
        await handle.message(request="start", room=_ROOM, jsep={"type": "answer", "sdp": answer})
        await endpoint.connect(*remote_side(sdp))
        self.subscribers.append(endpoint)


async def _connected(url: str, *, task_status: trio.TaskStatus[WebSocketConnection]) -> None:
    async with open_websocket_url(url, subprotocols=["janus-protocol"], message_queue_size=64) as socket:
        task_status.started(socket)
        await trio.sleep_forever()
