from __future__ import annotations

import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing

from server.http import tls
from server.http.connection import UpgradeHandler
from server.http.exchange import Request, Response, text
from server.http.listener import HttpServer, open_listeners
from server.http.settings import HttpSettings

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def hello(request: Request) -> Response:
    if request.path == "/fail":
        raise RuntimeError("inside")
    return text(200, f"secure={request.peer.secure} local={request.local} peer={request.peer}")


async def echo(request: Request, stream: trio.abc.Stream) -> None:
    async for data in ReadAll(stream):
        await stream.send_all(data)


class ReadAll:
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    def __aiter__(self) -> ReadAll:
        return self

    async def __anext__(self) -> bytes:
        data = await self._stream.receive_some(65_536)
        if not data:
            raise StopAsyncIteration
        return bytes(data)


@pytest.fixture(scope="session")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and a client's that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    certificate, key = tls.self_signed(folder, ["localhost", "127.0.0.1"], now)
    return tls.load_context(certificate, key), ssl.create_default_context(cafile=str(certificate))


def make(context: ssl.SSLContext, **settings: Any) -> HttpServer:
    def upgrade(request: Request) -> Response | UpgradeHandler | None:
        return echo if request.path == "/ws" else None

    return HttpServer(HttpSettings(**settings), port=8443, tls=context, handler=hello, upgrade=upgrade)


async def read_all(stream: trio.abc.Stream) -> bytes:
    return b"".join([data async for data in ReadAll(stream)])


async def serve(server: HttpServer, stream: trio.abc.Stream, address: str) -> None:
    """As `trio.serve_listeners` does."""
    await server.serve(stream, address, 5)
    await trio.aclose_forcefully(stream)


async def ask(server: HttpServer, data: bytes, address: str = "127.0.0.1") -> bytes:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, server, theirs, address)
        await ours.send_all(data)
        return await read_all(ours)
    raise AssertionError


@asynccontextmanager
async def listening(server: HttpServer) -> AsyncIterator[int]:
    listeners = await open_listeners(["127.0.0.1"], 0)
    async with trio.open_nursery() as connections:
        await connections.start(server.run, listeners, connections)
        yield int(listeners[0].socket.getsockname()[1])
        connections.cancel_scope.cancel()


async def test_plain_and_tls_on_one_port(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with listening(make(contexts[0])) as port:
        plain = await trio.open_tcp_stream("127.0.0.1", port)
        await plain.send_all(GET)
        assert b"secure=False local=True peer=127.0.0.*" in await read_all(plain)
        await plain.aclose()
        secure = await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", port, ssl_context=contexts[1], https_compatible=True
        )
        await secure.send_all(GET)
        assert b"secure=True local=True" in await read_all(secure)
        await secure.aclose()


async def test_an_upgrade_over_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with listening(make(contexts[0])) as port:
        stream = await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", port, ssl_context=contexts[1], https_compatible=True
        )
        request = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
        await stream.send_all(request + b"frames")
        data = b""
        while not data.endswith(b"frames"):
            data += bytes(await stream.receive_some())
        assert data == b"frames"
        await stream.aclose()


async def test_broken_tls_costs_only_that_connection(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server = make(contexts[0])
    async with listening(server) as port:
        for junk in (b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff" + b"x" * 60_000):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(junk)
            await stream.send_eof()
            with trio.fail_after(5):
                with suppress(trio.BrokenResourceError):
                    await read_all(stream)
            await stream.aclose()
        assert server.counters["failed_handshakes"] == 3
        assert server.counters["failed_connections"] == 0
        again = await trio.open_tcp_stream("127.0.0.1", port)
        await again.send_all(GET)
        assert b"200 OK" in await read_all(again)
        await again.aclose()


async def test_other_machines_are_sent_to_https(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server = make(contexts[0])
    answer = await ask(server, GET, address="192.0.2.7")
    assert answer.startswith(b"HTTP/1.1 308 ")
    assert b"location: https://localhost:8443/\r\n" in answer
    upgrade = GET.replace(b"Connection: close", b"Connection: upgrade\r\nUpgrade: websocket")
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, server, theirs, "192.0.2.7")
        await ours.send_all(upgrade.replace(b"GET /", b"GET /ws"))
        assert (await ours.receive_some()).startswith(b"HTTP/1.1 403 ")
        nursery.cancel_scope.cancel()
    assert b"200 OK" in await ask(make(contexts[0], allow_plain=True), GET, address="192.0.2.7")
    assert b"200 OK" in await ask(server, GET, address="::ffff:127.0.0.1")


async def test_a_failing_handler_is_told_without_its_reason(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server = make(contexts[0])
    answer = await ask(server, GET.replace(b"/ H", b"/fail H"))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"inside" not in answer
    assert server.counters["failed_requests"] == 1


async def test_connections_are_counted_and_bounded(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], autojump_clock: trio.testing.MockClock
) -> None:
    server = make(contexts[0], max_connections=3, max_connections_per_address=2)
    async with trio.open_nursery() as nursery:
        streams = []
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"):
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(serve, server, theirs, address)
            await trio.testing.wait_all_tasks_blocked()
            streams.append(ours)
        assert server.open_connections == 3
        assert server.counters["refused_connections"] == 2
        assert await read_all(streams[2]) == b""
        assert await read_all(streams[4]) == b""
        await streams[0].aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 2
    # Those that said nothing have timed out.
    assert server.open_connections == 0
    assert trio.current_time() < 15


async def test_a_taken_port_and_a_free_one() -> None:
    (first,) = await open_listeners(["127.0.0.1"], 0)
    port = int(first.socket.getsockname()[1])
    with pytest.raises(OSError, match="in use"):
        await open_listeners(["127.0.0.1"], port)
    await first.aclose()
    everywhere = await open_listeners([], 0)
    assert len({listener.socket.getsockname()[1] for listener in everywhere}) == 1
    for listener in everywhere:
        await listener.aclose()
