"""Two engines' threads over loopback: a flood crosses while what it is for comes and goes."""

from __future__ import annotations

import functools
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pylibsrtp
import pytest

from rtp_core.engine import Engine
from rtp_core.mesh import Mesh
from rtp_core.pipeline import Pipeline
from rtp_core.srtp import Profile, SrtpPair
from tests.harness import stun
from tests.harness.rtp import RtpPacket
from tests.rtp_core.world import OPUS

PROFILE = Profile.AEAD_AES_128_GCM


class Thread:
    def __init__(self, core: Pipeline) -> None:
        self.core = core
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.setblocking(False)
        self.udp.setsockopt(socket.IPPROTO_IP, 8, 1)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.core.attach_bells(*self.bells)
        self.peers: list[Peer] = []

    def start(self) -> None:
        self.engine = Engine(self.core, [self.udp.fileno()], [])
        self.thread = threading.Thread(target=self.engine.run)
        self.thread.start()
        self.router = self.core.add_router({})

    def stop(self) -> None:
        if not self.thread.is_alive():
            return
        self.engine.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()

    def close(self) -> None:
        self.core.attach_bells(-1, -1)
        for fd in self.bells:
            os.close(fd)
        self.udp.close()
        for peer in self.peers:
            peer.socket.close()

    def drained(self) -> bool:
        while self.core.poll():
            pass
        found = self.core.counters()
        return all(found[name] == 0 for name in ("transports", "producers", "consumers", "relays"))


class Peer:
    """A transport and its far end, with keys but without DTLS."""

    def __init__(self, thread: Thread, name: str) -> None:
        self.thread = thread
        thread.peers.append(self)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(thread.udp.getsockname())
        self.socket.settimeout(5)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.handle = thread.core.add_transport(thread.router, name.encode(), b"password-1", 1)
        up, down = secrets.token_bytes(28), secrets.token_bytes(28)
        thread.core.set_srtp(self.handle, SrtpPair(PROFILE, down, up))
        self.out = self._session(up, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        self.into = self._session(down, pylibsrtp.Policy.SSRC_ANY_INBOUND)
        request = stun.Message(stun.BINDING_REQUEST)
        request.attributes = [(stun.USERNAME, f"{name}:far".encode()), (stun.USE_CANDIDATE, b"")]
        self.socket.send(stun.encode(request, password="password-1"))
        assert stun.decode(self.socket.recv(2048)).type == stun.BINDING_SUCCESS

    @staticmethod
    def _session(key: bytes, direction: int) -> pylibsrtp.Session:
        return pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=direction, srtp_profile=int(PROFILE)))

    def received(self) -> list[RtpPacket]:
        """What waits, RTCP left out. An error of authentication is raised."""
        found: list[RtpPacket] = []
        self.socket.setblocking(False)
        while True:
            try:
                data = self.socket.recv(2048)
            except BlockingIOError:
                return found
            if data[0] >= 128 and not 192 <= data[1] <= 223:
                found.append(RtpPacket.from_bytes(self.into.unprotect(data)))


@pytest.fixture
def two() -> Iterator[list[Thread]]:
    cores = [Pipeline(scale=64) for _ in range(2)]
    Mesh(cores, slots=64)
    threads = [Thread(core) for core in cores]
    for thread in threads:
        thread.start()
    yield threads
    for thread in threads:
        thread.stop()
    for thread in threads:
        thread.close()


def mirror(home: Thread, away: Thread, producer: int) -> tuple[int, int, int]:
    pipe = away.core.add_transport(away.router, b"", b"", 0)
    made = away.core.add_producer(
        pipe, video=False, mid=b"0", ssrc=0, rtx_ssrc=0, payloads=[OPUS], extensions={}, origin=(0, producer)
    )
    return pipe, made, home.core.add_relay(producer, 1, made)


def produce(peer: Peer, ssrc: int) -> int:
    return peer.thread.core.add_producer(
        peer.handle, video=False, mid=b"0", ssrc=ssrc, rtx_ssrc=0, payloads=[OPUS], extensions={}
    )


def consume(peer: Peer, producer: int, ssrc: int) -> int:
    return peer.thread.core.add_consumer(
        peer.handle, producer, ssrc=ssrc, rtx_ssrc=0, mid=b"0", cname=b"x", paused=False
    )


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_everything_crosses_in_order(two: list[Thread]) -> None:
    home, away = two
    sender, receiver = Peer(home, "u1"), Peer(away, "u2")
    consume(receiver, mirror(home, away, produce(sender, 7))[1], 9)
    until(lambda: away.core.counters()["consumers"] == 1)
    time.sleep(0.05)
    got: list[RtpPacket] = []

    def arrived(count: int) -> bool:
        got.extend(receiver.received())
        return len(got) >= count

    for n in range(2_000):
        sender.socket.send(sender.out.protect(RtpPacket(109, n, n * 960, 7, b"%05d" % n).to_bytes()))
        if n % 8 == 0:  # no buffer on the way has to drop any
            until(functools.partial(arrived, n - 32))
    until(functools.partial(arrived, 2_000))
    assert [packet.payload for packet in got] == [b"%05d" % n for n in range(2_000)]


@pytest.mark.parametrize("first", [0, 1])
def test_either_engine_may_stop_first(two: list[Thread], first: int) -> None:
    """The other goes on: what it hands over finds nobody, is counted, and costs nothing else."""
    home, away = two
    sender, near, far = Peer(home, "u1"), Peer(home, "u2"), Peer(away, "u3")
    producer = produce(sender, 7)
    consume(far, mirror(home, away, producer)[1], 9)
    consume(near, producer, 9)
    until(lambda: away.core.counters()["commands"] >= 5 and home.core.counters()["commands"] >= 7)
    two[first].stop()
    for n in range(200):
        sender.socket.send(sender.out.protect(RtpPacket(109, n, n * 960, 7, b"%05d" % n).to_bytes()))
        time.sleep(0.0002)
    if first == 1:
        until(lambda: home.core.counters()["relay_audio_dropped"] == 200 - 60)
        until(lambda: len(near.received()) > 0)
    else:
        away.core.remove(far.handle)
        until(lambda: away.core.counters()["commands"] >= 6)


@pytest.mark.parametrize("seed", range(3))
def test_what_it_is_for_comes_and_goes(two: list[Thread], seed: int) -> None:
    """Nothing is read after it was freed, nothing is left, and what is heard is authentic and in order."""
    rng = random.Random(seed)
    home, away = two
    peers = [Peer(home, "u1"), Peer(away, "u2")]
    sender, receiver = peers
    stop = threading.Event()

    def flood() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            sender.socket.send(sender.out.protect(RtpPacket(109, n & 0xFFFF, n, 7, b"%09d" % n).to_bytes()))
            if n % 32 == 0:
                time.sleep(0.0005)

    flooding = threading.Thread(target=flood)
    flooding.start()
    heard: dict[int, list[RtpPacket]] = {}
    try:
        for round_ in range(150):
            producer = produce(sender, 7)
            pipe, made, relay = mirror(home, away, producer)
            ssrc = 100 + round_
            consumer = consume(receiver, made, ssrc)
            for _ in range(rng.randrange(4)):
                time.sleep(0.001)
                core, handle = rng.choice([(home.core, relay), (away.core, made), (away.core, consumer)])
                rng.choice([core.pause, core.resume])(handle)
            time.sleep(rng.choice([0, 0.001, 0.004]))
            gone = [(home, producer), (home, relay), (away, pipe), (away, made), (away, consumer)]
            rng.shuffle(gone)
            for thread, handle in gone:
                thread.core.remove(handle)
            for packet in receiver.received():
                heard.setdefault(packet.ssrc, []).append(packet)
            for thread in two:
                thread.core.poll()
    finally:
        stop.set()
        flooding.join()
    assert len(heard) > 30
    for packets in heard.values():
        numbers = [int(packet.payload) for packet in packets]
        assert numbers == sorted(set(numbers))
    for peer in peers:
        peer.thread.core.remove(peer.handle)
    until(lambda: all(thread.drained() for thread in two))
