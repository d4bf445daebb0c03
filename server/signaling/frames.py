"""The WebSocket's bytes, sans-IO over wsproto (RFC 6455): the opening, then messages in and frames out.

It answers pings and closes by itself: what it wants sent is in `to_send`. It never raises for what a client
sends, and holds no more of a message than the limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection, ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError

TOO_LARGE = 1009
_PROTOCOL_ERROR = 1002
_LEFT = 1000
_END_OF_HEAD = b"\r\n\r\n"
_MAX_OPENING = 65_536  # bytes; the HTTP door has its own, lower limit


@dataclass(frozen=True, slots=True)
class Closed:
    """The client has closed, or broken a rule of the wire: close with this code."""

    code: int
    reason: str = ""


class Frames:
    def __init__(self, *, max_message: int) -> None:
        """`max_message` in bytes, or characters of text."""
        self._wire: Connection | None = None  # once it is open: the opening's own state is not kept
        self._max = max_message
        self._opening = bytearray()
        self._early = b""  # came right behind the opening
        self._parts: list[str | bytes] = []
        self._size = 0
        self._out = bytearray()
        self.pongs = 0  # that have come
        self.over = False  # the client's close frame has come: nothing follows it

    def open_untrusted(self, data: bytes, subprotocol: str) -> bool:
        """Feed the opening request; True when it is whole and answered. ValueError for what is none."""
        self._opening += data
        end = self._opening.find(_END_OF_HEAD)
        if end < 0:
            if len(self._opening) > _MAX_OPENING:
                raise ValueError("the opening is too long")
            return False
        end += len(_END_OF_HEAD)
        # wsproto would lose what has come behind it.
        head, self._early = bytes(self._opening[:end]), bytes(self._opening[end:])
        self._opening.clear()
        wire = WSConnection(ConnectionType.SERVER)
        try:
            wire.receive_data(head)
            request = next(wire.events(), None)
            if not isinstance(request, Request):
                raise ValueError("not a WebSocket's opening")
            chosen = subprotocol if subprotocol in request.subprotocols else None
            self._out += wire.send(AcceptConnection(subprotocol=chosen))
        except ProtocolError as error:
            raise ValueError(str(error)) from None
        self._wire = Connection(ConnectionType.SERVER)
        return True

    def receive_untrusted(self, data: bytes) -> list[str | bytes | Closed]:
        """Whole messages in order; `Closed` is the last."""
        found: list[str | bytes | Closed] = []
        if self.over or self._wire is None:
            return found
        if self._early:
            data, self._early = self._early + data, b""
        try:
            self._wire.receive_data(data)
            for event in self._wire.events():
                if isinstance(event, (TextMessage, BytesMessage)):
                    whole = self._message(event)
                    if whole is not None:
                        found.append(whole)
                    if isinstance(whole, Closed):
                        break
                elif isinstance(event, Ping):
                    self._out += self._frame(event.response())
                elif isinstance(event, Pong):
                    self.pongs += 1
                elif isinstance(event, CloseConnection):
                    found.append(self._closed(event))
                    break
        except ProtocolError as error:
            found.append(Closed(_PROTOCOL_ERROR, str(error)))
        return found

    # Nothing comes of these three once a side has closed.

    def text(self, message: str) -> bytes:
        return self._frame(TextMessage(data=message))

    def ping(self) -> bytes:
        return self._frame(Ping())

    def close(self, code: int, reason: str) -> bytes:
        """Our close frame, or the answer to the client's."""
        return self._frame(CloseConnection(code=code, reason=reason))

    def _frame(self, event: Event) -> bytes:
        if self._wire is None:
            return b""
        try:
            return self._wire.send(event)
        except ProtocolError:
            return b""

    def to_send(self) -> bytes:
        """Take what it wants to be sent of itself."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def _message(self, event: TextMessage | BytesMessage) -> str | bytes | Closed | None:
        part = event.data if isinstance(event, TextMessage) else bytes(event.data)
        self._size += len(part)
        if self._size > self._max:
            self._parts.clear()
            return Closed(TOO_LARGE)
        if event.message_finished and not self._parts:
            self._size = 0
            whole: str | bytes = part
            return whole
        self._parts.append(part)
        if not event.message_finished:
            return None
        kept = self._parts
        self._parts, self._size = [], 0
        if isinstance(event, TextMessage):
            return "".join(part for part in kept if isinstance(part, str))
        return b"".join(part for part in kept if isinstance(part, bytes))

    def _closed(self, event: CloseConnection) -> Closed:
        assert self._wire is not None
        if self._wire.state is ConnectionState.OPEN:  # no close of the client's: wsproto refuses what came
            return Closed(int(event.code), event.reason or "")
        self.over = True
        return Closed(_LEFT)
