"""A pipeline and its clients in memory, on a clock that tests move: no sockets, no threads, no waiting."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable

import pylibsrtp

from rtp_core.ext import Kind
from rtp_core.pipeline import Event, Pipeline
from rtp_core.srtp import Profile, SrtpPair
from tests.harness import stun
from tests.harness.rtp import RtpPacket, is_rtcp

# The router's ids, and those that clients use: different on purpose.
ROUTER_EXTENSIONS = {Kind.MID: 1, Kind.AUDIO_LEVEL: 2, Kind.ABS_SEND_TIME: 3, Kind.TRANSPORT_CC: 4}
CLIENT_EXTENSIONS = {Kind.MID: 9, Kind.AUDIO_LEVEL: 10, Kind.ABS_SEND_TIME: 11, Kind.TRANSPORT_CC: 12}
OPUS = (109, 111, 255, 0, False, 0, False, False, 48000)
VP8 = (120, 96, 97, 1, False, 0, True, False, 90000)
VP8_RTX = (121, 97, 255, 0, True, 120, False, False, 90000)
VP8_KEY = bytes([0x10, 0x00]) + b"\x9d\x01\x2a" + bytes(20)  # RFC 7741: S, then P = 0 in the frame header
VP8_DELTA = bytes([0x10, 0x01]) + bytes(20)


def address(host: str, port: int) -> tuple[bytes, int]:
    ip = ipaddress.ip_address(host)
    return (ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed), port


class World:
    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.core = Pipeline(scale=64, out_packets=4096, seed=seed)
        self.now = 1_000_000_000
        self.clients: dict[tuple[tuple[bytes, int], int], Client] = {}
        self.events: list[Event] = []
        self.router = self.core.add_router(dict(ROUTER_EXTENSIONS))
        self.step()

    def step(self) -> None:
        """Apply commands, what other engines sent and what is due, deliver what was sent, collect events."""
        self.core.apply(self.now)
        while self.core.receive_relayed(self.now):
            self.deliver()
        self.core.tick(self.now)
        self.deliver()
        while events := self.core.poll():
            self.events += events

    def deliver(self) -> None:
        for remote, channel, data in self.core.take_sent():
            client = self.clients.get((remote, channel))
            if client is not None:
                client.take(data)

    def run(self, seconds: float, *, tick_us: int = 5_000) -> None:
        end = self.now + int(seconds * 1e6)
        while self.now < end:
            self.now = min(end, self.now + tick_us)
            self.step()

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event[0] == kind]


class Client:
    """One transport's far end: ICE checks, SRTP by pylibsrtp's own Python interface."""

    def __init__(
        self,
        world: World,
        name: str,
        *,
        port: int,
        host: str = "192.0.2.1",
        channel: int = 0,
        profile: Profile = Profile.AEAD_AES_128_GCM,
        connect: bool = True,
    ) -> None:
        self.world = world
        self.ufrag, self.password = f"ufrag-{name}", f"password-of-{name}-0123456789"
        self.handle = world.core.add_transport(
            world.router, self.ufrag.encode(), self.password.encode(), 0x1000 + port
        )
        self.channel = channel
        self.place = address(host, port)
        self.rtp: list[RtpPacket] = []
        self.rtcp: list[bytes] = []
        self.answers: list[stun.Message] = []
        self.raw: list[bytes] = []
        self.errors = 0
        self.profile = profile
        world.clients[self.place, channel] = self
        if connect:
            world.step()
            self.check()
            self.set_keys()
            world.step()

    def set_keys(self) -> None:
        size = self.profile.key_len + self.profile.salt_len
        up, down = (self.world.random.randbytes(size) for _ in range(2))
        self.pair = SrtpPair(self.profile, down, up)
        self.world.core.set_srtp(self.handle, self.pair)
        self.out = self._session(up, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        self.into = self._session(down, pylibsrtp.Policy.SSRC_ANY_INBOUND)

    def _session(self, key: bytes, direction: int) -> pylibsrtp.Session:
        policy = pylibsrtp.Policy(key=key, ssrc_type=direction, srtp_profile=int(self.profile))
        policy.window_size = 1024
        return pylibsrtp.Session(policy)

    def check(self, *, nominate: bool = True, ufrag: str | None = None, password: str | None = None) -> None:
        request = stun.Message(stun.BINDING_REQUEST)
        request.attributes = [
            (stun.USERNAME, f"{ufrag or self.ufrag}:far".encode()),
            (stun.ICE_CONTROLLING, bytes(8)),
            (stun.PRIORITY, b"\x6e\x7f\x1e\xff"),
        ]
        if nominate:
            request.attributes.append((stun.USE_CANDIDATE, b""))
        self.send(stun.encode(request, password=password or self.password))

    def move(self, host: str, port: int, *, channel: int = 0) -> None:
        """Go on from another address."""
        self.place, self.channel = address(host, port), channel
        self.world.clients[self.place, channel] = self

    def send(self, data: bytes) -> None:
        self.world.core.receive(self.world.now, self.place, data, channel=self.channel)
        self.world.deliver()

    def send_rtp(self, packet: RtpPacket) -> None:
        self.send(self.out.protect(packet.to_bytes()))

    def send_rtcp(self, compound: bytes) -> None:
        self.send(self.out.protect_rtcp(compound))

    def take(self, data: bytes) -> None:
        self.raw.append(data)
        if stun.is_stun(data):
            self.answers.append(stun.decode(data))
        elif data[0] >= 128:
            try:
                if is_rtcp(data):
                    self.rtcp.append(self.into.unprotect_rtcp(data))
                else:
                    self.rtp.append(RtpPacket.from_bytes(self.into.unprotect(data)))
            except pylibsrtp.Error:
                self.errors += 1

    def produce(self, mid: str, *, video: bool, ssrc: int = 0, rtx_ssrc: int = 0, twcc: bool = True) -> int:
        extensions = {int(k): v for k, v in CLIENT_EXTENSIONS.items() if twcc or k != Kind.TRANSPORT_CC}
        handle = self.world.core.add_producer(
            self.handle,
            video=video,
            mid=mid.encode(),
            ssrc=ssrc,
            rtx_ssrc=rtx_ssrc,
            payloads=[VP8, VP8_RTX] if video else [OPUS],
            extensions=extensions,
        )
        self.world.step()
        return handle

    def consume(
        self, producer: int, *, ssrc: int, rtx_ssrc: int = 0, mid: str = "0", paused: bool = False
    ) -> int:
        handle = self.world.core.add_consumer(
            self.handle,
            producer,
            ssrc=ssrc,
            rtx_ssrc=rtx_ssrc,
            mid=mid.encode(),
            cname=b"someone",
            paused=paused,
        )
        self.world.step()
        return handle

    def rtcp_of(self, kind: int, count: int | None = None) -> list[bytes]:
        """Received RTCP packets of a type (and count or format), out of all compounds."""
        return [one for one in packets(self.rtcp) if one[1] == kind and count in (None, one[0] & 31)]


def packets(compounds: Iterable[bytes]) -> list[bytes]:
    out = []
    for compound in compounds:
        at = 0
        while at + 4 <= len(compound):
            size = 4 * (int.from_bytes(compound[at + 2 : at + 4], "big") + 1)
            out.append(compound[at : at + size])
            at += size
    return out


def opus(sequence: int, *, ssrc: int = 0xA0, mid: str | None = None, level: int | None = None) -> RtpPacket:
    extensions: dict[int, bytes] = {}
    if mid is not None:
        extensions[CLIENT_EXTENSIONS[Kind.MID]] = mid.encode()
    if level is not None:
        extensions[CLIENT_EXTENSIONS[Kind.AUDIO_LEVEL]] = bytes([0x80 | level])
    return RtpPacket(109, sequence, sequence * 960, ssrc, b"opus%05d" % sequence, extensions=extensions)


def vp8(
    sequence: int,
    *,
    key: bool = False,
    ssrc: int = 0xB0,
    mid: str | None = None,
    frame: int | None = None,
    twcc: int | None = None,
) -> RtpPacket:
    extensions: dict[int, bytes] = {}
    if mid is not None:
        extensions[CLIENT_EXTENSIONS[Kind.MID]] = mid.encode()
    if twcc is not None:
        extensions[CLIENT_EXTENSIONS[Kind.TRANSPORT_CC]] = twcc.to_bytes(2, "big")
    body = (VP8_KEY if key else VP8_DELTA) + b"%05d" % sequence
    timestamp = (sequence if frame is None else frame) * 3000
    return RtpPacket(120, sequence, timestamp, ssrc, body, marker=True, extensions=extensions)
