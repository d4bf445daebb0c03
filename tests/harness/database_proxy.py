"""A TCP proxy between the server and PostgreSQL that delays, cuts and black-holes, in Trio."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class DatabaseProxy:
    """Passes bytes on to a Unix socket. All faults hold for present and future connections until `heal`."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._connections: set[trio.CancelScope] = set()
        self._delay = 0.0
        self._refusing = False
        self._hole: trio.Event | None = None
        self._budget: int | None = None
        self.port = 0
        self.passed = 0  # bytes, both ways

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    # -- faults

    def delay(self, seconds: float) -> None:
        """Every piece of data waits this long, each way."""
        self._delay = seconds

    def cut(self) -> None:
        """Breaks what is connected; new connections are welcome."""
        for scope in list(self._connections):
            scope.cancel()

    def refuse(self) -> None:
        """Breaks what is connected and whoever comes."""
        self._refusing = True
        self.cut()

    def cut_after(self, count: int) -> None:
        """Breaks what is connected after so many more bytes, in the middle of whatever is said then: a
        statement, or the answer to a commit."""
        self._budget = count

    def black_hole(self) -> None:
        """Nothing goes through and nothing breaks."""
        if self._hole is None:
            self._hole = trio.Event()

    def heal(self) -> None:
        """Ends all faults. What a black hole held back is lost with its connection."""
        self._delay, self._refusing, self._budget = 0.0, False, None
        if self._hole is not None:
            self.cut()
            self._hole.set()
            self._hole = None

    # -- passing on

    async def _serve(self, inner: trio.SocketStream) -> None:
        async with inner:
            if self._refusing:
                return
            with trio.CancelScope() as scope, contextlib.suppress(OSError, trio.BrokenResourceError):
                self._connections.add(scope)
                try:
                    outer = await trio.open_unix_socket(self._socket_path)
                    async with outer, trio.open_nursery() as nursery:
                        nursery.start_soon(self._pass_on, inner, outer, scope)
                        nursery.start_soon(self._pass_on, outer, inner, scope)
                finally:
                    self._connections.discard(scope)

    async def _pass_on(
        self, source: trio.abc.Stream, target: trio.abc.Stream, scope: trio.CancelScope
    ) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(65_536):
                if self._delay:
                    await trio.sleep(self._delay)
                if self._hole is not None:
                    await self._hole.wait()
                if self._budget is not None:
                    data, self._budget = data[: self._budget], self._budget - len(data)
                self.passed += len(data)
                await target.send_all(data)
                if self._budget is not None and self._budget <= 0:
                    self._budget = None
                    self.cut()
        scope.cancel()


@asynccontextmanager
async def database_proxy(socket_path: str) -> AsyncIterator[DatabaseProxy]:
    proxy = DatabaseProxy(socket_path)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, proxy._serve, listeners)
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
