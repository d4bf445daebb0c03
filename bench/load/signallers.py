"""Clients of the signaling alone: they join, mute, leave and join again, and note how long each answer took.

A process of its own, so that their work is not the server's: reads a plan as JSON from standard input, writes
the samples to standard output. A plan: `{urls, clients, rounds, seconds, rate}`; rounds go through the
servers in turn, forwards and backwards, so that whatever else the machine does meets all of them.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from typing import Any

import msgspec
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

ROOM_SIZE = 4
_SETTLE_S = 0.5  # after the last action of a round
_ENTER_AT_ONCE = 10

Samples = dict[str, list[float]]


class Signaller:
    """One WebSocket, in one room."""

    def __init__(self, socket: WebSocketConnection, room: str, sent: dict[tuple[str, bool], float]) -> None:
        self._socket = socket
        self._room = room
        self._sent = sent  # of the whole room: who said what, and when
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[trio.Event, list[dict[str, Any]]]] = {}
        self._audio = True
        self._participant = ""
        self.samples: Samples = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            message = msgspec.json.decode(await self._socket.get_message())
            if "id" in message:
                event, box = self._waiting.pop(message["id"])
                box.append(message)
                event.set()
            elif message["method"] == "participant.updated":
                told = message["params"]["participant"]
                began = self._sent.get((told["participantId"], told["audioEnabled"]))
                if began is not None and told["participantId"] != self._participant:
                    self._note("mute seen", began)

    async def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        event, box = trio.Event(), list[dict[str, Any]]()
        self._waiting[number] = event, box
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await self._socket.send_message(msgspec.json.encode(request).decode())
        await event.wait()
        if "result" not in box[0]:
            raise RuntimeError(f"{method}: {box[0]}")
        return box[0]["result"]  # type: ignore[no-any-return]

    def _note(self, name: str, began: float) -> None:
        self.samples.setdefault(name, []).append((time.perf_counter() - began) * 1000)

    async def hello(self, name: str) -> None:
        await self._call("hello", name=name, client="bench")

    async def join(self) -> None:
        began = time.perf_counter()
        result = await self._call("call.join", roomId=self._room)
        self._note("join", began)
        self._participant, self._audio = result["call"]["participantId"], True

    async def mute(self) -> None:
        self._audio = not self._audio
        began = self._sent[self._participant, self._audio] = time.perf_counter()
        await self._call("participant.update", audioEnabled=self._audio)
        self._note("mute", began)

    async def again(self) -> None:
        await self._call("call.leave")
        await self.join()


async def _crowd(nursery: trio.Nursery, url: str, count: int) -> list[Signaller]:
    found: list[Signaller] = []
    limiter = trio.CapacityLimiter(_ENTER_AT_ONCE)

    async def enter(number: int, room: str, sent: dict[tuple[str, bool], float]) -> None:
        async def stay(task_status: trio.TaskStatus[None]) -> None:
            async with open_websocket_url(url, subprotocols=["tandem.v1"], message_queue_size=64) as socket:
                one = Signaller(socket, room, sent)
                await nursery.start(one.run)
                await one.hello(f"Client {number}")
                await one.join()
                found.append(one)
                task_status.started()
                await trio.sleep_forever()

        async with limiter:
            await nursery.start(stay)

    async with trio.open_nursery() as entering:
        for first in range(0, count, ROOM_SIZE):
            sent: dict[tuple[str, bool], float] = {}
            for number in range(first, min(count, first + ROOM_SIZE)):
                entering.start_soon(enter, number, f"room-{first}", sent)
    return found


async def _round(crowd: list[Signaller], seconds: float, rate: float, chance: random.Random) -> Samples:
    """`rate` actions a second, evenly; half of them mutes, half somebody who leaves and joins again."""
    for one in crowd:
        one.samples.clear()
    order = chance.sample(crowd, len(crowd))
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(int(seconds * rate)):
            await trio.sleep_until(began + number / rate)
            one = order[number % len(order)]
            nursery.start_soon(one.mute if number % 2 else one.again)
    await trio.sleep(_SETTLE_S)
    found: Samples = {}
    for one in crowd:
        for name, samples in one.samples.items():
            found.setdefault(name, []).extend(samples)
    return found


async def main(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Rounds as `{server, samples}`, `server` an index of `urls`."""
    chance = random.Random(7)
    rounds = []
    async with trio.open_nursery() as nursery:
        crowds = [await _crowd(nursery, url, plan["clients"]) for url in plan["urls"]]
        order = list(range(len(crowds)))
        for crowd in crowds:
            await _round(crowd, 1.0, plan["rate"], chance)  # warms up
        for number in range(plan["rounds"]):
            for server in order if number % 2 else reversed(order):
                samples = await _round(crowds[server], plan["seconds"], plan["rate"], chance)
                rounds.append({"server": server, "samples": samples})
        nursery.cancel_scope.cancel()
    return rounds


if __name__ == "__main__":
    json.dump(trio.run(main, json.load(sys.stdin)), sys.stdout)
