"""`tandem db`: look after the database: its schema here, its rows in `db_rows`.

Exit status: 0 done; 1 something is left to do (`status`: migrations that are not applied; `verify`,
`cleanup`: rows that are wrong; `export-user`, `erase-user`: nobody known by this id, or a row that is another
application's); 2 it failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from server.cli import db_rows
from server.cli.db_output import DONE, FAILED, LEFT, show
from server.db import migrations
from server.db.embedded import EmbeddedPostgres
from server.db.errors import DatabaseError
from server.db.pool import Database, open_database
from server.db.storage import lock_data_dir

STATEMENT_TIMEOUT = 3600.0  # seconds: what looks at every row of a large table takes its time


def add_parser(subparsers: Any) -> None:
    """Adds `db` and its commands to the `tandem` command's parsers."""
    parser = subparsers.add_parser("db", help="look after the database", description=__doc__)
    commands = parser.add_subparsers(dest="db_command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
        one.add_argument("--json", action="store_true", help="print JSON")
        return one

    command("status", "tell which migrations are applied, pending or changed on disk")
    migrate = command("migrate", "apply what is pending")
    migrate.add_argument(
        "--dry-run", action="store_true", help="try it in a transaction, roll back, print the SQL"
    )
    migrate.add_argument("--to", type=int, metavar="N", help="stop after migration N")
    rollback = command("rollback", "revert migrations by their reverse scripts")
    rollback.add_argument("--to", type=int, metavar="N", required=True, help="the last migration to keep")
    rollback.add_argument("--dry-run", action="store_true", help="print what would be reverted")
    db_rows.add_parsers(command)


@asynccontextmanager
async def _database(data_dir: Path, database_url: str | None) -> AsyncIterator[Database]:
    """The external database, the embedded one of a running server, or the embedded one started for the
    moment."""
    with ExitStack() as stack:
        postgres = None
        if database_url is None:
            postgres = EmbeddedPostgres(data_dir)
            postgres.locate()
            if postgres.pid is None:
                stack.enter_context(lock_data_dir(data_dir))
                await postgres.start()
            database_url = postgres.dsn
        try:
            async with open_database(database_url, size=2, statement_timeout=STATEMENT_TIMEOUT) as database:
                yield database
        finally:
            if postgres is not None:
                await postgres.stop()


def _label(one: migrations.Migration | migrations.MigrationStatus) -> str:
    return f"{one.version:04}_{one.name}"


async def _status(args: argparse.Namespace, database: Database) -> int:
    statuses = await migrations.status(database)
    lines = [
        f"{_label(one):32} {one.state}"
        + (f" {one.applied_at:%Y-%m-%d %H:%M:%S} UTC" if one.applied_at else "")
        for one in statuses
    ]
    show(args, {"migrations": statuses}, lines)
    return DONE if all(one.state == "applied" for one in statuses) else LEFT


async def _migrate(args: argparse.Namespace, database: Database) -> int:
    if args.dry_run:
        tried = await migrations.rehearse(database, to=args.to)
        rewrites = await migrations.rewrites_there(database)
        sql = [f"-- {_label(one)}\n{one.sql.strip()}\n" for one in tried]
        data = {
            "wouldApply": [{"migration": _label(one), "sql": one.sql} for one in tried],
            "rewrites": rewrites,
        }
        end = f"-- {len(tried)} to apply; tried and rolled back (what runs alone: on empty copies of tables)"
        show(args, data, [*sql, *(f"-- {one}" for one in rewrites), end])
        return DONE
    done = await migrations.migrate(database, to=args.to)
    show(
        args,
        {"applied": [_label(one) for one in done]},
        [f"applied {_label(one)}" for one in done] or ["nothing to do"],
    )
    return DONE


async def _rollback(args: argparse.Namespace, database: Database) -> int:
    if args.dry_run:
        statuses = await migrations.status(database)
        names = [
            _label(one) for one in reversed(statuses) if one.state != "pending" and one.version > args.to
        ]
        rewrites = await migrations.rewrites_back(database, to=args.to)
        lines = [f"would revert {name}" for name in names] + [str(one) for one in rewrites]
        show(args, {"wouldRevert": names, "rewrites": rewrites}, lines or ["nothing to do"])
        return DONE
    for one in await migrations.rewrites_back(database, to=args.to):
        print(one, file=sys.stderr)
    done = await migrations.rollback(database, to=args.to)
    show(
        args,
        {"reverted": [_label(one) for one in done]},
        [f"reverted {_label(one)}" for one in done] or ["nothing to do"],
    )
    return DONE


_COMMANDS = {"status": _status, "migrate": _migrate, "rollback": _rollback, **db_rows.COMMANDS}


async def _run(args: argparse.Namespace) -> int:
    async with _database(Path(args.data_dir), args.database_url) as database:
        return await _COMMANDS[args.db_command](args, database)


def run(args: argparse.Namespace) -> int:
    """Runs the chosen command; `args.data_dir` and `args.database_url` come from the `tandem` command."""
    failure: list[BaseException] = []

    async def guarded() -> int:
        try:
            return await _run(args)
        except* (DatabaseError, OSError, ValueError) as group:
            failure.append(group)
        return FAILED

    code = trio.run(guarded)
    for error in failure:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if args.json:
            print(msgspec.json.encode({"error": str(error)}).decode())
        print(f"tandem db {args.db_command}: {error}", file=sys.stderr)
    return code
