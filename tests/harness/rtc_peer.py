"""A WebRTC endpoint without a browser: ICE (controlling), DTLS and SRTP over one UDP or TCP path, under Trio.

    peer = RtcPeer(transport.ice, transport.fingerprint)
    transport.connect(peer.dtls_parameters)
    async with peer:
        await peer.wait_connected()
        await peer.send_rtp(RtpPacket(...))
        packet = await peer.wait_rtp(lambda packet: packet.ssrc == 1234)

It checks what it gets: integrity of STUN answers, the certificate's fingerprint, SRTP authentication. What
fails a check is counted in `peer.errors` and dropped.
"""

from __future__ import annotations

import collections
import ipaddress
import secrets
import struct
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Literal, Self, TypeVar

import pylibsrtp
import trio

from server.rtc.certificate import Certificate
from server.rtc.dtls import DtlsSession, LocalRole, SrtpKeys
from server.rtc.parameters import DtlsParameters, Fingerprint, IceCandidate, IceParameters
from tests.harness import stun
from tests.harness.rtp import RtpPacket, is_rtcp

T = TypeVar("T")

_PROFILES = {
    "AEAD_AES_128_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    "AES128_CM_SHA1_80": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}


class RtcPeer:
    def __init__(
        self,
        ice: IceParameters,
        fingerprint: Fingerprint,
        *,
        protocol: Literal["udp", "tcp"] = "udp",
        dtls_role: LocalRole = "client",
        certificate: Certificate | None = None,
        ufrag: str | None = None,
        pwd: str | None = None,
        candidate: IceCandidate | None = None,
        check_interval: float = 0.05,  # s, until connected
        consent_interval: float = 2.0,  # s, afterwards
    ) -> None:
        self.ufrag = ufrag or secrets.token_hex(4)
        self.pwd = pwd or secrets.token_hex(16)
        self.remote = ice
        self.candidate = candidate or _choose(ice, protocol)
        self.protocol = protocol
        self.certificate = certificate or Certificate.generate(time.time())
        self.dtls = DtlsSession(self.certificate, dtls_role, [fingerprint])
        self.check_interval = check_interval
        self.consent_interval = consent_interval

        self.rtp: list[RtpPacket] = []  # everything received, decrypted
        self.rtcp: list[bytes] = []  # compounds, decrypted
        self.errors: collections.Counter[str] = collections.Counter()
        self.checks_sent = 0
        self.checks_answered = 0
        self.rtts: list[float] = []  # s, of answered checks
        self.mapped_address: tuple[str, int] | None = None  # as the server sees us
        self.consent = True  # keep sending checks; False lets the server's consent expire
        self.on_rtp: Callable[[RtpPacket, float], None] | None = None

        self._pending: dict[bytes, tuple[float, str]] = {}  # when it was sent, with which password
        self._ice_connected = trio.Event()
        self._connected = trio.Event()
        self._news = trio.Condition()
        self._send_srtp: pylibsrtp.Session | None = None
        self._recv_srtp: pylibsrtp.Session | None = None
        self._path: _Udp | _Tcp | None = None
        self._stack = AsyncExitStack()
        self._nursery: trio.Nursery | None = None
        self._receiving = trio.CancelScope()
        self._tie_breaker = secrets.token_bytes(8)

    # ---- set up and tear down ----

    @property
    def dtls_parameters(self) -> DtlsParameters:
        """What the server's transport is to be connected with."""
        return DtlsParameters([self.certificate.fingerprint("sha-256")], self.dtls.role)

    async def __aenter__(self) -> Self:
        self._path = await _open(self.candidate, self.protocol)
        self._nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._nursery.start_soon(self._receive_loop)
        self._nursery.start_soon(self._check_loop)
        self._nursery.start_soon(self._dtls_loop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Leave with close_notify, as a closed page does."""
        assert self._nursery is not None
        assert self._path is not None
        with trio.move_on_after(1, shield=True):
            self.dtls.close()
            await self._flush_dtls()
        self._nursery.cancel_scope.cancel()
        try:
            return await self._stack.__aexit__(kind, error, trace)
        finally:
            await self._path.aclose()

    async def wait_ice_connected(self) -> None:
        await self._ice_connected.wait()

    async def wait_connected(self) -> SrtpKeys:
        """Until ICE and DTLS are up. RuntimeError if DTLS failed."""
        await self._connected.wait()
        if self.dtls.srtp is None:
            raise RuntimeError(f"DTLS: {self.dtls.failure}")
        return self.dtls.srtp

    def restart_ice(self, ice: IceParameters) -> None:
        """Go on with the server's fresh credentials and our own fresh ones, on the same path."""
        self.remote = ice
        self.ufrag, self.pwd = secrets.token_hex(4), secrets.token_hex(16)

    async def rebind(self) -> None:
        """Go on from another local port, as after a NAT's change of mind; the keys stay."""
        assert self._nursery is not None
        assert self._path is not None
        old, self._path = self._path, await _open(self.candidate, self.protocol)
        self._receiving.cancel()
        await old.aclose()
        self._nursery.start_soon(self._receive_loop)
        await self.send_check()

    # ---- sending ----

    async def send_rtp(self, packet: RtpPacket | bytes) -> None:
        assert self._send_srtp is not None, "not connected"
        data = packet.to_bytes() if isinstance(packet, RtpPacket) else packet
        await self.send_raw(self._send_srtp.protect(data))

    async def send_rtcp(self, compound: bytes) -> None:
        assert self._send_srtp is not None, "not connected"
        await self.send_raw(self._send_srtp.protect_rtcp(compound))

    async def send_raw(self, data: bytes) -> None:
        """One datagram as it is."""
        assert self._path is not None
        try:
            await self._path.send(data)
        except OSError:
            self.errors["send"] += 1

    async def send_check(self) -> None:
        """A binding request that nominates (RFC 8445, section 7.2.4)."""
        request = stun.Message(stun.BINDING_REQUEST)
        request.attributes = [
            (stun.USERNAME, f"{self.remote.username_fragment}:{self.ufrag}".encode()),
            (stun.ICE_CONTROLLING, self._tie_breaker),
            (stun.PRIORITY, struct.pack("!I", 0x6E7F1EFF)),
            (stun.USE_CANDIDATE, b""),
        ]
        self._pending[request.transaction] = time.monotonic(), self.remote.password
        self.checks_sent += 1
        await self.send_raw(stun.encode(request, password=self.remote.password))

    # ---- waiting for what comes ----

    async def wait_rtp(self, accept: Callable[[RtpPacket], bool] = lambda packet: True) -> RtpPacket:
        """The first received packet, past or future, that is accepted."""
        return await self._wait(self.rtp, accept)

    async def wait_rtcp(self, accept: Callable[[bytes], bool] = lambda compound: True) -> bytes:
        return await self._wait(self.rtcp, accept)

    async def wait_rtp_count(self, count: int) -> None:
        async with self._news:
            while len(self.rtp) < count:
                await self._news.wait()

    async def _wait(self, received: list[T], accept: Callable[[T], bool]) -> T:
        seen = 0
        async with self._news:
            while True:
                for item in received[seen:]:
                    if accept(item):
                        return item
                seen = len(received)
                await self._news.wait()

    # ---- inside ----

    async def _receive_loop(self) -> None:
        assert self._path is not None
        path = self._path
        with trio.CancelScope() as self._receiving:
            while True:
                try:
                    data = await path.receive()
                except (OSError, trio.ClosedResourceError):
                    self.errors["receive"] += 1
                    await trio.sleep(0.02)  # an ICMP refusal; the checks go on
                    continue
                if data is None:
                    return
                await self._received(data, time.monotonic())

    async def _received(self, data: bytes, now: float) -> None:
        """RFC 7983."""
        if stun.is_stun(data):
            await self._received_stun(data, now)
        elif data and 20 <= data[0] <= 63:
            self.dtls.receive_untrusted(data, now)
            await self._flush_dtls()
        elif data and 128 <= data[0] <= 191:
            await self._received_srtp(data, now)
        else:
            self.errors["unknown"] += 1

    async def _received_stun(self, data: bytes, now: float) -> None:
        try:
            message = stun.decode(data)
        except stun.StunError:
            self.errors["stun malformed"] += 1
            return
        if message.type == stun.BINDING_REQUEST:
            await self._answer_check(data, message)
            return
        sent, password = self._pending.pop(message.transaction, (None, ""))
        if sent is None:
            self.errors["stun transaction"] += 1
        elif message.type == stun.BINDING_ERROR:
            self.errors[f"stun {message.error}"] += 1
        elif not stun.has_integrity(data, password):
            self.errors["stun integrity"] += 1
        else:
            self.checks_answered += 1
            self.rtts.append(now - sent)
            self.mapped_address = message.mapped_address
            self._ice_connected.set()

    async def _answer_check(self, data: bytes, request: stun.Message) -> None:
        assert self._path is not None
        if not stun.has_integrity(data, self.pwd):
            self.errors["stun integrity"] += 1
            return
        answer = stun.Message(stun.BINDING_SUCCESS, request.transaction)
        address = stun.xor_address((self.candidate.address, self.candidate.port), request.transaction)
        answer.attributes = [(stun.XOR_MAPPED_ADDRESS, address)]
        await self.send_raw(stun.encode(answer, password=self.pwd))

    async def _received_srtp(self, data: bytes, now: float) -> None:
        if self._recv_srtp is None:
            self.errors["srtp before keys"] += 1
            return
        try:
            if is_rtcp(data):
                self.rtcp.append(self._recv_srtp.unprotect_rtcp(data))
            else:
                packet = RtpPacket.from_bytes(self._recv_srtp.unprotect(data))
                self.rtp.append(packet)
                if self.on_rtp is not None:
                    self.on_rtp(packet, now)
        except pylibsrtp.Error as error:
            self.errors[f"srtp {error}"] += 1
            return
        async with self._news:
            self._news.notify_all()

    async def _check_loop(self) -> None:
        while True:
            if self.consent:
                await self.send_check()
            fast = not self._ice_connected.is_set()
            await trio.sleep(self.check_interval if fast else self.consent_interval)

    async def _dtls_loop(self) -> None:
        await self._ice_connected.wait()
        if self.dtls.role == "client":
            self.dtls.start(time.monotonic())
        while not self._connected.is_set():
            await self._flush_dtls()
            await trio.sleep(0.05)
            self.dtls.handle_timer(time.monotonic())

    async def _flush_dtls(self) -> None:
        for datagram in self.dtls.datagrams_to_send():
            await self.send_raw(datagram)
        if self.dtls.state == "failed":
            self._connected.set()
        elif self.dtls.srtp is not None and self._send_srtp is None:
            keys = self.dtls.srtp
            self._send_srtp = _srtp(keys, keys.send_key, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
            self._recv_srtp = _srtp(keys, keys.recv_key, pylibsrtp.Policy.SSRC_ANY_INBOUND)
            self._connected.set()


async def wait_until(condition: Callable[[], bool]) -> None:
    """Look every 10 ms; the caller sets the time limit."""
    while not condition():  # noqa: ASYNC110 - what is waited for lies behind a network or a thread
        await trio.sleep(0.01)


def _srtp(keys: SrtpKeys, key: bytes, direction: int) -> pylibsrtp.Session:
    policy = pylibsrtp.Policy(key=key, ssrc_type=direction, srtp_profile=_PROFILES[keys.profile])
    policy.window_size = 1024
    policy.allow_repeat_tx = True
    return pylibsrtp.Session(policy)


def _choose(ice: IceParameters, protocol: str) -> IceCandidate:
    """Loopback where it is offered, else the best of the protocol."""
    fitting = [item for item in ice.candidates if item.protocol == protocol]
    if not fitting:
        raise ValueError(f"the server has no {protocol} candidate")
    return max(fitting, key=lambda item: (ipaddress.ip_address(item.address).is_loopback, item.priority))


class _Udp:
    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket

    async def send(self, data: bytes) -> None:
        await self._socket.send(data)

    async def receive(self) -> bytes | None:
        return await self._socket.recv(65536)

    async def aclose(self) -> None:
        self._socket.close()
        await trio.lowlevel.checkpoint()


class _Tcp:
    """RFC 4571: each datagram behind its length in two bytes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._lock = trio.Lock()

    async def send(self, data: bytes) -> None:
        async with self._lock:
            try:
                await self._stream.send_all(struct.pack("!H", len(data)) + data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise OSError("the TCP connection is gone") from error

    async def receive(self) -> bytes | None:
        while True:
            if len(self._buffer) >= 2:
                end = 2 + int.from_bytes(self._buffer[:2], "big")
                if len(self._buffer) >= end:
                    data = bytes(self._buffer[2:end])
                    del self._buffer[:end]
                    return data
            try:
                more = await self._stream.receive_some(65536)
            except trio.BrokenResourceError:
                return None
            if not more:
                return None
            self._buffer += more

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)


async def _open(candidate: IceCandidate, protocol: str) -> _Udp | _Tcp:
    if protocol == "tcp":
        return _Tcp(await trio.open_tcp_stream(candidate.address, candidate.port))
    v6 = ipaddress.ip_address(candidate.address).version == 6
    socket = trio.socket.socket(trio.socket.AF_INET6 if v6 else trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    try:
        await socket.connect((candidate.address, candidate.port))
    except BaseException:
        socket.close()
        raise
    return _Udp(socket)
