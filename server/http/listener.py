"""The TCP port: accepts, counts, tells TLS from plain text by the first byte, and serves each connection.

Every connection runs behind a barrier: whatever goes wrong in one is logged and ends that one. The first byte
of a TLS connection is 0x16 (a handshake record, RFC 8446 section 5.1), which no HTTP method begins with.
"""

from __future__ import annotations

import errno
import ipaddress
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog
import trio

from server.http.connection import ConnectionLimits, HttpConnection, UpgradePolicy
from server.http.exchange import Handler, Peer, Request, Response, text
from server.http.guard import refuse_plain
from server.http.settings import HttpSettings
from server.http.streams import PrefixStream

log = structlog.get_logger("http")
_TLS_HANDSHAKE = 0x16
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError, OSError)


async def open_listeners(addresses: Sequence[str], port: int) -> list[trio.SocketListener]:
    """Listeners on those addresses, or on all of IPv4 and IPv6; with port 0, all on the same free port.

    Raises OSError where one cannot be had; IPv6 may be missing where nobody asked for it.
    """
    listeners: list[trio.SocketListener] = []
    try:
        for address in addresses or ("0.0.0.0", "::"):
            try:
                listeners += await trio.open_tcp_listeners(port, host=address, backlog=512)
            except OSError as error:
                if addresses or not listeners or error.errno not in _NO_SUCH_FAMILY:
                    raise
            port = port or int(listeners[0].socket.getsockname()[1])
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    return listeners


class HttpServer:
    """Serves HTTP on listeners; `counters` only grow, `open_connections` is a gauge."""

    def __init__(
        self,
        settings: HttpSettings,
        *,
        port: int,
        tls: ssl.SSLContext,
        handler: Handler,
        upgrade: UpgradePolicy,
    ) -> None:
        self._settings = settings
        self._port = port
        self._tls = tls
        self._handler = handler
        self._upgrade = upgrade
        self._limits = ConnectionLimits(
            max_header_bytes=settings.max_header_bytes,
            max_body_bytes=settings.max_body_bytes,
            request_timeout_s=settings.request_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
        )
        self._per_address: Counter[str] = Counter()
        self.open_connections = 0
        self.counters: Counter[str] = Counter()

    async def run(
        self,
        listeners: Sequence[trio.SocketListener],
        connections: trio.Nursery,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept until cancelled; connections live in their own nursery, so that they may outlast this."""
        async with trio.open_nursery() as nursery:
            accept = partial(trio.serve_listeners, handler_nursery=connections)
            await nursery.start(accept, self.serve_socket, list(listeners))
            task_status.started()

    async def serve_socket(self, stream: trio.SocketStream) -> None:
        try:
            address, port = stream.socket.getpeername()[:2]
        except OSError:  # gone already
            return
        await self.serve(stream, str(address), int(port))

    async def serve(self, stream: trio.abc.Stream, address: str, port: int) -> None:
        """One connection, from its first byte on; `trio.serve_listeners` closes it. Raises only Cancelled."""
        self.counters["connections"] += 1
        per_address = self._per_address[address]
        if (
            self.open_connections >= self._settings.max_connections
            or per_address >= self._settings.max_connections_per_address
        ):
            self.counters["refused_connections"] += 1
            return
        self.open_connections += 1
        self._per_address[address] += 1
        try:
            await self._guarded(stream, address, port)
        finally:
            self.open_connections -= 1
            self._per_address[address] -= 1
            if self._per_address[address] <= 0:
                del self._per_address[address]

    async def _guarded(self, stream: trio.abc.Stream, address: str, port: int) -> None:
        try:
            await self._serve(stream, address, port)
        except* _GONE:
            self.counters["broken_connections"] += 1
        except* Exception as group:
            self.counters["failed_connections"] += 1
            log.error("connection_failed", exc_info=group)

    async def _serve(self, raw: trio.abc.Stream, address: str, port: int) -> None:
        first = b""
        with trio.move_on_after(self._settings.request_timeout_s):
            first = bytes(await raw.receive_some(16_384))
        if not first:
            return
        stream = raw
        secure = first[0] == _TLS_HANDSHAKE
        if secure:
            tls = trio.SSLStream(PrefixStream(raw, first), self._tls, server_side=True, https_compatible=True)
            shaken = False
            with trio.move_on_after(self._settings.request_timeout_s):
                try:
                    await tls.do_handshake()
                    shaken = True
                except _GONE:
                    pass
            if not shaken:
                self.counters["failed_handshakes"] += 1
                return
            stream, first = tls, b""
        peer = Peer(address=address, port=port, secure=secure, loopback=_is_loopback(address))
        # In no variable: what leaves HTTP needs nothing of it any more, and may stay for hours.
        upgrade = await HttpConnection(
            stream,
            peer,
            handler=self._handle,
            upgrade=self._choose_upgrade,
            limits=self._limits,
            first=first,
        ).run()
        if upgrade is not None:
            self.counters["upgrades"] += 1
            await upgrade.handler(upgrade.request, upgrade.stream)
        elif secure:
            with trio.move_on_after(1):  # close_notify, so that the client knows that nothing was cut off
                await stream.aclose()

    async def _handle(self, request: Request) -> Response:
        self.counters["requests"] += 1
        refusal = self._refuse_plain(request)
        if refusal is not None:
            return refusal
        try:
            return await self._handler(request)
        except Exception:
            self.counters["failed_requests"] += 1
            log.exception("request_failed", path=request.path[:200])
            return text(500, "That went wrong here; the server's log says why.")

    def _choose_upgrade(self, request: Request) -> Response | Callable[..., Awaitable[None]] | None:
        return self._refuse_plain(request) or self._upgrade(request)

    def _refuse_plain(self, request: Request) -> Response | None:
        return refuse_plain(request, allow_plain=self._settings.allow_plain, port=self._port)


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)
