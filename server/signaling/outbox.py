"""What waits to be written to one client: bounded by count and bytes, so that a slow reader costs little."""

from __future__ import annotations

from collections import deque

import trio


class Outbox:
    """`put_nowait` never waits; one task takes from it."""

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._taken = False
        self._filled = trio.Event()
        self._emptied = trio.Event()

    def put_nowait(self, message: bytes) -> bool:
        """False: it is full, and `message` was not taken."""
        if len(self._waiting) >= self._max_messages or self._bytes + len(message) > self._max_bytes:
            return False
        self._waiting.append(message)
        self._bytes += len(message)
        self._filled.set()
        return True

    async def take(self, size: int) -> bytes:
        """What waits, in one piece: at least one message, and more up to `size` bytes.

        What was taken before counts as written.
        """
        self._taken = False
        while not self._waiting:
            self._emptied.set()
            self._filled = trio.Event()
            await self._filled.wait()
        self._taken = True
        piece = self._waiting.popleft()
        if self._waiting and len(piece) < size:
            parts, total = [piece], len(piece)
            while self._waiting and total + len(self._waiting[0]) <= size:
                parts.append(self._waiting.popleft())
                total += len(parts[-1])
            piece = b"".join(parts)
        self._bytes -= len(piece)
        return piece

    async def wait_written(self) -> None:
        """Until everything that was put in so far, and since, has been written."""
        while self._waiting or self._taken:
            self._emptied = trio.Event()
            await self._emptied.wait()
