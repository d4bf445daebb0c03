"""The WebSocket's bytes, sans-IO over wsproto (RFC 6455): an opening's answer, messages in and frames out.

It answers pings and closes by itself: what it wants sent is in `to_send`. It never raises for what a client
sends, and holds no more of a message than the limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.utilities import ProtocolError, generate_accept_token

TOO_LARGE = 1009
_PROTOCOL_ERROR = 1002
_LEFT = 1000


@dataclass(frozen=True, slots=True)
class Opening:
    """What a client's opening request says, whose form the HTTP door has checked (RFC 6455 section 4.2.1)."""

    key: str
    subprotocols: tuple[str, ...]  # as offered

    def answer(self, subprotocol: str) -> bytes:
        """Section 4.2.2; the subprotocol is confirmed where it was offered, and no extension is taken."""
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + generate_accept_token(self.key.encode()),
        ]
        if subprotocol in self.subprotocols:
            lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
        return b"\r\n".join(lines) + b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Closed:
    """The client has closed, or broken a rule of the wire: close with this code."""

    code: int
    reason: str = ""


class Frames:
    def __init__(self, *, max_message: int) -> None:
        """`max_message` in bytes, or characters of text."""
        self._wire = Connection(ConnectionType.SERVER)
        self._max = max_message
        self._parts: list[str | bytes] = []
        self._size = 0
        self._out = bytearray()
        self.pongs = 0  # that have come
        self.over = False  # the client's close frame has come: nothing follows it

    def receive_untrusted(self, data: bytes) -> list[str | bytes | Closed]:
        """Whole messages in order; `Closed` is the last."""
        found: list[str | bytes | Closed] = []
        if self.over:
            return found
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
        if self._wire.state is ConnectionState.OPEN:  # no close of the client's: wsproto refuses what came
            return Closed(int(event.code), event.reason or "")
        self.over = True
        return Closed(_LEFT)
