"""The WebSocket door: one nursery per connection around `Machine`, with trio-websocket as the wire.

Tasks of a connection: trio-websocket's own reader, `_receive` (reads promptly into a bounded inbox, because
a full queue there would also hold up pings and closes), `_handle` (one request at a time, in order), `_write`
(the only writer of messages), `_ping` and `_watch_deadline`. Whatever fails in them ends this connection
only: trio-websocket's reader raises when a client's ping arrives during our close (upstream issue 184).
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from server.errors import ClientError
from server.signaling import machine as m
from server.signaling import rpc
from server.signaling.machine import Close, Event, Machine, Reply
from server.signaling.messages import Hello, HelloResult, IceServer
from server.signaling.outbox import Outbox
from server.signaling.rpc import RpcError, RpcRequest
from server.signaling.settings import LimitSettings

if TYPE_CHECKING:
    from server.rooms.directory import Directory
    from server.rooms.session import Session
    from server.session.identity import Identity

log = structlog.get_logger("websocket")
SUBPROTOCOL = "tandem.v1"
_FLUSH_S = 0.5  # for what waits to be written when a connection closes
_CLOSE_S = 1.5  # for the closing handshake
_LINGER_S = 1.0
_LINGER_BYTES = 4 << 20

Authenticate = Callable[[Hello], "Identity"]  # raises ClientError


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection comes from, as far as signaling needs it."""

    peer: str  # redacted, for logs
    ice_servers: list[IceServer]


class WebSocketDoor:
    """All connections of this server. `counters` only grow; `open_connections` is a gauge."""

    def __init__(
        self,
        directory: Directory,
        authenticate: Authenticate,
        limits: LimitSettings,
        clock: Callable[[], float],  # Unix seconds
    ) -> None:
        self.directory = directory
        self.authenticate = authenticate
        self.limits = limits
        self.clock = clock
        self.counters: Counter[str] = Counter()
        self._connections: set[Connection] = set()
        self._stopping: Close | None = None
        self._gone = trio.Event()

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    async def serve(self, stream: trio.abc.Stream, origin: Origin) -> None:
        """Serve one stream that begins with a WebSocket's opening request, which was checked already.

        Only Cancelled comes out of here.
        """
        connection = Connection(self, stream, origin)
        self._connections.add(connection)
        self.counters["connections"] += 1
        if self._stopping is not None:
            connection.close(self._stopping.code, self._stopping.reason)
        try:
            await connection.run()
        except* Exception as group:
            if group.split(_is_of_the_wire)[1] is None:
                self.counters["broken_connections"] += 1
            else:
                self.counters["failed_connections"] += 1
                log.error("connection_failed", peer=origin.peer, exc_info=group)
        finally:
            connection.detach()
            self._connections.discard(connection)
            if not self._connections:
                self._gone.set()

    async def close_all(self, code: int, reason: str) -> None:
        """Close every connection, those to come included, and return when they are gone."""
        self._stopping = Close(code, reason)
        for connection in list(self._connections):
            connection.close(code, reason)
        while self._connections:
            self._gone = trio.Event()
            await self._gone.wait()


def _is_of_the_wire(error: BaseException) -> bool:
    """What trio-websocket's reader raises for a client's doing, and nobody here need look into."""
    from wsproto.utilities import LocalProtocolError

    return isinstance(error, (LocalProtocolError, ConnectionClosed))


class Connection:
    """One client's WebSocket, and the sink of its session's notifications."""

    def __init__(self, door: WebSocketDoor, stream: trio.abc.Stream, origin: Origin) -> None:
        self._door = door
        self._stream = stream
        self._origin = origin
        limits = door.limits
        self._machine = Machine(limits, trio.current_time())
        self._outbox = Outbox(max_messages=limits.outbound_messages, max_bytes=limits.outbound_bytes)
        self._session: Session | None = None
        self._ending: Close | None = None
        self._end = trio.Event()

    # The Sink of server.rooms.session: called from anywhere on the Trio thread, returns at once.

    def send_nowait(self, method: str, params: msgspec.Raw) -> bool:
        return self._ending is None and self._put(rpc.encode_notification(method, params))

    def close(self, code: int, reason: str) -> None:
        if self._ending is None:
            self._ending = Close(code, reason[:100])
            self._machine.apply(Event.CLOSE)
            self._door.counters[f"closed_{code}"] += 1
            self._end.set()

    def detach(self) -> None:
        self.close(m.LEFT, "")
        if self._session is not None:
            self._door.directory.detach(self._session, self)
            self._session = None

    async def run(self) -> None:
        limits = self._door.limits
        async with trio.open_nursery() as wire:
            accepted: WebSocketConnection | None = None
            with trio.move_on_after(limits.hello_timeout_s):
                request = await wrap_server_stream(
                    wire,
                    self._stream,
                    message_queue_size=16,
                    max_message_size=limits.message_bytes,
                    receive_buffer_size=65_536,
                )
                offered = SUBPROTOCOL in request.proposed_subprotocols
                accepted = await request.accept(subprotocol=SUBPROTOCOL if offered else None)
            if accepted is not None:
                await self._converse(accepted)
            wire.cancel_scope.cancel()

    async def _converse(self, wire: WebSocketConnection) -> None:
        inbox_in, inbox_out = trio.open_memory_channel[RpcRequest](self._door.limits.pending_requests)
        async with trio.open_nursery() as tasks:
            tasks.start_soon(self._receive, wire, inbox_in)
            tasks.start_soon(self._handle, inbox_out)
            tasks.start_soon(self._write, wire)
            tasks.start_soon(self._ping, wire)
            tasks.start_soon(self._watch_deadline)
            await self._end.wait()
            assert self._ending is not None
            if self._ending.code != m.TOO_SLOW:
                with trio.move_on_after(_FLUSH_S):
                    await self._outbox.wait_written()
            tasks.cancel_scope.cancel()
        with trio.move_on_after(_CLOSE_S):
            await wire.aclose(self._ending.code, self._ending.reason)
        if self._ending.code == m.TOO_LARGE:
            await self._linger()

    async def _receive(self, wire: WebSocketConnection, inbox: trio.MemorySendChannel[RpcRequest]) -> None:
        while True:
            try:
                message = await wire.get_message()
            except ConnectionClosed:
                too_large = wire.closed is not None and wire.closed.code == m.TOO_LARGE
                self.close(m.TOO_LARGE if too_large else m.LEFT, "")
                return
            if self._ending is not None:
                return
            now = trio.current_time()
            step = self._machine.receive_untrusted(message, now)
            if isinstance(step, RpcRequest):
                try:
                    inbox.send_nowait(step)
                except trio.WouldBlock:
                    step = self._machine.overload(step, now)
            self._carry_out(step)

    async def _handle(self, inbox: trio.MemoryReceiveChannel[RpcRequest]) -> None:
        async for request in inbox:
            refusal = self._machine.admit(request)
            if refusal is not None:
                self._put(rpc.encode_error(refusal))
            elif isinstance(request.params, Hello):
                self._hello(request, request.params)
            else:
                await self._request(request)
            self._door.counters["requests"] += 1

    def _hello(self, request: RpcRequest, params: Hello) -> None:
        door = self._door
        try:
            identity = door.authenticate(params)
            params = msgspec.structs.replace(params, name=identity.name)  # as it was cleaned
            session, result = door.directory.hello(identity, params, ice_servers=self._origin.ice_servers)
        except ClientError as error:
            self._carry_out(self._machine.refuse_hello(error, request, trio.current_time()))
            return
        except Exception:
            self._put(rpc.encode_error(self._internal(request)))
            return
        self._machine.apply(Event.WELCOME)
        self._session = session
        self._welcome(request, result)
        door.directory.attach(session, self)

    def _welcome(self, request: RpcRequest, result: HelloResult) -> None:
        log.info(
            "hello",
            peer=self._origin.peer,
            session=result.session_id,
            guest=result.guest,
            resumed=result.resumed,
        )
        self._put(rpc.encode_result(request.id, result))

    async def _request(self, request: RpcRequest) -> None:
        session = self._session
        assert session is not None  # the machine is ready
        # Notifications wait while the request is handled, so that its answer is written before them.
        with session.answering():
            try:
                result = await self._door.directory.request(session, request.method, request.params)
            except ClientError as error:
                self._put(rpc.encode_error(rpc.client_error(error, request.id)))
            except Exception:
                self._put(rpc.encode_error(self._internal(request)))
            else:
                self._put(rpc.encode_result(request.id, result))

    def _internal(self, request: RpcRequest) -> RpcError:
        """Ours, not theirs: the log has it all, and the client gets an id to ask about."""
        incident = secrets.token_hex(4)
        self._door.counters["internal_errors"] += 1
        log.exception("request_failed", incident=incident, method=request.method)
        message = f"That went wrong in the server; its log knows it as {incident}."
        data = {"code": "internal", "incident": incident}
        return RpcError(rpc.INTERNAL_ERROR, message, id=request.id, data=data)

    def _carry_out(self, step: RpcRequest | Reply | Close) -> None:
        if isinstance(step, Reply):
            self._door.counters["refusals"] += 1
            self._put(step.text)
        elif isinstance(step, Close):
            self.close(step.code, step.reason)

    def _put(self, text: str) -> bool:
        if self._outbox.put_nowait(text):
            return True
        self.close(m.TOO_SLOW, "too slow a reader")
        return False

    async def _write(self, wire: WebSocketConnection) -> None:
        while True:
            text = await self._outbox.take()
            try:
                await wire.send_message(text)
            except ConnectionClosed:
                self.close(m.LEFT, "")
                return

    async def _ping(self, wire: WebSocketConnection) -> None:
        limits = self._door.limits
        while True:
            await trio.sleep(limits.ping_interval_s)
            with trio.move_on_after(limits.ping_timeout_s) as scope:
                try:
                    await wire.ping()
                except ConnectionClosed:
                    return
            if scope.cancelled_caught:
                self.close(m.TOO_SLOW, "no pong in time")
                return

    async def _watch_deadline(self) -> None:
        while (deadline := self._machine.next_timeout()) is not None:
            await trio.sleep_until(deadline)
            step = self._machine.handle_timer(trio.current_time())
            if step is not None:
                self._carry_out(step)
                return

    async def _linger(self) -> None:
        """Read on for a moment, so that a TCP reset does not overtake the close frame."""
        left = _LINGER_BYTES
        with trio.move_on_after(_LINGER_S):
            try:
                while left > 0 and (data := await self._stream.receive_some(65_536)):
                    left -= len(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                return
