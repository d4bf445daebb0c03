"""The WebSocket door: one nursery per connection around `Machine`, with `Frames` for the wire.

Tasks of a connection: the listener's own, which reads; `_handle` (one request at a time, in order); `_write`
(the only writer until the end, which sends all that waits in one piece); and `_keep_time` (the deadline of
`hello`, then pings). Whatever fails in them ends this connection only.
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

from server.errors import ClientError
from server.signaling import machine as m
from server.signaling import rpc
from server.signaling.frames import Closed, Frames, Opening
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
_LINGER_BYTES = 4 << 20  # read after the end, so that a TCP reset does not overtake the close frame
_READ = 16_384  # bytes; a thousand of the smallest frames, so that nobody else waits long for them
_PIECE = 65_536  # bytes that are written together

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

    async def serve(self, stream: trio.abc.Stream, origin: Origin, opening: Opening) -> None:
        """Serve one stream, on which a WebSocket's opening was said and checked, and is to be answered.

        Only Cancelled comes out of here.
        """
        connection = Connection(self, stream, origin)
        self._connections.add(connection)
        self.counters["connections"] += 1
        if self._stopping is not None:
            connection.close(self._stopping.code, self._stopping.reason)
        try:
            await connection.run(opening)
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
    """What a client's going away does to its stream, and nobody here need look into."""
    return isinstance(error, (trio.BrokenResourceError, trio.ClosedResourceError))


class Connection:
    """One client's WebSocket, and the sink of its session's notifications."""

    def __init__(self, door: WebSocketDoor, stream: trio.abc.Stream, origin: Origin) -> None:
        self._door = door
        self._stream = stream
        self._origin = origin
        limits = door.limits
        self._machine = Machine(limits, trio.current_time())
        self._outbox = Outbox(max_messages=limits.outbound_messages, max_bytes=limits.outbound_bytes)
        self._frames = Frames(max_message=limits.message_bytes)
        self._session: Session | None = None
        self._ending: Close | None = None
        self._reading = trio.CancelScope()
        self._torn = False  # the writer was stopped within a frame
        self._pong = trio.Event()

    # The Sink of server.rooms.session: called from anywhere on the Trio thread, returns at once.

    def send_nowait(self, method: str, params: msgspec.Raw) -> bool:
        return self._put(rpc.encode_notification(method, params))

    def close(self, code: int, reason: str) -> None:
        if self._ending is None:
            self._ending = Close(code, reason[:100])
            self._machine.apply(Event.CLOSE)
            self._door.counters[f"closed_{code}"] += 1
            self._reading.cancel()

    def detach(self) -> None:
        self.close(m.LEFT, "")
        if self._session is not None:
            self._door.directory.detach(self._session, self)
            self._session = None

    async def run(self, opening: Opening) -> None:
        self._outbox.put_nowait(opening.answer(SUBPROTOCOL))
        await self._converse()
        await self._say_goodbye()

    async def _converse(self) -> None:
        inbox_in, inbox_out = trio.open_memory_channel[RpcRequest](self._door.limits.pending_requests)
        async with trio.open_nursery() as tasks:
            tasks.start_soon(self._handle, inbox_out)
            tasks.start_soon(self._write)
            tasks.start_soon(self._keep_time)
            with self._reading:
                await self._read(inbox_in)
            assert self._ending is not None
            if self._ending.code != m.TOO_SLOW:
                with trio.move_on_after(_FLUSH_S):
                    await self._outbox.wait_written()
            tasks.cancel_scope.cancel()

    async def _read(self, inbox: trio.MemorySendChannel[RpcRequest]) -> None:
        # What has come, or gone out, stays in no variable while a task waits: an SDP has kilobytes.
        while self._ending is None:
            self._receive(await self._stream.receive_some(_READ) or None, inbox)

    def _receive(self, data: bytes | bytearray | None, inbox: trio.MemorySendChannel[RpcRequest]) -> None:
        """None: the client is gone."""
        if data is None:
            self.close(m.LEFT, "")
            return
        for message in self._frames.receive_untrusted(bytes(data)):
            if isinstance(message, Closed):
                self.close(message.code, message.reason)
                return
            self._take(message, inbox)
        answers = self._frames.to_send()
        if answers:
            self._put(answers)
        if self._frames.pongs:
            self._pong.set()

    def _take(self, message: str | bytes, inbox: trio.MemorySendChannel[RpcRequest]) -> None:
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

    async def _say_goodbye(self) -> None:
        """The closing handshake of RFC 6455 section 7.1.2, as far as the client takes part in it."""
        assert self._ending is not None
        left = _LINGER_BYTES
        with trio.move_on_after(_CLOSE_S):
            if not self._torn:
                await self._stream.send_all(self._frames.close(self._ending.code, self._ending.reason))
            while left > 0 and not self._frames.over:
                data = await self._stream.receive_some(_READ)
                if not data:
                    return
                left -= len(data)
                self._frames.receive_untrusted(bytes(data))

    async def _handle(self, inbox: trio.MemoryReceiveChannel[RpcRequest]) -> None:
        while True:
            await self._answer(await inbox.receive())  # in no variable either
            self._door.counters["requests"] += 1

    async def _answer(self, request: RpcRequest) -> None:
        refusal = self._machine.admit(request)
        if refusal is not None:
            self._put(rpc.encode_error(refusal))
        elif isinstance(request.params, Hello):
            self._hello(request, request.params)
        else:
            await self._request(request)

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

    def _put(self, message: str | bytes) -> bool:
        """A text, or frames that are ready."""
        if self._ending is not None:
            return False
        frames = self._frames.text(message) if isinstance(message, str) else message
        if not frames:  # the client has closed
            return False
        if self._outbox.put_nowait(frames):
            return True
        self.close(m.TOO_SLOW, "too slow a reader")
        return False

    async def _write(self) -> None:
        while await self._send(await self._outbox.take(_PIECE)):
            pass

    async def _send(self, piece: bytes) -> bool:
        """False: the client is gone."""
        self._torn = True
        try:
            await self._stream.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.close(m.LEFT, "")
            return False
        self._torn = False
        return True

    async def _keep_time(self) -> None:
        limits = self._door.limits
        next_ping = trio.current_time() + limits.ping_interval_s
        while (deadline := self._machine.next_timeout()) is not None:
            await trio.sleep_until(deadline)
            step = self._machine.handle_timer(trio.current_time())
            if step is not None:
                self._carry_out(step)
                return
        while True:
            await trio.sleep_until(next_ping)
            self._frames.pongs, self._pong = 0, trio.Event()
            self._put(self._frames.ping())
            with trio.move_on_after(limits.ping_timeout_s) as scope:
                await self._pong.wait()
            if scope.cancelled_caught:
                self.close(m.TOO_SLOW, "no pong in time")
                return
            next_ping = trio.current_time() + limits.ping_interval_s
