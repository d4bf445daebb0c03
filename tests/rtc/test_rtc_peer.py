"""The test endpoint against a few lines of ICE-lite server, over UDP and over TCP."""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pylibsrtp
import pytest
import trio

from server.rtc.certificate import Certificate
from server.rtc.dtls import DtlsSession, local_role
from server.rtc.parameters import IceCandidate, IceParameters
from tests.harness import stun
from tests.harness.rtc_peer import RtcPeer, wait_until
from tests.harness.rtp import RtpPacket, is_rtcp, pli

UFRAG, PWD = "serverufrag", "server-password-of-some-length"


class LiteServer:
    """Answers checks, runs DTLS, and returns each SRTP packet to where it came from."""

    def __init__(self) -> None:
        self.certificate = Certificate.generate(time.time())
        self.dtls: DtlsSession | None = None
        self.ice: IceParameters | None = None
        self.outbound: pylibsrtp.Session | None = None
        self.inbound: pylibsrtp.Session | None = None
        self.checks: list[tuple[str, int]] = []

    def make_peer(self, **options: object) -> RtcPeer:
        assert self.ice is not None
        peer = RtcPeer(self.ice, self.certificate.fingerprint(), **options)  # type: ignore[arg-type]
        remote = peer.dtls_parameters
        self.dtls = DtlsSession(self.certificate, local_role(remote.role), remote.fingerprints)
        return peer

    def handle(self, data: bytes, address: tuple[str, int]) -> list[bytes]:
        now = time.monotonic()
        if stun.is_stun(data):
            return self.check(data, address)
        if 20 <= data[0] <= 63:
            assert self.dtls is not None
            self.dtls.receive_untrusted(data, now)
            return self.dtls.datagrams_to_send()
        return self.echo(data)

    def check(self, data: bytes, address: tuple[str, int]) -> list[bytes]:
        request = stun.decode(data)
        answer = stun.Message(stun.BINDING_SUCCESS, request.transaction)
        username = request.get(stun.USERNAME)
        known = username is not None and username.startswith(UFRAG.encode() + b":")
        if not known or not stun.has_integrity(data, PWD):
            answer.type = stun.BINDING_ERROR
            answer.attributes = [(stun.ERROR_CODE, bytes([0, 0, 4, 1]))]
            return [stun.encode(answer)]
        self.checks.append(address)
        answer.attributes = [(stun.XOR_MAPPED_ADDRESS, stun.xor_address(address, request.transaction))]
        out = [stun.encode(answer, password=PWD)]
        if self.dtls is not None and self.dtls.role == "client":
            self.dtls.start(time.monotonic())
            out += self.dtls.datagrams_to_send()
        return out

    def echo(self, data: bytes) -> list[bytes]:
        assert self.dtls is not None
        assert self.dtls.srtp is not None
        if self.outbound is None or self.inbound is None:
            keys = self.dtls.srtp
            assert keys.profile == "AEAD_AES_128_GCM"
            profile = pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM
            self.outbound, self.inbound = (
                pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=kind, srtp_profile=profile))
                for key, kind in (
                    (keys.send_key, pylibsrtp.Policy.SSRC_ANY_OUTBOUND),
                    (keys.recv_key, pylibsrtp.Policy.SSRC_ANY_INBOUND),
                )
            )
        if is_rtcp(data):
            return [self.outbound.protect_rtcp(self.inbound.unprotect_rtcp(data))]
        return [self.outbound.protect(self.inbound.unprotect(data))]


@asynccontextmanager
async def udp_server() -> AsyncIterator[LiteServer]:
    server = LiteServer()
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        candidate = IceCandidate("1", 1, "127.0.0.1", socket.getsockname()[1], "udp")
        server.ice = IceParameters(UFRAG, PWD, [candidate])

        async def serve() -> None:
            while True:
                data, address = await socket.recvfrom(65536)
                for out in server.handle(data, address):
                    await socket.sendto(out, address)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield server
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def tcp_server() -> AsyncIterator[LiteServer]:
    server = LiteServer()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    candidate = IceCandidate("1", 1, "127.0.0.1", port, "tcp", tcp_type="passive")
    server.ice = IceParameters(UFRAG, PWD, [candidate])

    async def serve(stream: trio.SocketStream) -> None:
        address = stream.socket.getpeername()
        buffer = b""
        async for more in stream:
            buffer += more
            while len(buffer) >= 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big"):
                end = 2 + int.from_bytes(buffer[:2], "big")
                for out in server.handle(buffer[2:end], address):
                    await stream.send_all(struct.pack("!H", len(out)) + out)
                buffer = buffer[end:]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield server
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_media_and_reports_there_and_back(protocol: str, role: str) -> None:
    with trio.fail_after(20):
        async with udp_server() if protocol == "udp" else tcp_server() as server:
            async with server.make_peer(protocol=protocol, dtls_role=role) as peer:
                keys = await peer.wait_connected()
                assert keys.profile == "AEAD_AES_128_GCM"
                sent = RtpPacket(96, 7, 1000, 42, b"hello", True, {1: b"mid", 5: b"\x01\x02"})
                await peer.send_rtp(sent)
                assert await peer.wait_rtp() == sent
                await peer.send_rtcp(pli(1, 2))
                assert await peer.wait_rtcp() == pli(1, 2)
                assert peer.mapped_address == server.checks[-1]
                assert not peer.errors
            dtls = server.dtls
            assert dtls is not None
            await wait_until(lambda: dtls.state == "closed")  # the peer said goodbye


async def test_another_port_keeps_the_keys() -> None:
    with trio.fail_after(20):
        async with udp_server() as server, server.make_peer() as peer:
            await peer.wait_connected()
            before = peer.mapped_address
            await peer.rebind()
            await wait_until(lambda: peer.mapped_address != before)
            await peer.send_rtp(RtpPacket(96, 1, 1, 1, b"x"))
            assert (await peer.wait_rtp()).payload == b"x"


async def test_a_wrong_password_is_answered_by_401() -> None:
    with trio.fail_after(20):
        async with udp_server() as server:
            assert server.ice is not None
            server.ice = IceParameters(UFRAG, "another-password-than-theirs", server.ice.candidates)
            async with server.make_peer() as peer:
                await wait_until(lambda: peer.errors["stun 401"] > 0)
                assert peer.checks_answered == 0


async def test_a_wrong_certificate_fails() -> None:
    with trio.fail_after(20):
        async with udp_server() as server:
            peer = server.make_peer()
            server.dtls = DtlsSession(server.certificate, "server", [server.certificate.fingerprint()])
            async with peer:
                dtls = server.dtls
                await wait_until(lambda: dtls.state == "failed")
            assert dtls.srtp is None
