"""The thread with real sockets: start, stop, ICE-TCP framing and its limits, floods."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rtp_core.engine import Engine, monotonic_us
from rtp_core.pipeline import Pipeline
from tests.harness import stun


class Running:
    """An engine on loopback with one transport, `u1` / `password-1`."""

    def __init__(self, *, tcp_connections: int = 64, busy_poll_us: int = 0) -> None:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.setblocking(False)
        self.udp.setsockopt(socket.IPPROTO_IP, 8, 1)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.tcp.setblocking(False)
        self.core = Pipeline(scale=16)
        self.core.configure(answers_per_second=1000, answers_burst=1000)
        self.bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.core.attach_bells(*self.bells)
        self.engine = Engine(
            self.core,
            [self.udp.fileno()],
            [self.tcp.fileno()],
            tcp_connections=tcp_connections,
            busy_poll_us=busy_poll_us,
        )
        self.thread = threading.Thread(target=self.engine.run)
        self.thread.start()
        self.router = self.core.add_router({})
        self.transport = self.core.add_transport(self.router, b"u1", b"password-1", 1)

    def stop(self) -> None:
        self.engine.stop()
        self.thread.join(5)
        assert not self.thread.is_alive()
        self.core.attach_bells(-1, -1)
        for fd in self.bells:
            os.close(fd)
        self.udp.close()
        self.tcp.close()

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < end, self.core.counters()
            time.sleep(0.002)

    def count(self, name: str) -> int:
        return self.core.counters()[name]

    def connect(self) -> socket.socket:
        return socket.create_connection(self.tcp.getsockname(), timeout=5)


@pytest.fixture
def running() -> Iterator[Running]:
    engine = Running()
    yield engine
    engine.stop()


def check(password: str = "password-1") -> bytes:
    request = stun.Message(stun.BINDING_REQUEST)
    request.attributes = [(stun.USERNAME, b"u1:far"), (stun.USE_CANDIDATE, b"")]
    return stun.encode(request, password=password)


def frame(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


def read_exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = stream.recv(size - len(data))
        assert more, "closed"
        data += more
    return data


def read_frame(stream: socket.socket) -> bytes:
    return read_exactly(stream, int.from_bytes(read_exactly(stream, 2), "big"))


def is_closed(stream: socket.socket) -> bool:
    try:
        return stream.recv(1) == b""
    except ConnectionResetError:
        return True


def test_answers_from_the_port_that_was_asked(running: Running) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.bind(("127.0.0.1", 0))
        client.sendto(check(), running.udp.getsockname())
        data, source = client.recvfrom(2048)
        assert source == running.udp.getsockname()
        assert stun.decode(data).mapped_address == client.getsockname()
    running.until(lambda: ("state", running.transport, "connected") in running.core.poll())


def test_stops_and_can_only_run_once() -> None:
    engine = Running()
    with pytest.raises(RuntimeError, match="engine"):
        engine.core.tick(0)
    with pytest.raises(RuntimeError, match="another"):
        Engine(engine.core, [], [])
    engine.stop()
    with pytest.raises(RuntimeError, match="already"):
        engine.engine.run()
    engine.core.apply(monotonic_us())


def test_needs_bells() -> None:
    with pytest.raises(OSError, match="bells"):
        Engine(Pipeline(scale=1), [], [])


def test_polls_for_a_while_after_a_datagram_and_sleeps_again() -> None:
    engine = Running(busy_poll_us=300_000)
    try:
        assert engine.count("loops") < 50
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"anything", engine.udp.getsockname())
        engine.until(lambda: engine.count("loops") > 1000)

        def sleeps() -> bool:
            before = engine.count("loops")
            time.sleep(0.02)
            return engine.count("loops") - before < 10

        engine.until(sleeps)
        assert engine.count("loops") > 10_000  # it was awake for the whole time
    finally:
        engine.stop()


def test_sleeps_where_polling_is_not_asked_for(running: Running) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for count in range(1, 4):
            client.sendto(b"anything", running.udp.getsockname())
            running.until(lambda: running.count("unknown_kind") == count)  # noqa: B023
    assert running.count("loops") < 50


def test_a_negative_time_to_poll_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Engine(Pipeline(scale=1), [], [], busy_poll_us=-1)


def test_tcp_in_pieces_and_in_bunches(running: Running) -> None:
    with running.connect() as client:
        for byte in frame(check()):
            client.sendall(bytes([byte]))
        assert stun.decode(read_frame(client)).type == stun.BINDING_SUCCESS
        client.sendall(frame(check()) * 20)
        assert {stun.decode(read_frame(client)).type for _ in range(20)} == {stun.BINDING_SUCCESS}
        assert running.core.channel_of(running.transport)
        running.core.send_dtls(running.transport, b"\x16over tcp")
        assert read_frame(client) == b"\x16over tcp"
    running.until(lambda: running.core.channel_of(running.transport) is None)
    assert running.engine.tcp_connections == 0


@pytest.mark.parametrize("nonsense", [b"\0\0", b"\xff\xff" + bytes(100), frame(bytes(1901))])
def test_tcp_nonsense_is_hung_up_on(running: Running, nonsense: bytes) -> None:
    with running.connect() as client:
        client.sendall(nonsense)
        assert is_closed(client)


def test_tcp_unproven_connections_of_a_source_are_few(running: Running) -> None:
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(running.connect()) for _ in range(8)]
        assert is_closed(stack.enter_context(running.connect()))
        first[0].sendall(frame(check()))
        read_frame(first[0])
        ninth = stack.enter_context(running.connect())
        ninth.sendall(frame(check()))
        read_frame(ninth)
        assert running.count("tcp_refused") == 1
        assert running.engine.tcp_connections == 9


def test_tcp_table_is_bounded() -> None:
    engine = Running(tcp_connections=2)
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                client = stack.enter_context(engine.connect())
                client.sendall(frame(check()))
                read_frame(client)
            assert is_closed(stack.enter_context(engine.connect()))
    finally:
        engine.stop()


def test_tcp_reader_that_does_not_read_loses_packets_and_costs_nothing_more(running: Running) -> None:
    with running.connect() as slow, running.connect() as other:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(frame(check()))
        read_frame(slow)
        running.until(lambda: running.core.channel_of(running.transport) is not None)
        for n in range(12_000):
            running.core.send_dtls(running.transport, b"\x16%06d" % n + bytes(1500))
            if n % 500 == 0:
                running.until(lambda: running.count("command_backlog") == 0 or not running.core.poll())
        running.until(lambda: running.count("tcp_dropped") > 0)
        other.sendall(frame(check()))
        assert stun.decode(read_frame(other)).type == stun.BINDING_SUCCESS
        got = [int(read_frame(slow)[1:7]) for _ in range(50)]
        assert got == sorted(set(got))  # whole frames, in order


def test_floods_of_junk_leave_it_answering(running: Running) -> None:
    rng = random.Random(9)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.connect(running.udp.getsockname())
        for _ in range(20_000):
            with contextlib.suppress(BlockingIOError):
                client.send(rng.randbytes(rng.choice([0, 1, 20, 40, 300, 1400, 3000])))
        answered = False
        while not answered:  # the kernel's own queue may still be full of the flood: ask again
            client.send(check())
            with contextlib.suppress(TimeoutError):
                while not answered:
                    answered = stun.decode(client.recv(2048)).type == stun.BINDING_SUCCESS
    found = running.core.counters()
    assert found["oversize"] > 0
    assert found["unknown_kind"] > 0
    assert found["unknown_address"] > 0
    assert found["transports"] == 1


def test_shuts_down_with_connections_open() -> None:
    engine = Running()
    with engine.connect() as client:
        client.sendall(frame(check()))
        read_frame(client)
        engine.stop()
        assert is_closed(client)
