"""A WebRTC endpoint up to its keys: ICE (controlling) and DTLS over a socket of its own, under Trio.

Afterwards socket and keys are the native driver's; `keep_alive` repeats the check that consent asks for.
"""

from __future__ import annotations

import secrets
import socket
import time

import trio

from bench.load.buffers import enlarge
from bench.load.veth import where_receivers_are
from rtp_core.srtp import Profile, SrtpPair
from server.rtc.certificate import Certificate
from server.rtc.dtls import DtlsSession, LocalRole
from server.rtc.parameters import Fingerprint, IceParameters
from tests.harness import stun

_UDP_GRO = 104
_SO_TIMESTAMPNS = 35
_SOL_UDP = 17


class Endpoint:
    def __init__(self, certificate: Certificate, address: str) -> None:
        self.certificate = certificate
        self.ufrag, self.pwd = secrets.token_hex(4), secrets.token_hex(16)
        with where_receivers_are():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((address, 0))
        self.pair: SrtpPair | None = None
        self.profile = ""  # of SRTP, once connected
        self._check = b""

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.socket.getsockname()
        return host, port

    async def connect(self, ice: IceParameters, fingerprint: Fingerprint, role: LocalRole) -> None:
        candidate = next(one for one in ice.candidates if one.protocol == "udp" and ":" not in one.address)
        self.socket.connect((candidate.address, candidate.port))
        request = stun.Message(stun.BINDING_REQUEST)
        request.attributes = [
            (stun.USERNAME, f"{ice.username_fragment}:{self.ufrag}".encode()),
            (stun.ICE_CONTROLLING, b"\xff" * 8),  # nobody else is
            (stun.PRIORITY, b"\x6e\x7f\x1e\xff"),
            (stun.USE_CANDIDATE, b""),
        ]
        self._check = stun.encode(request, password=ice.password)
        dtls = DtlsSession(self.certificate, role, [fingerprint])
        connected = False
        next_check = 0.0
        while dtls.srtp is None:
            now = time.monotonic()
            if now >= next_check and not connected:
                self.keep_alive()
                next_check = now + 0.2
            timeout = dtls.next_timeout(now)
            if timeout is not None and timeout <= now:
                dtls.handle_timer(now)
            self._flush(dtls)
            with trio.move_on_after(0.1):
                await trio.lowlevel.wait_readable(self.socket)
            data = self._receive()
            while data is not None:
                if stun.is_stun(data):
                    message = stun.decode(data)
                    if message.type == stun.BINDING_REQUEST:  # the other side is no lite one
                        answer = stun.Message(stun.BINDING_SUCCESS, message.transaction)
                        mapped = stun.xor_address(self.socket.getpeername(), message.transaction)
                        answer.attributes = [(stun.XOR_MAPPED_ADDRESS, mapped)]
                        self.socket.send(stun.encode(answer, password=self.pwd))
                    if not connected and message.type == stun.BINDING_SUCCESS:
                        connected = True
                        if role == "client":
                            dtls.start(time.monotonic())
                elif 20 <= data[0] < 64:
                    dtls.receive_untrusted(data, time.monotonic())
                data = self._receive()
            if dtls.state == "failed":
                raise RuntimeError(f"DTLS: {dtls.failure}")
            self._flush(dtls)
        self.profile = dtls.srtp.profile
        self.pair = SrtpPair(Profile[dtls.srtp.profile], dtls.srtp.send_key, dtls.srtp.recv_key)

    def keep_alive(self) -> None:
        self.socket.send(self._check)

    def listen(self, *, gro: bool, stamps: bool) -> None:
        """What the native driver wants of a receiving socket."""
        enlarge(self.socket)
        self.socket.setsockopt(_SOL_UDP, _UDP_GRO, int(gro))
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, int(stamps))

    def close(self) -> None:
        self.socket.close()

    def _receive(self) -> bytes | None:
        try:
            return self.socket.recv(2048)
        except (BlockingIOError, ConnectionRefusedError):
            return None

    def _flush(self, dtls: DtlsSession) -> None:
        for datagram in dtls.datagrams_to_send():
            self.socket.send(datagram)
