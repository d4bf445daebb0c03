"""A call on a Tandem server, joined over its public WebSocket by one publisher and many subscribers."""

from __future__ import annotations

import itertools
import time
from contextlib import AsyncExitStack
from typing import Any, Self

import msgspec
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from bench.load.endpoint import Endpoint
from server.rtc.certificate import Certificate
from tests.harness.sdp_client import MID_ID, TRANSPORT_CC_ID, VP8, Track, recv_answer, remote_side, send_offer

SSRC = 2001
CAMERA = Track("video", "1", SSRC, 2002)
PAYLOAD_TYPE, MID, MID_EXTENSION, TWCC_EXTENSION = VP8, b"1", MID_ID, TRANSPORT_CC_ID


class Participant:
    """One session and its WebSocket. The SFU's offers are answered as they come."""

    def __init__(self, socket: WebSocketConnection, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.consumers: list[dict[str, Any]] = []
        self._socket = socket
        self._ids = itertools.count(1)
        self._results: dict[int, tuple[trio.Event, list[dict[str, Any]]]] = {}
        self._offer = trio.Event()
        self._remote: Any = None
        self._media = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                message = msgspec.json.decode(await self._socket.get_message())
                if "id" in message and message["id"] in self._results:
                    event, box = self._results.pop(message["id"])
                    box.append(message)
                    event.set()
                elif message.get("method") == "sfu.offer":
                    nursery.start_soon(self._answer, message["params"])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        event, box = trio.Event(), list[dict[str, Any]]()
        self._results[number] = (event, box)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await self._socket.send_message(msgspec.json.encode(request).decode())
        await event.wait()
        if "error" in box[0]:
            raise RuntimeError(f"{method}: {box[0]['error']}")
        result: dict[str, Any] = box[0]["result"]
        return result

    async def _answer(self, offer: dict[str, Any]) -> None:
        answer = recv_answer(
            offer["sdp"],
            ufrag=self.endpoint.ufrag,
            pwd=self.endpoint.pwd,
            fingerprint=self.endpoint.certificate.fingerprint("sha-256"),
        )
        self._remote = remote_side(offer["sdp"])
        self._offer.set()
        self.consumers = offer["consumers"]
        await self.call("sfu.answer", offerId=offer["offerId"], sdp=answer)
        if any(one["kind"] == "video" for one in self.consumers):
            self._media.set()

    async def publish(self, room: str) -> None:
        offer = send_offer(
            ufrag=self.endpoint.ufrag,
            pwd=self.endpoint.pwd,
            fingerprint=self.endpoint.certificate.fingerprint("sha-256"),
            tracks=(Track("audio", "0", 1001), CAMERA, Track("video", "2", 3001, 3002)),
        )
        await self.call("hello", name="publisher", client="bench")
        joined = await self.call("call.join", roomId=room, audioEnabled=False, videoEnabled=True, sdp=offer)
        await self.endpoint.connect(*remote_side(joined["published"]["sdp"]))

    async def subscribe(self, room: str) -> None:
        await self.call("hello", name="subscriber", client="bench")
        await self.call("call.join", roomId=room, audioEnabled=False, videoEnabled=False)
        await self._offer.wait()
        await self.endpoint.connect(*self._remote)

    async def wait_media(self) -> None:
        await self._media.wait()


class Call:
    """async with Call(url, "room") as call: await call.publish(...); await call.subscribe(...)"""

    def __init__(self, url: str, room: str) -> None:
        self.url = url.replace("http", "ws", 1) + "ws"
        self.room = room
        self.certificate = Certificate.generate(time.time())
        self.publisher: Participant | None = None
        self.subscribers: list[Participant] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._nursery = await self._stack.enter_async_context(trio.open_nursery())
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        self._nursery.cancel_scope.cancel()
        done = await self._stack.__aexit__(*error)
        for one in [self.publisher, *self.subscribers]:
            if one is not None:
                one.endpoint.close()
        return done

    async def _open(self, address: str) -> Participant:
        endpoint = Endpoint(self.certificate, address)
        socket = await self._stack.enter_async_context(
            open_websocket_url(self.url, subprotocols=["tandem.v1"], message_queue_size=64)
        )
        participant = Participant(socket, endpoint)
        await self._nursery.start(participant.run)
        return participant

    async def publish(self, address: str) -> None:
        self.publisher = await self._open(address)
        await self.publisher.publish(self.room)

    async def subscribe(self, address: str) -> None:
        one = await self._open(address)
        self.subscribers.append(one)
        await one.subscribe(self.room)

    async def wait_media(self) -> None:
        for one in self.subscribers:
            await one.wait_media()

    def keep_alive(self) -> None:
        for one in [self.publisher, *self.subscribers]:
            if one is not None:
                one.endpoint.keep_alive()
