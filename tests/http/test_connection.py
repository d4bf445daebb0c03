from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from server.http.connection import ConnectionLimits, HttpConnection, Upgrade, UpgradeHandler
from server.http.exchange import Peer, Request, Response, text

PEER = Peer(address="127.0.0.1", port=1, secure=False, loopback=True)
LIMITS = ConnectionLimits(max_header_bytes=2000, max_body_bytes=100, request_timeout_s=10, idle_timeout_s=60)
GET = b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"


async def echo(request: Request) -> Response:
    return text(200, f"{request.method} {request.target} {request.body.decode('latin-1')}")


async def take_over(request: Request, stream: trio.abc.Stream) -> None:
    raise AssertionError("the connection only says who takes over")


def choose(request: Request) -> Response | UpgradeHandler | None:
    return {"/ws": take_over, "/no": text(403, "No.")}.get(request.path)  # type: ignore[return-value]


class Running:
    def __init__(self, ours: trio.abc.Stream) -> None:
        self.ours = ours
        self.outcome: Upgrade | None = None
        self.over = trio.Event()

    async def read(self, until: bytes = b"\r\n\r\n") -> bytes:
        data = b""
        while until not in data:
            more = await self.ours.receive_some(65_536)
            if not more:
                break
            data += bytes(more)
        return data

    async def read_all(self) -> bytes:
        return await self.read(until=b"\0never\0")


@asynccontextmanager
async def running(
    handler: Callable[[Request], Awaitable[Response]] = echo,
) -> AsyncIterator[Running]:
    ours, theirs = trio.testing.memory_stream_pair()
    run = Running(ours)
    connection = HttpConnection(theirs, PEER, handler=handler, upgrade=choose, limits=LIMITS)

    async def serve() -> None:
        run.outcome = await connection.run()
        if run.outcome is None:
            await theirs.aclose()
        run.over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield run
        nursery.cancel_scope.cancel()


async def test_keep_alive_and_pipelining() -> None:
    async with running() as run:
        await run.ours.send_all(GET)
        first = await run.read(until=b"GET /a?b \n")
        assert first.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-length: 10\r\n" in first
        assert b"content-security-policy: default-src 'none'" in first
        await run.ours.send_all(GET * 3)
        data = b""
        while data.count(b"HTTP/1.1 200 OK") < 3 or not data.endswith(b"GET /a?b \n"):
            data += bytes(await run.ours.receive_some())


async def test_a_request_in_single_bytes() -> None:
    async with running() as run:
        for byte in b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":
            await run.ours.send_all(bytes([byte]))
        assert (await run.read(until=b"abc\n")).endswith(b"POST / abc\n")


async def test_head_has_the_length_and_no_body() -> None:
    async with running() as run:
        last = GET.replace(b"x\r\n", b"x\r\nConnection: close\r\n")
        await run.ours.send_all(GET.replace(b"GET", b"HEAD") + last)
        head, _, rest = (await run.read_all()).partition(b"\r\n\r\n")
        assert b"content-length: 11" in head
        assert rest.startswith(b"HTTP/1.1 200")


async def test_connection_close_and_http_1_0() -> None:
    for request in (GET.replace(b"x\r\n", b"x\r\nConnection: close\r\n"), b"GET / HTTP/1.0\r\n\r\n"):
        async with running() as run:
            await run.ours.send_all(request)
            assert (await run.read_all()).startswith(b"HTTP/1.1 200")
            await run.over.wait()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\r\n\r\nnonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/x\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 5000, 431),
        (b"GET /" + b"y" * 5000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + b"y" * 5000, 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
async def test_malformed_requests_are_answered_and_closed(
    sent: bytes, status: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with running() as run:
        await run.ours.send_all(sent)
        answer = await run.read_all()
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"connection: close\r\n" in answer
        await run.over.wait()
        assert run.outcome is None


async def test_an_unfinished_request_times_out(autojump_clock: trio.testing.MockClock) -> None:
    unfinished = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    for sent, answer in ((b"GET / HTTP/1.1\r\n", b""), (unfinished, b"HTTP/1.1 408")):
        async with running() as run:
            before = trio.current_time()
            await run.ours.send_all(sent)
            assert (await run.read_all()).startswith(answer)
            assert trio.current_time() - before < 15


async def test_a_trickle_does_not_prolong_it(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as run:
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012
            for _ in range(40):
                await run.ours.send_all(b"G")
                await trio.sleep(1)
        assert trio.current_time() < 15


async def test_idle_connections_end(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as run:
        await run.ours.send_all(GET)
        await run.read()
        before = trio.current_time()
        await run.over.wait()
        assert trio.current_time() - before == pytest.approx(60, abs=1)


async def test_a_reader_that_does_not_read(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    connection = HttpConnection(theirs, PEER, handler=echo, upgrade=choose, limits=LIMITS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, GET)
        with trio.fail_after(20):
            assert await connection.run() is None


async def test_expect_100_continue() -> None:
    async with running() as run:
        await run.ours.send_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await run.read()).startswith(b"HTTP/1.1 100 ")
        await run.ours.send_all(b"hi")
        assert (await run.read(until=b"hi\n")).endswith(b"POST / hi\n")


@pytest.mark.parametrize("behind", [b"frames", b""])
async def test_an_upgrade_hands_over_the_stream_from_behind_the_request(behind: bytes) -> None:
    head = b"GET /ws?x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    async with running() as run:
        await run.ours.send_all(head + behind)
        await run.over.wait()
        assert run.outcome is not None
        assert run.outcome.handler is take_over
        stream = run.outcome.stream
        assert run.outcome.request.target == "/ws?x"
        if behind:
            assert await stream.receive_some() == behind
        await run.ours.send_all(b"more")
        assert await stream.receive_some() == b"more"


async def test_a_refused_upgrade_and_an_unknown_one_stay_http() -> None:
    async with running() as run:
        for path, status in ((b"/no", b"403"), (b"/other", b"200")):
            await run.ours.send_all(
                b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            )
            assert (await run.read(until=b"\r\n\r\n")).startswith(b"HTTP/1.1 " + status)


PIECES = [
    GET,
    b"\r\n",
    b"POST / HTTP/1.1\r\n",
    b"Content-Length: 5\r\n",
    b"x",
    b"\0",
    b"Host: a\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Upgrade: websocket\r\n",
]


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300) | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_any_bytes_end_in_answers_or_silence(data: bytes) -> None:
    async def main() -> None:
        async with running() as run:
            await run.ours.send_all(data)
            await run.ours.send_eof()  # type: ignore[attr-defined]
            await run.over.wait()
            if run.outcome is None:
                answer = await run.read_all()
                assert answer == b"" or answer.startswith(b"HTTP/1.1 ")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
