"""A connection that has every statement of a unit of work explained as it runs: server-side time and plan.

Statements run as prepared ones, so PostgreSQL chooses between a plan for the values and a generic one as it
does for the server's own. A statement runs twice: once for its result, which is undone where it wrote, and
once for EXPLAIN (ANALYZE, SERIALIZE), whose time holds planning, execution, triggers and the making of the
rows that would be sent, but neither the network nor the commit.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

import msgspec

from server.db.connection import Connection, Row, Unit

_numbers = itertools.count(1)
_PARAMETER = re.compile(r"\$(\d+)")
_TAKEN_UP = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
_EXPLAIN = "EXPLAIN (ANALYZE, SERIALIZE BINARY, TIMING OFF, BUFFERS OFF, FORMAT JSON)"


class Statement(msgspec.Struct, frozen=True):
    """What one execution took (ms, server-side) and by what plan (a node of EXPLAIN's JSON)."""

    sql: str
    ms: float
    plan: dict[str, Any]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def indexes(statements: Sequence[Statement]) -> set[str]:
    """The indexes that the plans use."""
    return {node["Index Name"] for one in statements for node in nodes(one.plan) if "Index Name" in node}


def rows_read(statements: Sequence[Statement]) -> Counter[str]:
    """By table, the most rows that one step of a plan took up, wanted or not."""
    found: Counter[str] = Counter()
    for one in statements:
        for node in nodes(one.plan):
            if "Relation Name" in node and node["Node Type"] != "ModifyTable":
                each = sum(node.get(name, 0) for name in _TAKEN_UP)
                table = node["Relation Name"]
                found[table] = max(found[table], round(each * node["Actual Loops"]))
    return found


def literal(value: object) -> str:
    """A parameter's value as EXECUTE takes it: text that the parameter's type reads."""
    if value is None:
        return "NULL"
    return "'" + _text(value).replace("'", "''") + "'"


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(one, (dict, list)) for one in value):
        return "{" + ",".join("NULL" if one is None else _quoted(_text(one)) for one in value) + "}"
    return msgspec.json.encode(value).decode()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Explained:
    """A `Connection` for units of work. `prepared` holds the session's statements: keep it as long."""

    def __init__(self, connection: Connection, prepared: dict[str, str]) -> None:
        self._connection = connection
        self._prepared = prepared
        self.statements: list[Statement] = []

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        status: str = await self._run(self._connection.execute, query, args)
        return status

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]:
        rows: Sequence[Row] = await self._run(self._connection.fetch, query, args)
        return rows

    async def fetchrow(self, query: str, *args: Any) -> Row | None:
        row: Row | None = await self._run(self._connection.fetchrow, query, args)
        return row

    async def fetchval(self, query: str, *args: Any) -> Any:
        return await self._run(self._connection.fetchval, query, args)

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        return self._connection.transaction()

    async def _run(self, how: Callable[..., Awaitable[Any]], query: str, args: tuple[Any, ...]) -> Any:
        name = self._prepared.get(query)
        if name is None:
            name = self._prepared[query] = f"explained_{next(_numbers)}"
            await self._connection.execute(f"PREPARE {name} AS {query}")
        used = {int(number) for number in _PARAMETER.findall(query)}
        assert used == set(range(1, len(args) + 1)), query
        values = f"({', '.join(literal(one) for one in args)})" if args else ""
        await self._connection.execute("SAVEPOINT explained")
        result = await how(query, *args)
        await self._connection.execute("ROLLBACK TO SAVEPOINT explained")
        rows = await self._connection.fetchval(f"{_EXPLAIN} EXECUTE {name}{values}")
        (found,) = rows
        self.statements.append(
            Statement(query, found["Planning Time"] + found["Execution Time"], found["Plan"])
        )
        return result


async def explain(
    connection: Connection, prepared: dict[str, str], unit: Unit[..., Any], *args: Any, **named: Any
) -> list[Statement]:
    """A unit of work that runs `unit` and returns what its statements took. Its writes stand."""
    # A scan that begins where the last one found the same row would look cheap.
    await connection.execute("SET LOCAL synchronize_seqscans = off")
    explained = Explained(connection, prepared)
    await unit(explained, *args, **named)
    return explained.statements


async def generic(
    connection: Connection, prepared: dict[str, str], *args: Any, **named: Any
) -> list[Statement]:
    """The same under generic plans, which do not know the values: what a prepared statement may come to."""
    await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    return await explain(connection, prepared, *args, **named)
