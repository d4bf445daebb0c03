"""Streams for a port that speaks several protocols: look at the first bytes, then give them back."""

from __future__ import annotations

import trio


class PrefixStream(trio.abc.Stream):
    """A stream whose first bytes were already read by somebody else."""

    def __init__(self, stream: trio.abc.Stream, prefix: bytes) -> None:
        self._stream = stream
        self._prefix = prefix

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._prefix:
            await trio.lowlevel.checkpoint()
            count = len(self._prefix) if max_bytes is None else max_bytes
            data, self._prefix = self._prefix[:count], self._prefix[count:]
            return data
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()
