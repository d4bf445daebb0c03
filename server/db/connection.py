"""The part of an asyncpg connection that units of work use, as a type (asyncpg itself has none).

A unit of work is an asyncio-flavoured function `async def f(connection, *args)` that runs inside one
transaction; `Database.run` crosses from Trio to it once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

Row = Mapping[str, Any]
P = ParamSpec("P")
T = TypeVar("T")


class Connection(Protocol):
    """Parameters are `$1`, `$2` …; jsonb is given and taken as plain data; rows are mappings.
    `timeout` is in seconds; without it the pool's own limit holds."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str: ...
    async def fetch(self, query: str, *args: Any) -> Sequence[Row]: ...
    async def fetchrow(self, query: str, *args: Any) -> Row | None: ...
    async def fetchval(self, query: str, *args: Any) -> Any: ...

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Inside a unit of work of `Database.run` this is a savepoint."""


Unit = Callable[Concatenate[Connection, P], Awaitable[T]]


def rows_of(command_tag: str) -> int:
    """The number of rows in a command tag such as `UPDATE 3`."""
    return int(command_tag.rsplit(" ", 1)[-1])
