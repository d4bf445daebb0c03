"""The bytes of one HTTP connection: answers, an upgrade, or silence; nothing escapes."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from server.http import guard
from server.http.connection import ConnectionLimits, HttpConnection, UpgradeHandler
from server.http.exchange import Peer, Request, Response, Router, text
from server.http.static import StaticFiles

SEEDS = [
    b'GET /?room=a&name=b HTTP/1.1\r\nHost: localhost:8443\r\nIf-None-Match: "x"\r\n\r\n',
    b"HEAD /page/main.js HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    b"POST /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://a\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x80\0\0\0\0",
    b"GET /%2e%2e/%00\xff HTTP/1.1\r\nHost: [::1]:1\r\nX-Forwarded-For: 1\r\n\r\n",
]
_PEERS = [
    Peer(address="127.0.0.1", port=1, secure=False, loopback=True),
    Peer(address="192.0.2.1", port=1, secure=False, loopback=False),
]
_LIMITS = ConnectionLimits(
    max_header_bytes=4096, max_body_bytes=1000, request_timeout_s=10, idle_timeout_s=60
)
_FILES = StaticFiles(Path(__file__).resolve().parents[2] / "server" / "web")


async def _health(request: Request) -> Response:
    return text(200, f"{request.host} {request.host_name} {request.local}")


async def _take(request: Request, stream: trio.abc.Stream) -> None:
    raise AssertionError("the connection only says who takes over")


_ROUTES = Router([("GET", "/healthz", _health)], fallback=_FILES)


async def _handle(request: Request) -> Response:
    refusal = guard.refuse_plain(request, allow_plain=False, port=8443)
    guard.may_read_metrics(request, "token")
    return refusal or await _ROUTES(request)


def _upgrade(request: Request) -> Response | UpgradeHandler | None:
    return guard.refuse_websocket(request, allowed_origins=()) or _take


def fuzz_one(data: bytes) -> None:
    trio.run(_converse, data, _PEERS[len(data) % 2], clock=trio.testing.MockClock(autojump_threshold=0))


async def _converse(data: bytes, peer: Peer) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(data)
    await ours.send_eof()
    connection = HttpConnection(theirs, peer, handler=_handle, upgrade=_upgrade, limits=_LIMITS)
    upgrade = await connection.run()
    if upgrade is not None:
        left = b"".join([bytes(chunk) async for chunk in upgrade.stream])
        assert data.endswith(left)
        return
    await theirs.aclose()
    answer = b"".join([bytes(chunk) async for chunk in ours])
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
