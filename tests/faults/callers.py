"""People in calls on a real server: WebSockets, and for those who speak, ICE, DTLS and SRTP through the SFU.

Everybody notes in a `Ledger` what the server told them, and in a `Clock` how long its answers took.
"""

from __future__ import annotations

import itertools
import json
import math
import secrets
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from server.rtc.certificate import Certificate
from tests.faults.ledger import Ledger, State, Transition
from tests.harness.rtc_peer import RtcPeer
from tests.harness.rtp import RtpPacket
from tests.harness.sdp_client import MID_ID, OPUS, Track, recv_answer, remote_side, send_offer

PACKET_S = 0.04
CERTIFICATE = Certificate.generate(time.time())
FINGERPRINT = CERTIFICATE.fingerprint("sha-256")


class Gone(Exception):
    """The connection was lost before the answer came."""


class Refused(Exception):
    """The server said no."""


@dataclass
class Clock:
    """How long answers took, and how long media was under way."""

    answers: list[tuple[float, float]] = field(default_factory=list)  # when (monotonic), seconds
    delays: list[tuple[float, float]] = field(default_factory=list)

    def worst(self, samples: list[tuple[float, float]], since: float) -> float:
        return max((seconds for when, seconds in samples if when >= since), default=0.0)


class Person:
    """A user with a token. `in_call` is the call's id while the person is in it."""

    def __init__(self, user: str, room: str, port: int, token: Callable[[str], str], notes: Notes) -> None:
        self.user = user
        self.room = room
        self._port = port
        self._token = token
        self._notes = notes
        self._socket: WebSocketConnection | None = None
        self._stream: trio.SocketStream | None = None
        self._ids = itertools.count(1)
        self._answers: dict[int, tuple[trio.Event, list[dict[str, Any]]]] = {}
        self._epochs: dict[int, dict[str, Any]] = {}
        self.connected = False
        self.wanted = False  # in the call, by the person's own will
        self.in_call: str | None = None
        self.id = ""
        self.mode = "p2p"
        self.others: set[str] = set()  # participant ids
        self._joining: list[State] = []  # as which it asked to join, unanswered
        self.news = trio.Event()
        self.voice: Voice | None = None

    # ---- the connection

    async def _connected(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Connects (trying until the server is there), reads until the connection is lost."""
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", self._port)
            except OSError:
                await trio.sleep(0.05)
                continue
            # The stream is ours to close: trio-websocket leaves it open when the other side dies.
            done, self._stream = False, stream
            async with stream, trio.open_nursery() as nursery:
                with suppress(HandshakeError, ConnectionClosed), trio.move_on_after(5) as handshake:
                    # It would wait for ever for a server that died over the answer.
                    self._socket = await wrap_client_stream(
                        nursery, stream, f"127.0.0.1:{self._port}", "/ws", subprotocols=["tandem.v1"],
                        message_queue_size=64,
                    )  # fmt: skip
                    handshake.deadline = math.inf
                    self.connected = done = True
                    task_status.started()
                    await self._read(nursery)
                await trio.aclose_forcefully(stream)
                nursery.cancel_scope.cancel()
            if done:
                return

    async def _read(self, nursery: trio.Nursery) -> None:
        assert self._socket is not None
        try:
            while True:
                message = json.loads(await self._socket.get_message())
                if "method" in message:
                    self._heard(message["method"], message["params"], nursery)
                else:
                    event, box = self._answers.pop(message["id"])
                    box.append(message)
                    event.set()
        except ConnectionClosed:
            self.connected = False
            self.in_call = None
            if self.voice is not None:
                self.voice.stop()
            for event, _ in self._answers.values():
                event.set()
            self._answers.clear()
            self.news.set()
            self.news = trio.Event()

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        if not self.connected:
            raise Gone(method)
        number, event, box = next(self._ids), trio.Event(), list[dict[str, Any]]()
        self._answers[number] = (event, box)
        asked = time.monotonic()
        try:
            assert self._socket is not None
            await self._socket.send_message(
                json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
            )
        except ConnectionClosed:
            raise Gone(method) from None
        await event.wait()
        if not box:
            raise Gone(method)
        self._notes.clock.answers.append((asked, time.monotonic() - asked))
        if "error" in box[0]:
            raise Refused(f"{method}: {box[0]['error']}")
        result: dict[str, Any] = box[0]["result"]
        return result

    # ---- what is told

    def _heard(self, method: str, said: dict[str, Any], nursery: trio.Nursery) -> None:
        if method == "participant.joined":
            self.others.add(said["participant"]["participantId"])
        elif method == "participant.left":
            self.others.discard(said["participantId"])
        elif method == "epoch.prepare":
            self._epochs[said["epoch"]] = said
            nursery.start_soon(self._swap, said["epoch"])
        elif method == "epoch.commit" and self.in_call is not None:
            self.mode = said["mode"]
            prepared = self._epochs[said["epoch"]]
            if prepared["from"] is not None:
                transition = Transition(said["epoch"], said["mode"], prepared["reason"])
                self._notes.ledger.committed(self.in_call, transition)
        elif method == "sfu.offer" and self.voice is not None:
            nursery.start_soon(self.voice.answer, said)
        elif method == "call.ended":
            self.in_call = None
        self.news.set()
        self.news = trio.Event()

    async def _swap(self, epoch: int) -> None:
        for other in list(self.others):
            try:
                await self.ask("epoch.swapped", epoch=epoch, participantId=other)
            except (Gone, Refused):  # who has left meanwhile needs no swap
                continue

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.news.wait()

    # ---- what a person does. Each raises Gone if the server dies meanwhile.

    async def join(self, nursery: trio.Nursery, *, audio: bool = True, video: bool = False) -> None:
        self.wanted = True
        await nursery.start(self._connected)
        await self.ask("hello", token=self._token(self.user), client="faults")
        offer = self.voice.offer() if self.voice is not None else _silent_offer()
        unanswered, self._joining = self._joining, [*self._joining, State(True, audio, video, False)]
        self.others.clear()
        self._epochs.clear()
        joined = await self.ask(
            "call.join", roomId=self.room, audioEnabled=audio, videoEnabled=video, sdp=offer
        )
        self._joining = []
        call = joined["call"]
        self.in_call, self.id, self.mode = call["callId"], call["participantId"], call["mode"]
        self.others |= {one["participantId"] for one in call["participants"]} - {self.id}
        for state in unanswered:  # by servers that died over it
            self._notes.ledger.will_be(self.in_call, self.user, state)
            self._notes.ledger.will_be(self.in_call, self.user, None)
        self._notes.ledger.will_be(self.in_call, self.user, State(True, audio, video, False)).sure = True
        if self.voice is not None:
            nursery.start_soon(self.voice.speak, joined["published"]["sdp"])

    async def toggle(self, what: str) -> None:
        """Switches `audio`, `video` or `screen`."""
        if self.in_call is None:
            raise Gone(what)
        state = self._notes.ledger.now(self.in_call, self.user)
        state = state._replace(**{what: not getattr(state, what)})
        fact = self._notes.ledger.will_be(self.in_call, self.user, state)
        name = {"audio": "audioEnabled", "video": "videoEnabled", "screen": "screenShareEnabled"}[what]
        await self.ask("participant.update", **{name: getattr(state, what)})
        fact.sure = True

    async def report(self) -> None:
        """That 1000 more bytes were sent since this person joined the call."""
        if self.in_call is None:
            raise Gone("stats")
        reported = self._notes.ledger.reported.setdefault(self.in_call, {})
        sent = reported.get(self.user, 0) + 1000
        await self.ask("stats", packetLoss=0.01, rttMs=20, bytesSent=sent, path="sfu-udp")
        reported[self.user] = sent

    async def leave(self) -> None:
        if self.in_call is None:
            raise Gone("call.leave")
        self.wanted = False
        state = self._notes.ledger.now(self.in_call, self.user)._replace(present=False, screen=False)
        fact = self._notes.ledger.will_be(self.in_call, self.user, state)
        await self.ask("call.leave")
        fact.sure = True
        await self.hang_up()

    async def hang_up(self) -> None:
        """Closes the connection of a person who is in no call."""
        self.wanted = False
        self.in_call = None
        assert self._socket is not None
        with trio.move_on_after(1):  # the server may die over it
            await self._socket.aclose()
        assert self._stream is not None
        await trio.aclose_forcefully(self._stream)
        while self.connected:  # noqa: ASYNC110 - the reader sees it in a moment
            await trio.sleep(0.001)

    async def end_call(self) -> None:
        call = self.in_call
        if call is None:
            raise Gone("call.end")
        await self.ask("call.end")
        self._notes.ledger.end(call, "ended")
        self.in_call = None


@dataclass
class Notes:
    ledger: Ledger = field(default_factory=Ledger)
    clock: Clock = field(default_factory=Clock)


def _silent_offer() -> str:
    return send_offer(ufrag=secrets.token_hex(4), pwd=secrets.token_hex(16), fingerprint=FINGERPRINT)


class Voice:
    """Sends a packet every 40 ms while its call is on the SFU, and notes when the others' packets come."""

    _numbers = itertools.count(1)

    def __init__(self, person: Person, clock: Clock) -> None:
        self.number = next(Voice._numbers)
        self._person = person
        self._clock = clock
        self.sent = 0
        self.heard: dict[int, deque[int]] = {}  # by the speaker's number: packets' counters
        self._scope = trio.CancelScope()
        self._fresh()

    def _fresh(self) -> None:
        self._keys = {way: (secrets.token_hex(4), secrets.token_hex(16)) for way in ("send", "recv")}
        self._offered: trio.Event = trio.Event()
        self._remote: Any = None
        self.sent = 0
        self.heard = {}
        self._scope = trio.CancelScope()

    def offer(self) -> str:
        self._fresh()
        ufrag, pwd = self._keys["send"]
        tracks = (Track("audio", "0", 1000 + self.number), Track("video", "1", 2000 + self.number),
                  Track("video", "2", 3000 + self.number))  # fmt: skip
        return send_offer(ufrag=ufrag, pwd=pwd, fingerprint=FINGERPRINT, tracks=tracks)

    async def answer(self, offer: dict[str, Any]) -> None:
        ufrag, pwd = self._keys["recv"]
        self._remote = self._remote or remote_side(offer["sdp"])
        self._offered.set()
        sdp = recv_answer(offer["sdp"], ufrag=ufrag, pwd=pwd, fingerprint=FINGERPRINT)
        try:
            await self._person.ask("sfu.answer", offerId=offer["offerId"], sdp=sdp)
        except (Gone, Refused):
            return

    async def speak(self, answer: str) -> None:
        """Until `stop`, or the server is gone."""
        with self._scope:
            await self._offered.wait()
            send, recv = self._peer("send", remote_side(answer)), self._peer("recv", self._remote)
            recv.on_rtp = self._hears
            async with send, recv:
                await send.wait_connected()
                await recv.wait_connected()
                await self._talk(send)

    def stop(self) -> None:
        self._scope.cancel()

    def _peer(self, way: str, remote: Any) -> RtcPeer:
        ice, fingerprint, role = remote
        ufrag, pwd = self._keys[way]
        return RtcPeer(ice, fingerprint, dtls_role=role, certificate=CERTIFICATE, ufrag=ufrag, pwd=pwd)

    async def _talk(self, send: RtcPeer) -> None:
        due = trio.current_time()
        while True:
            if self._person.mode == "sfu":
                payload = struct.pack("!dII", time.monotonic(), self.number, self.sent)
                await send.send_rtp(
                    RtpPacket(OPUS, self.sent, 1920 * self.sent, 1000 + self.number, payload,
                              extensions={MID_ID: b"0"})
                )  # fmt: skip
                self.sent += 1
            due += PACKET_S
            await trio.sleep_until(due)

    def _hears(self, packet: RtpPacket, now: float) -> None:
        if len(packet.payload) == 16:
            sent, number, count = struct.unpack("!dII", packet.payload)
            self.heard.setdefault(number, deque()).append(count)
            self._clock.delays.append((sent, now - sent))
