"""A participant at the least cost to the machine: blocking sockets, one join at a time, no event loop.

It does what a browser does to be in a call: a WebSocket, `hello`, `call.join`, the answer to the SFU's offer,
and for each of its connections an ICE check and a DTLS handshake; then it opens the first packet it is sent.
"""

from __future__ import annotations

import itertools
import secrets
import select
import socket
import time
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from bench.load.plain_websocket import PlainWebSocket
from rtp_core.srtp import Profile, SrtpError, SrtpPair
from server.rtc.certificate import Certificate
from server.rtc.dtls import DtlsSession
from server.rtc.parameters import Fingerprint
from tests.harness import stun
from tests.harness.sdp_client import OPUS, send_offer

PATIENCE_S = 20.0  # for one join as a whole
FEATURES = ["participants.changed"]  # notifications that it understands (docs/protocol.md, hello)
_CHECK_AGAIN_S = 0.5
AUDIO_SSRC = 1001


@dataclass
class Remote:
    """The server's side of one connection, as its SDP tells."""

    address: tuple[str, int]
    ufrag: str
    pwd: str
    fingerprint: str


@dataclass
class Joined:
    """Seconds from the first SYN."""

    answered: float  # `call.join` has its result
    ready: float  # all connections have their keys
    first_packet: float  # and the first packet has been opened


def remote_of(sdp: str) -> Remote:
    """By its lines: the load generator shares the machine, and must not pay for a whole parse."""

    def value(name: str) -> str:
        return sdp.split(f"\r\na={name}:", 1)[1].split("\r\n", 1)[0]

    for line in sdp.split("\r\na=candidate:")[1:]:
        fields = line.split("\r\n", 1)[0].split()
        if fields[2].lower() == "udp" and ":" not in fields[4]:
            address = (fields[4], int(fields[5]))
            break
    else:
        raise RuntimeError("the server has no candidate of UDP over IPv4")
    return Remote(address, value("ice-ufrag"), value("ice-pwd"), value("fingerprint").split()[1])


def answer_to(offer: str, ufrag: str, pwd: str, fingerprint: str) -> str:
    """Take all that is offered."""
    out = []
    for line in offer.split("\r\n"):
        if line.startswith(("a=candidate:", "a=end-of-candidates", "a=ssrc", "a=msid:", "a=ice-lite")):
            continue
        if line == "a=sendonly":
            line = "a=recvonly"
        elif line.startswith("a=setup:"):
            line = "a=setup:active"
        elif line.startswith("a=ice-ufrag:"):
            line = f"a=ice-ufrag:{ufrag}"
        elif line.startswith("a=ice-pwd:"):
            line = f"a=ice-pwd:{pwd}"
        elif line.startswith("a=fingerprint:"):
            line = f"a=fingerprint:sha-256 {fingerprint}"
        out.append(line)
    return "\r\n".join(out)


class Lane:
    """One connection: a socket (of `address`, if one is given), a check, a handshake, and the keys of it."""

    def __init__(self, certificate: Certificate, remote: Remote, ufrag: str, address: str = "") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.connect(remote.address)
        self.remote = remote
        self.pair: SrtpPair | None = None
        request = stun.Message(stun.BINDING_REQUEST)
        request.attributes = [
            (stun.USERNAME, f"{remote.ufrag}:{ufrag}".encode()),
            (stun.ICE_CONTROLLING, bytes(8)),
            (stun.PRIORITY, b"\x6e\x7f\x1e\xff"),
            (stun.USE_CANDIDATE, b""),
        ]
        self.request = stun.encode(request, password=remote.pwd)
        self._dtls = DtlsSession(certificate, "client", [Fingerprint("sha-256", remote.fingerprint)])

    def check(self) -> None:
        self.socket.send(self.request)

    def receive(self) -> bytes | None:
        """Handles one datagram of the handshake; a packet of media is returned instead."""
        data = self.socket.recv(2048)
        if data[0] < 4:
            if self._dtls.state == "new":
                self._dtls.start(time.monotonic())
        elif 20 <= data[0] < 64:
            self._dtls.receive_untrusted(data, time.monotonic())
        elif data[0] >= 128:
            return data
        for datagram in self._dtls.datagrams_to_send():
            self.socket.send(datagram)
        if self._dtls.state == "failed":
            raise RuntimeError(f"DTLS: {self._dtls.failure}")
        if self._dtls.srtp is not None and self.pair is None:
            keys = self._dtls.srtp
            self.pair = SrtpPair(Profile[keys.profile], keys.send_key, keys.recv_key)
        return None

    def repeat(self) -> None:
        """Nothing has come for a while: the check again, or what DTLS wants repeated."""
        if self._dtls.state == "new":
            self.check()
        elif self.pair is None:
            self._dtls.handle_timer(time.monotonic())
            for datagram in self._dtls.datagrams_to_send():
                self.socket.send(datagram)

    def close(self) -> None:
        self.socket.close()


class Joiner:
    """`speaks`: it offers microphone and camera too, so that it has two connections, as a page has."""

    def __init__(self, url: str, certificate: Certificate, *, speaks: bool) -> None:
        self._url = url
        self.certificate = certificate
        self._fingerprint = certificate.fingerprint("sha-256").value
        self._speaks = speaks
        self._ufrag, self._pwd = secrets.token_hex(4), secrets.token_hex(16)
        self._ids = itertools.count(1)
        self._socket: PlainWebSocket | None = None
        self._offers: list[dict[str, Any]] = []
        self.sending: Lane | None = None
        self.receiving: Lane | None = None
        self._early: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def join(self, room: str, name: str, *, first_packet: bool = True) -> Joined:
        """RuntimeError or TimeoutError if it cannot."""
        began = time.perf_counter()
        self._socket = PlainWebSocket(self._url, PATIENCE_S)
        # `hello` and `call.join` in one go: the protocol lets a client not wait for the first's answer.
        sdp = None
        if self._speaks:
            sdp = send_offer_once(self.certificate).replace("UFRAG", self._ufrag).replace("P" * 22, self._pwd)
        self._ask("hello", name=name, client="bench", features=FEATURES)
        joining = self._ask("call.join", roomId=room, audioEnabled=False, videoEnabled=False, sdp=sdp)
        result = self._result(joining)
        answered = time.perf_counter() - began
        if self._speaks:
            self.sending = self._connect(remote_of(result["published"]["sdp"]))
        while not self._offers:
            self._read()
        offer = self._offers[-1]
        self.receiving = self._connect(remote_of(offer["sdp"]))
        self._answer(offer)
        self._shake([one for one in (self.sending, self.receiving) if one is not None])
        ready = time.perf_counter() - began
        if first_packet:
            self._wait_packet()
        return Joined(answered, ready, time.perf_counter() - began)

    def leave(self) -> None:
        self._result(self._ask("call.leave"))

    def send_audio(self, sequence: int) -> None:
        assert self.sending is not None
        assert self.sending.pair is not None
        header = b"\x80" + bytes([OPUS]) + sequence.to_bytes(2, "big")
        header += (sequence * 960 & 0xFFFFFFFF).to_bytes(4, "big") + AUDIO_SSRC.to_bytes(4, "big")
        self.sending.socket.send(self.sending.pair.seal_rtp(header + bytes(80)))

    def keep_alive(self) -> None:
        for lane in (self.sending, self.receiving):
            if lane is not None:
                lane.check()

    def catch_up(self) -> None:
        """Handle what the server has said meanwhile, so that nobody waits for this one's answer."""
        assert self._socket is not None
        while self._socket.readable():
            self._read()
        if self._offers and self.receiving is not None:
            self._answer(self._offers[-1])

    @property
    def socket(self) -> socket.socket | None:
        """Its WebSocket's."""
        return None if self._socket is None else self._socket.socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        for lane in (self.sending, self.receiving):
            if lane is not None:
                lane.close()

    # ---- inside ---------------------------------------------------------------------------------------

    def _ask(self, method: str, **params: Any) -> int:
        assert self._socket is not None
        number = next(self._ids)
        self._socket.send(msgspec.json.encode(
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        ))  # fmt: skip
        return number

    def _result(self, number: int) -> dict[str, Any]:
        while True:
            message = self._read()
            if message.get("id") == number:
                result: dict[str, Any] = message["result"]
                return result

    def _read(self) -> dict[str, Any]:
        assert self._socket is not None
        message: dict[str, Any] = msgspec.json.decode(self._socket.receive())
        if "error" in message:
            raise RuntimeError(str(message["error"]))
        if message.get("method") == "sfu.offer":
            self._offers.append(message["params"])
        return message

    def _answer(self, offer: dict[str, Any]) -> None:
        self._offers.clear()
        answer = answer_to(offer["sdp"], self._ufrag, self._pwd, self._fingerprint)
        self._ask("sfu.answer", offerId=offer["offerId"], sdp=answer)

    def _connect(self, remote: Remote) -> Lane:
        lane = Lane(self.certificate, remote, self._ufrag)
        lane.check()
        return lane

    def _shake(self, lanes: list[Lane]) -> None:
        poll = select.poll()
        by_fd = {lane.socket.fileno(): lane for lane in lanes}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + PATIENCE_S
        while any(lane.pair is None for lane in lanes):
            ready = poll.poll(_CHECK_AGAIN_S * 1000)
            for fd, _ in ready:
                media = by_fd[fd].receive()
                if media is not None:
                    self._early.append(media)
            if not ready:
                for lane in lanes:
                    lane.repeat()
            if time.monotonic() > deadline:
                raise TimeoutError("no DTLS in time")

    def _wait_packet(self) -> None:
        assert self.receiving is not None
        assert self.receiving.pair is not None
        self.receiving.socket.settimeout(PATIENCE_S)
        while True:
            data = self._early.pop(0) if self._early else self.receiving.receive()
            if data is None or 192 <= data[1] <= 223:
                continue
            try:
                self.receiving.pair.open_rtp_untrusted(data)
            except SrtpError as error:
                raise RuntimeError(f"a packet that cannot be opened: {error.verdict.name}") from None
            return


_offers: dict[int, str] = {}


def send_offer_once(certificate: Certificate) -> str:
    """The offer of every speaker, written once: only ufrag and password are put in."""
    key = id(certificate)
    if key not in _offers:
        _offers[key] = send_offer(ufrag="UFRAG", pwd="P" * 22, fingerprint=certificate.fingerprint("sha-256"))
    return _offers[key]
