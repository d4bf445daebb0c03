"""One HTTP/1.1 connection: h11 between a stream and a handler, with a time limit on every wait.

h11 holds to RFC 9112; this shell adds what it leaves to its user: time limits, a bound on bodies, the Date
header, HEAD, a lingering close (so that a refusal sent in mid-request is not lost to a TCP reset), and the
hand-over of upgrades.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11
import trio

from server.http.exchange import Handler, Peer, Request, Response, text
from server.http.guard import SECURITY_HEADERS
from server.http.streams import PrefixStream

# Takes over the stream of an upgrade request, from what has come behind the request.
UpgradeHandler = Callable[[Request, trio.abc.Stream], Awaitable[None]]
_LINGER_BYTES = 1 << 20
_LINGER_S = 2.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    max_header_bytes: int
    max_body_bytes: int
    request_timeout_s: float
    idle_timeout_s: float


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A request that leaves HTTP; `handler` gets the stream."""

    request: Request
    handler: UpgradeHandler
    stream: trio.abc.Stream  # from what has come behind the request


# Looks at an upgrade request: refuse it by a response, take it by a handler, or None: it is plain HTTP.
UpgradePolicy = Callable[[Request], "Response | UpgradeHandler | None"]


class HttpConnection:
    """Serves one stream until it closes or leaves HTTP. Made for one task."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        peer: Peer,
        *,
        handler: Handler,
        upgrade: UpgradePolicy,
        limits: ConnectionLimits,
        first: bytes = b"",
    ) -> None:
        """`first` was read from the stream already."""
        self._stream = stream
        self._peer = peer
        self._handler = handler
        self._upgrade = upgrade
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.max_header_bytes)
        if first:
            self._http.receive_data(first)

    async def run(self) -> Upgrade | None:
        """None when the connection is over; or the upgrade, after which this one is of no more use."""
        timeout_s = self._limits.request_timeout_s  # the client has just connected: it has something to say
        while True:
            outcome = await self._exchange(timeout_s)
            if isinstance(outcome, Upgrade):
                return outcome
            if outcome is False or self._http.our_state is not h11.DONE:
                return None
            try:
                self._http.start_next_cycle()
            except h11.LocalProtocolError:  # the client said "close", or is in mid-request
                return None
            timeout_s = self._limits.idle_timeout_s

    async def _exchange(self, timeout_s: float) -> Upgrade | bool:
        """One request and its answer; False: the connection is of no more use."""
        try:
            request = await self._read_request(timeout_s)
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            known = status if status in (400, 413, 414, 431, 501) else 400
            await self._refuse(text(known, "This is no HTTP request that can be understood."))
            return False
        if request is None:
            return False
        if isinstance(request, Response):
            await self._refuse(request)
            return False
        if any(name == b"upgrade" for name, _ in request.headers):
            chosen = self._upgrade(request)
            if isinstance(chosen, Response):
                return await self._respond(request.method, chosen)
            if chosen is not None:
                behind, _ = self._http.trailing_data
                return Upgrade(
                    request, chosen, PrefixStream(self._stream, behind) if behind else self._stream
                )
        return await self._respond(request.method, await self._handler(request))

    async def _read_request(self, timeout_s: float) -> Request | Response | None:
        """None: the client is gone or idle for too long."""
        head: h11.Request | None = None
        body = bytearray()
        deadline = trio.current_time() + timeout_s
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                data = await self._receive(deadline)
                if data is None:
                    return None if head is None else text(408, "The request took too long.")
                # With its first byte, the idle time ends and the request's own time begins.
                deadline = min(deadline, trio.current_time() + self._limits.request_timeout_s)
                self._http.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._limits.max_body_bytes:
                    return text(413, f"A body may have {self._limits.max_body_bytes} bytes.")
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return Request(
                    method=head.method.decode("ascii"),
                    target=head.target.decode("latin-1"),
                    headers=list(head.headers),
                    peer=self._peer,
                    body=bytes(body),
                )
            else:  # ConnectionClosed, PAUSED
                return None

    async def _receive(self, deadline: float) -> bytes | None:
        with trio.move_on_at(deadline):
            try:
                return bytes(await self._stream.receive_some(65_536))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return b""
        return None

    async def _respond(self, method: str, response: Response) -> bool:
        size = str(len(response.body)).encode()
        length = [] if response.status in (204, 304) else [(b"content-length", size)]
        date = email.utils.formatdate(time.time(), usegmt=True).encode()
        headers = [(b"date", date), *SECURITY_HEADERS, *response.headers, *length]
        head = h11.Response(status_code=response.status, headers=headers, reason=response.reason)
        data = self._http.send(head) or b""
        if method != "HEAD" and response.status != 304 and response.body:
            data += self._http.send(h11.Data(data=response.body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        return await self._write(data)

    async def _send(self, event: h11.Event) -> bool:
        return await self._write(self._http.send(event) or b"")

    async def _write(self, data: bytes) -> bool:
        """False: the client is gone, or reads too slowly to be worth a socket."""
        with trio.move_on_after(self._limits.request_timeout_s):
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
            return True
        return False

    async def _refuse(self, response: Response) -> None:
        """Answer a request that was not read to its end, then let the client see it before the close."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        closing = Response(response.status, [*response.headers, (b"connection", b"close")], response.body)
        if not await self._respond("GET", closing):
            return
        with trio.move_on_after(_LINGER_S):
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                try:
                    await self._stream.send_eof()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
            left = _LINGER_BYTES
            while left > 0 and (data := await self._receive(trio.current_time() + _LINGER_S)):
                left -= len(data)
