"""What waits for a room's actor: requests in order, and news of which only the newest of a kind counts.

Requests are bounded by making their senders wait. News come from callers that cannot wait; they coalesce per
object, so their number is bounded by that of the objects and none is ever lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

import trio

T = TypeVar("T")


class Closed(Exception):
    """The actor has finished and takes no more requests."""


class Request:
    """One job and what came of it."""

    def __init__(self, job: Callable[[], object]) -> None:
        self.job = job
        self.value: object = None
        self.error: Exception | None = None
        self.done = trio.Event()

    def run(self) -> None:
        try:
            self.value = self.job()
        except Exception as error:
            self.error = error
        self.done.set()

    def refuse(self) -> None:
        self.error = Closed()
        self.done.set()


class Inbox:
    def __init__(self, *, max_requests: int) -> None:
        self._slots = trio.Semaphore(max_requests)
        self._requests: deque[Request] = deque()
        self._news: dict[Hashable, Callable[[], None]] = {}
        self._arrived = trio.Event()
        self._closed = False

    async def ask(self, job: Callable[[], T]) -> T:
        """Have the actor run `job` and return what it returns. Raises Closed, and what `job` raises."""
        async with self._slots:
            if self._closed:
                raise Closed
            request = Request(job)
            self._requests.append(request)
            self._arrived.set()
            await request.done.wait()
        if request.error is not None:
            raise request.error
        return cast(T, request.value)

    def tell(self, key: Hashable, news: Callable[[], None]) -> None:
        """Have the actor run `news`, unless newer ones with the same key come first."""
        if not self._closed:
            self._news.pop(key, None)
            self._news[key] = news
            self._arrived.set()

    async def wait(self) -> None:
        """Return when something is there."""
        await self._arrived.wait()

    def take(self, max_requests: int) -> tuple[list[Callable[[], None]], list[Request]]:
        """All news, and the oldest requests."""
        news = list(self._news.values())
        self._news.clear()
        requests = [self._requests.popleft() for _ in range(min(max_requests, len(self._requests)))]
        if not self._requests:
            self._arrived = trio.Event()
        return news, requests

    def close(self) -> None:
        """Refuse what waits and what comes."""
        self._closed = True
        self._news.clear()
        while self._requests:
            self._requests.popleft().refuse()
