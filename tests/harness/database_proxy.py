"""A TCP proxy between the server and PostgreSQL that delays, cuts and black-holes, in Trio.

It reads the client's messages (PostgreSQL's protocol 3, chapter 54 of the manual), so that it can cut at the
one place where "exactly once" is decided: around a COMMIT whose outcome the client then does not know.
"""

from __future__ import annotations

import collections
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import trio

# How a COMMIT goes wrong; the client sees a cut connection each time.
CommitFault = Literal[
    "not_sent",  # PostgreSQL never hears of it, and rolls back
    "unanswered",  # PostgreSQL has committed; the answer is lost
    "half_answered",  # the same, in the middle of the answer
    "abandoned",  # PostgreSQL neither hears of it nor of the cut: the transaction stays open, with its locks
]
COMMIT_FAULTS: tuple[CommitFault, ...] = ("not_sent", "unanswered", "half_answered", "abandoned")
_COMMIT = b"Q\x00\x00\x00\x0cCOMMIT;\x00"


class _Messages:
    """Cuts what a client says into messages. The first ones (SSLRequest, StartupMessage) have no type."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._typed = False

    def whole(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes."""
        self._buffer += data
        found = []
        while len(self._buffer) >= (head := int(self._typed)) + 4:
            length = head + struct.unpack_from("!I", self._buffer, head)[0]
            if len(self._buffer) < length:
                break
            message = bytes(self._buffer[:length])
            del self._buffer[:length]
            if not self._typed:
                self._typed = struct.unpack_from("!I", message, 4)[0] >> 16 == 3  # the startup of protocol 3
            found.append(message)
        return found


class _Link:
    """One connection through the proxy."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self.scope = scope
        self.answer_fault: CommitFault | None = None  # for PostgreSQL's next words
        self.abandoned = False


class DatabaseProxy:
    """Passes bytes on to a Unix socket. All faults hold for present and future connections until `heal`.

    `faults` counts what was done, so that a test can tell that its fault has happened.
    """

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._links: set[_Link] = set()
        self._delay = 0.0
        self._refusing = False
        self._hole: trio.Event | None = None
        self._budget: int | None = None
        self._commit: tuple[int, CommitFault] | None = None
        self._message: int | None = None
        self._forgotten = trio.Event()  # ends what was abandoned
        self.port = 0
        self.passed = 0  # bytes, both ways
        self.faults: collections.Counter[str] = collections.Counter()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    # -- faults

    def delay(self, seconds: float) -> None:
        """Every piece of data waits this long, each way."""
        self._delay = seconds

    def cut(self) -> None:
        """Breaks what is connected; new connections are welcome."""
        for link in list(self._links):
            self._cut(link, "cut")

    def refuse(self) -> None:
        """Breaks what is connected and whoever comes."""
        self._refusing = True
        self.cut()

    def cut_after(self, count: int) -> None:
        """Breaks what is connected after so many more bytes, in the middle of whatever is said then."""
        self._budget = count

    def cut_at_message(self, count: int) -> None:
        """Breaks the connection whose client says the `count`th message from now on (1: the next), which
        PostgreSQL does not get: between two statements of a transaction, mostly."""
        self._message = count

    def cut_at_commit(self, count: int, fault: CommitFault) -> None:
        """Breaks the connection that says the `count`th COMMIT from now on (1: the next)."""
        self._commit = (count, fault)

    def black_hole(self) -> None:
        """Nothing goes through and nothing breaks."""
        if self._hole is None:
            self._hole = trio.Event()

    def heal(self) -> None:
        """Ends all faults. What a black hole held back is lost with its connection; what was abandoned stays
        so, as it would."""
        self._delay, self._refusing, self._budget = 0.0, False, None
        self._commit = self._message = None
        if self._hole is not None:
            self.cut()
            self._hole.set()
            self._hole = None

    def forget_abandoned(self) -> None:
        """PostgreSQL learns at last that the other side of abandoned connections is gone."""
        self._forgotten.set()
        self._forgotten = trio.Event()

    def _cut(self, link: _Link, fault: str) -> None:
        self.faults[fault] += 1
        self._links.discard(link)
        link.scope.cancel()

    # -- passing on

    async def _serve(self, inner: trio.SocketStream) -> None:
        async with inner:
            if self._refusing:
                return
            forgotten = self._forgotten
            with contextlib.suppress(OSError, trio.BrokenResourceError):
                outer = await trio.open_unix_socket(self._socket_path)
                async with outer:
                    link = _Link(trio.CancelScope())
                    await self._connect(inner, outer, link)
                    if link.abandoned:
                        await trio.aclose_forcefully(inner)
                        await forgotten.wait()

    async def _connect(self, inner: trio.SocketStream, outer: trio.SocketStream, link: _Link) -> None:
        self._links.add(link)
        try:
            with link.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._requests, inner, outer, link)
                    nursery.start_soon(self._answers, outer, inner, link)
        finally:
            self._links.discard(link)

    async def _requests(self, inner: trio.SocketStream, outer: trio.SocketStream, link: _Link) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            said = _Messages()
            while data := await inner.receive_some(65_536):
                messages = said.whole(data)
                if self._message is None and self._commit is None:
                    await self._pass_on(b"".join(messages), outer, link)
                    continue
                for message in messages:
                    await self._look_at(message, link)
                    await self._pass_on(message, outer, link)
        link.scope.cancel()

    async def _look_at(self, message: bytes, link: _Link) -> None:
        if self._message is not None:
            self._message -= 1
            if self._message <= 0:
                self._message = None
                self._cut(link, "cut_at_message")
                await trio.lowlevel.checkpoint()  # the message goes no further
        if message == _COMMIT:
            await self._committing(link)

    async def _committing(self, link: _Link) -> None:
        if self._commit is None:
            return
        count, fault = self._commit
        if count > 1:
            self._commit = (count - 1, fault)
            return
        self._commit = None
        if fault in ("unanswered", "half_answered"):
            link.answer_fault = fault
            return
        link.abandoned = fault == "abandoned"
        self._cut(link, fault)
        await trio.lowlevel.checkpoint()  # the message goes no further

    async def _answers(self, outer: trio.SocketStream, inner: trio.SocketStream, link: _Link) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := bytes(await outer.receive_some(65_536)):
                if link.answer_fault is not None:
                    if link.answer_fault == "half_answered":
                        await self._pass_on(data[: len(data) // 2], inner, link)
                    self._cut(link, link.answer_fault)
                    await trio.lowlevel.checkpoint()
                await self._pass_on(data, inner, link)
        link.scope.cancel()

    async def _pass_on(self, data: bytes, target: trio.SocketStream, link: _Link) -> None:
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
