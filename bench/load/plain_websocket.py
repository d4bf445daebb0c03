"""A WebSocket client over a blocking socket (RFC 6455): text both ways, pings answered, nothing else."""

from __future__ import annotations

import base64
import secrets
import select
import socket
from urllib.parse import urlsplit

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


class PlainWebSocket:
    def __init__(self, url: str, timeout_s: float) -> None:
        """`url` is ws://…; ConnectionError if the server will not have it."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._socket = self.socket = socket.create_connection((parts.hostname, parts.port or 80), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll = select.poll()  # not select(): that knows 1,024 sockets
        self._poll.register(self._socket, select.POLLIN)
        self._buffer = bytearray()
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self._socket.sendall(
            f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: tandem.v1\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(head.split(b"\r\n", 1)[0].decode("latin-1"))
        self._buffer = bytearray(rest)

    def send(self, text: bytes) -> None:
        self._frame(_TEXT, text)

    def receive(self) -> bytes:
        """The next message. ConnectionError when the server is gone, TimeoutError when it is silent."""
        message = b""
        while True:
            final, opcode, payload = self._read_frame()
            if opcode == _PING:
                self._frame(_PONG, payload)
            elif opcode == _CLOSE:
                raise ConnectionError(f"closed: {int.from_bytes(payload[:2], 'big')} {payload[2:]!r}")
            elif opcode != _PONG:
                message += payload
                if final:
                    return message

    def readable(self) -> bool:
        return bool(self._buffer) or bool(self._poll.poll(0))

    def close(self) -> None:
        self._socket.close()

    def _frame(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65536:
            head += b"\xfe" + size.to_bytes(2, "big")
        else:
            head += b"\xff" + size.to_bytes(8, "big")
        mask = secrets.token_bytes(4)
        whole = int.from_bytes(payload, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        self._socket.sendall(head + mask + whole.to_bytes(size, "big"))

    def _read_frame(self) -> tuple[bool, int, bytes]:
        head = self._take(2)
        size = head[1]
        if size == 126:
            size = int.from_bytes(self._take(2), "big")
        elif size == 127:
            size = int.from_bytes(self._take(8), "big")
        return bool(head[0] & 0x80), head[0] & 0x0F, self._take(size)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self) -> None:
        data = self._socket.recv(262_144)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self._buffer += data
