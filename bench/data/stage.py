"""The PostgreSQL that the database's questions are asked of: embedded, filled, and as the server runs it."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from bench.data.generate import fill
from server.db.embedded import EmbeddedPostgres
from server.db.migrations import STATEMENT_TIMEOUT, migrate
from server.db.pool import open_database
from tests.harness.postgres import public_dir

# While rows are made nothing is worth keeping if the machine goes down.
_LOADING = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "8GB", "autovacuum": "off"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--calls", type=int, default=1_000_000, help="and about five times as many participants"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="make the data there, or use it if it is there already"
    )
    parser.add_argument("--json", metavar="FILE")


@asynccontextmanager
async def stage(calls: int, keep: Path | None) -> AsyncIterator[str]:
    """The URL of a database with so many calls, for the block; its PostgreSQL has the server's own settings.
    Call it on the main thread."""
    with public_dir("tandem-bench-") as temporary:
        data_dir = temporary if keep is None else keep
        data_dir.mkdir(parents=True, exist_ok=True)
        await _prepare(data_dir, calls)
        postgres = EmbeddedPostgres(data_dir)
        await postgres.start()
        try:
            async with open_database(postgres.dsn, size=1, statement_timeout=STATEMENT_TIMEOUT) as database:
                await migrate(database)  # what came since a kept data set was made
            yield postgres.dsn
        finally:
            await postgres.stop()


def _is_there(data_dir: Path, calls: int) -> bool:
    if _mark(data_dir, calls).exists():
        return True
    if any(data_dir.iterdir()):
        raise SystemExit(
            f"{data_dir} holds something else: another size, an older recipe, or half of it; remove it"
        )
    return False


async def _prepare(data_dir: Path, calls: int) -> None:
    if _is_there(data_dir, calls):
        return
    began = time.monotonic()
    postgres = EmbeddedPostgres(data_dir, settings=_LOADING)
    await postgres.start()
    try:
        async with open_database(postgres.dsn, size=1, statement_timeout=STATEMENT_TIMEOUT) as database:
            await migrate(database)
            await fill(database, calls, progress=sys.stderr.isatty())
            await database.run_bare(_checkpoint)
    finally:
        await postgres.stop()
    await trio.to_thread.run_sync(os.sync)
    _mark(data_dir, calls).touch()
    print(f"{calls:,} calls made in {time.monotonic() - began:.0f} s", file=sys.stderr)


async def _checkpoint(connection) -> None:  # type: ignore[no-untyped-def]
    await connection.execute("CHECKPOINT")


def _mark(data_dir: Path, calls: int) -> Path:
    """The file that says what is in the directory; rows of another version of the generator are others."""
    recipe = hashlib.sha256((Path(__file__).parent / "generate.py").read_bytes()).hexdigest()[:8]
    return data_dir / f"filled-{calls}-{recipe}"
