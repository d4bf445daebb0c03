"""Asks a running server's embedded PostgreSQL one question: JSON on stdin, rows as JSON on stdout.

A process of its own, because asyncpg needs asyncio, which the test process leaves to the browsers' driver.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncpg

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from server.db.embedded import EmbeddedPostgres


async def _ask(asked: dict[str, Any]) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(EmbeddedPostgres(Path(asked["data_dir"])).dsn)
    try:
        for name in ("json", "jsonb"):
            await connection.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        rows = await connection.fetch(asked["sql"], *asked["values"])
        return [dict(row) for row in rows]
    finally:
        await connection.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_ask(json.load(sys.stdin))), default=str))
