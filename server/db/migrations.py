"""Brings a database to the schema in the `schema` package, one numbered file and one transaction at a time.

`NNNN_name.sql` goes forward, `NNNN_name.down.sql` back. What was applied is written down in
`schema_migrations` with a checksum, so a file that was changed afterwards is noticed. Two servers that start
at once are put in order by an advisory lock. The functions on `Connection` are units of work; the others
cross from Trio.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from importlib.resources import files
from typing import Literal

import msgspec

from server.db.connection import Connection
from server.db.errors import MigrationError
from server.db.pool import Database

_NAME = re.compile(r"(\d{4})_(\w+?)(\.down)?\.sql")
_LOCK = 0x7461_6E64_656D  # "tandem"

STATEMENT_TIMEOUT = 3600.0  # seconds: a large table takes its time, and so does the other server's turn

_BOOKKEEPING = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version      integer PRIMARY KEY,
    name         text NOT NULL,
    checksum     text NOT NULL,
    "appliedAt"  timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""

State = Literal["applied", "pending", "changed", "unknown"]


class Migration(msgspec.Struct, frozen=True):
    version: int
    name: str
    sql: str
    down_sql: str | None

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


class MigrationStatus(msgspec.Struct, frozen=True):
    """`changed`: applied, but the file is another one now. `unknown`: applied by a newer version of
    Tandem."""

    version: int
    name: str
    state: State
    applied_at: datetime | None = None


class _Rehearsed(Exception):
    """Rolls a rehearsal back."""


def load_migrations() -> list[Migration]:
    """The files of the `schema` package in order; raises `MigrationError` for a gap or a double number."""
    forward: dict[int, tuple[str, str]] = {}
    back: dict[int, str] = {}
    for file in files("schema").iterdir():
        match = _NAME.fullmatch(file.name)
        if match is None:
            continue
        version, text = int(match[1]), file.read_text(encoding="utf-8")
        if match[3]:
            back[version] = text
        elif version in forward:
            raise MigrationError(f"two migrations have the number {version:04}")
        else:
            forward[version] = (match[2], text)
    if sorted(forward) != list(range(1, len(forward) + 1)):
        raise MigrationError(f"the migrations are not numbered without gaps: {sorted(forward)}")
    return [Migration(v, name, sql, back.get(v)) for v, (name, sql) in sorted(forward.items())]


async def _applied(connection: Connection) -> dict[int, tuple[str, str, datetime]]:
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return {}
    rows = await connection.fetch('SELECT version, name, checksum, "appliedAt" FROM schema_migrations')
    return {row["version"]: (row["name"], row["checksum"], row["appliedAt"]) for row in rows}


async def read_status(connection: Connection, known: list[Migration]) -> list[MigrationStatus]:
    applied = await _applied(connection)
    found = []
    for migration in known:
        row = applied.pop(migration.version, None)
        if row is None:
            found.append(MigrationStatus(migration.version, migration.name, "pending"))
        else:
            same = row[:2] == (migration.name, migration.checksum)
            state: State = "applied" if same else "changed"
            found.append(MigrationStatus(migration.version, migration.name, state, row[2]))
    found += [MigrationStatus(v, name, "unknown", at) for v, (name, _, at) in sorted(applied.items())]
    return found


def _refuse_strangers(statuses: list[MigrationStatus]) -> None:
    for one in statuses:
        label = f"{one.version:04}_{one.name}"
        if one.state == "changed":
            raise MigrationError(f"{label} was changed after it had been applied; restore the file")
        if one.state == "unknown":
            raise MigrationError(
                f"{label} is in the database but not here: it needs a newer version of Tandem"
            )
    states = [one.state for one in statuses]
    if "pending" in states and "applied" in states[states.index("pending") :]:
        raise MigrationError("the database lacks a migration that is older than its newest one")


async def _lock(connection: Connection) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK, timeout=STATEMENT_TIMEOUT)


async def _apply(connection: Connection, migration: Migration) -> None:
    await connection.execute(migration.sql, timeout=STATEMENT_TIMEOUT)
    await connection.execute(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.checksum,
    )


async def _apply_next(connection: Connection, known: list[Migration], to: int) -> Migration | None:
    await _lock(connection)
    await connection.execute(_BOOKKEEPING)
    statuses = await read_status(connection, known)
    _refuse_strangers(statuses)
    for migration, one in zip(known, statuses, strict=True):
        if one.state == "pending" and migration.version <= to:
            await _apply(connection, migration)
            return migration
    return None


async def _rehearse(connection: Connection, known: list[Migration], to: int, done: list[Migration]) -> None:
    while (migration := await _apply_next(connection, known, to)) is not None:
        done.append(migration)
    raise _Rehearsed


async def _revert_last(connection: Connection, known: list[Migration], to: int) -> Migration | None:
    await _lock(connection)
    statuses = await read_status(connection, known)
    _refuse_strangers(statuses)
    last = max((one.version for one in statuses if one.state == "applied"), default=0)
    if last <= to:
        return None
    migration = known[last - 1]
    if migration.down_sql is None:
        raise MigrationError(f"{migration.version:04}_{migration.name} has no way back")
    await connection.execute(migration.down_sql, timeout=STATEMENT_TIMEOUT)
    await connection.execute("DELETE FROM schema_migrations WHERE version = $1", last)
    return migration


def _target(known: list[Migration], to: int | None) -> int:
    newest = len(known)
    if to is not None and not 0 <= to <= newest:
        raise MigrationError(f"there is no migration {to:04}; they are numbered 0001 to {newest:04}")
    return newest if to is None else to


async def status(database: Database) -> list[MigrationStatus]:
    """Every migration known here or applied there, in order."""
    return await database.run(read_status, load_migrations())


async def migrate(database: Database, *, to: int | None = None) -> list[Migration]:
    """Applies what is pending (up to number `to`), each in a transaction of its own; returns what it did.

    Raises `MigrationError` when an applied file was changed or is unknown here; then nothing is touched.
    """
    known = load_migrations()
    target = _target(known, to)
    done = []
    while (migration := await database.run(_apply_next, known, target)) is not None:
        done.append(migration)
    return done


async def rehearse(database: Database, *, to: int | None = None) -> list[Migration]:
    """What `migrate` would do, tried in one transaction that is rolled back. Raises what `migrate` would."""
    known = load_migrations()
    done: list[Migration] = []
    try:
        await database.run(_rehearse, known, _target(known, to), done)
    except _Rehearsed:
        return done
    raise AssertionError("a rehearsal always rolls back")


async def rollback(database: Database, *, to: int) -> list[Migration]:
    """Reverts applied migrations above number `to`, newest first, each in a transaction of its own."""
    known = load_migrations()
    target = _target(known, to)
    done = []
    while (migration := await database.run(_revert_last, known, target)) is not None:
        done.append(migration)
    return done
