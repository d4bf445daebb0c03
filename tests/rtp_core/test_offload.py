"""UDP_GRO and UDP_SEGMENT over real sockets, without them, and where the kernel refuses a message."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator

import pylibsrtp
import pytest

from rtp_core.engine import Engine
from rtp_core.pipeline import Pipeline
from rtp_core.srtp import Profile, SrtpPair
from tests.harness import stun
from tests.harness.rtp import RtpPacket, is_rtcp
from tests.rtp_core.world import OPUS

SOL_UDP, UDP_SEGMENT, SO_NO_CHECK = 17, 103, 11
SIZES = [1000] * 8 + [999] * 3 + [1000, 1001, 1000, 12, 300, 300, 299, 1200] + [40] * 70 + [1100] * 40


class Leg:
    """A transport of the engine, and the far end's socket."""

    def __init__(self, core: Pipeline, router: int, name: str, server: tuple[str, int]) -> None:
        self.core = core
        self.handle = core.add_transport(router, name.encode(), b"password-" + name.encode(), 1)
        up, down = os.urandom(28), os.urandom(28)
        self.pair = SrtpPair(Profile.AEAD_AES_128_GCM, down, up)
        core.set_srtp(self.handle, self.pair)
        profile = int(Profile.AEAD_AES_128_GCM)
        self.out = pylibsrtp.Session(
            pylibsrtp.Policy(key=up, ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile)
        )
        self.into = pylibsrtp.Session(
            pylibsrtp.Policy(key=down, ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND, srtp_profile=profile)
        )
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.settimeout(5)
        self.socket.connect(server)
        request = stun.Message(stun.BINDING_REQUEST)
        request.attributes = [(stun.USERNAME, f"{name}:far".encode()), (stun.USE_CANDIDATE, b"")]
        self.socket.send(stun.encode(request, password=f"password-{name}"))
        assert stun.decode(self.socket.recv(2048)).type == stun.BINDING_SUCCESS

    def receive(self, count: int) -> list[RtpPacket]:
        found: list[RtpPacket] = []
        while len(found) < count:
            data = self.socket.recv(2048)
            if data[0] >= 128 and not is_rtcp(data):
                found.append(RtpPacket.from_bytes(self.into.unprotect(data)))
        return found


@contextlib.contextmanager
def running(
    *, offload: bool, refuse: bool = False, out_packets: int = 256
) -> Iterator[tuple[Engine, Pipeline, tuple[str, int]]]:
    core = Pipeline(scale=16, out_packets=out_packets)
    bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
    core.attach_bells(*bells)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        udp.setsockopt(socket.IPPROTO_IP, 8, 1)
        if refuse:  # without checksums the kernel cuts nothing: EINVAL
            udp.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        engine = Engine(core, [udp.fileno()], [], offload=offload)
        thread = threading.Thread(target=engine.run)
        thread.start()
        try:
            yield engine, core, udp.getsockname()
        finally:
            engine.stop()
            thread.join(5)
            core.attach_bells(-1, -1)
            for fd in bells:
                os.close(fd)


def send_coalesced(leg: Leg, packets: list[bytes]) -> None:
    """As few system calls as sizes allow, as a client with UDP_SEGMENT would."""
    at = 0
    while at < len(packets):
        end = at + 1
        while end < len(packets) and len(packets[end]) == len(packets[at]) and end - at < 40:
            end += 1
        size = len(packets[at]).to_bytes(2, "little")
        leg.socket.sendmsg([b"".join(packets[at:end])], [(SOL_UDP, UDP_SEGMENT, size)])
        at = end


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("refuse", [True, False])
@pytest.mark.parametrize("out_packets", [256, 3])
def test_every_packet_arrives_once_and_in_order(offload: bool, refuse: bool, out_packets: int) -> None:
    with running(offload=offload, refuse=refuse, out_packets=out_packets) as (engine, core, server):
        router = core.add_router({1: 1, 7: 2})
        sender = Leg(core, router, "sender", server)
        receivers = [Leg(core, router, f"receiver{n}", server) for n in range(3)]
        producer = core.add_producer(
            sender.handle, video=False, mid=b"0", ssrc=9, rtx_ssrc=0, payloads=[OPUS], extensions={}
        )
        for n, one in enumerate(receivers):
            core.add_consumer(
                one.handle, producer, ssrc=100 + n, rtx_ssrc=0, mid=b"%d" % n, cname=b"c", paused=False
            )
        bodies = [bytes([n & 255]) * size for n, size in enumerate(SIZES)]
        packets = [RtpPacket(109, n, n * 960, 9, body) for n, body in enumerate(bodies)]
        send_coalesced(sender, [sender.out.protect(packet.to_bytes()) for packet in packets])
        for n, one in enumerate(receivers):
            found = one.receive(len(SIZES))
            assert [p.payload for p in found] == bodies
            assert {p.ssrc for p in found} == {100 + n}
            assert len({(p.sequence - k) & 0xFFFF for k, p in enumerate(found)}) == 1
            assert not select.select([one.socket], [], [], 0)[0]
            one.socket.close()
        sender.socket.close()
        assert engine.offload == ((offload, offload),)
        counters = core.counters()
    assert counters["send_errors"] == counters["send_refused"] == 0
    assert (counters["messages_in"] < 30) is offload
    assert (counters["segments_refused"] > 0) is (offload and refuse)
    if offload and not refuse and out_packets == 256:
        assert counters["messages_out"] < 120


def test_a_receivers_packets_are_not_parted_where_memory_ends() -> None:
    """Room for 20 packets, eight to each of three: what is written leaves before the third's are begun."""
    with running(offload=True, out_packets=20) as (_, core, server):
        router = core.add_router({})
        sender = Leg(core, router, "sender", server)
        receivers = [Leg(core, router, f"receiver{n}", server) for n in range(3)]
        producer = core.add_producer(
            sender.handle, video=False, mid=b"0", ssrc=9, rtx_ssrc=0, payloads=[OPUS], extensions={}
        )
        for n, one in enumerate(receivers):
            core.add_consumer(
                one.handle, producer, ssrc=100 + n, rtx_ssrc=0, mid=b"", cname=b"c", paused=False
            )
        packets = [RtpPacket(109, n, n * 960, 9, bytes(1000)) for n in range(8)]
        send_coalesced(sender, [sender.out.protect(packet.to_bytes()) for packet in packets])
        for one in receivers:
            assert len(one.receive(8)) == 8
            one.socket.close()
        sender.socket.close()
    counters = core.counters()
    others = counters["packets_out"] - counters["forwarded"]  # each in a message of its own
    assert counters["messages_out"] - others == 3


def test_addresses_are_not_mixed() -> None:
    """Packets of one size to two addresses in turn: no message may hold both."""
    with running(offload=True) as (_, core, server):
        router = core.add_router({})
        sender = Leg(core, router, "sender", server)
        one, other = Leg(core, router, "one", server), Leg(core, router, "other", server)
        for n in range(20):
            producer = core.add_producer(
                sender.handle,
                video=False,
                mid=b"%d" % n,
                ssrc=n + 1,
                rtx_ssrc=0,
                payloads=[OPUS],
                extensions={},
            )
            for leg in (one, other):
                core.add_consumer(
                    leg.handle, producer, ssrc=200 + n, rtx_ssrc=0, mid=b"", cname=b"c", paused=False
                )
        packets = [
            sender.out.protect(RtpPacket(109, 1, 0, n + 1, b"%020d" % n).to_bytes()) for n in range(20)
        ]
        send_coalesced(sender, packets)
        for leg in (one, other):
            assert sorted(p.payload for p in leg.receive(20)) == [b"%020d" % n for n in range(20)]
            leg.socket.close()
        sender.socket.close()


def test_buffers_and_what_they_had_no_room_for_are_told() -> None:
    core = Pipeline(scale=16)
    bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
    core.attach_bells(*bells)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        granted = udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        for _ in range(200):  # nobody reads yet
            far.sendto(bytes(1000), udp.getsockname())
        engine = Engine(core, [udp.fileno()], [])
        thread = threading.Thread(target=engine.run)
        thread.start()
        try:
            while core.counters()["receive_lost"] == 0:
                far.sendto(b"?", udp.getsockname())
        finally:
            engine.stop()
            thread.join(5)
            core.attach_bells(-1, -1)
            for fd in bells:
                os.close(fd)
    found = core.counters()
    assert found["receive_lost"] >= 190
    assert found["receive_buffer"] == granted
    assert found["send_buffer"] > 0
    assert found["receive_queue_max"] <= 2 * granted
