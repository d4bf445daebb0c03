"""Brings a database to the schema in the `schema` package, one numbered file at a time, while others write.

`NNNN_name.sql` goes forward, `NNNN_name.down.sql` back. What was applied is written down in
`schema_migrations` with a checksum, so a file that was changed afterwards is noticed.

A file is one transaction, or several steps that begin with a line `--@ transaction` or `--@ alone`. A
transaction gives way to those who hold locks and is tried again. The statements of an `alone` step run one by
one outside of any transaction (CREATE INDEX CONCURRENTLY, VALIDATE CONSTRAINT) and must bear being repeated.
Finished steps are written down in `schema_steps`, so a migration that was cut short goes on where it was.

Two servers that start at once are put in order by an advisory lock. It belongs to the session and is asked
for again and again: waiting for it would hold a snapshot, which CREATE INDEX CONCURRENTLY waits for.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from importlib.resources import files
from typing import Literal

import msgspec

from server.db.adoption import adopt, refuse_misfits, rewrites_of_adoption
from server.db.connection import Connection
from server.db.errors import MigrationError
from server.db.giving_way import run_giving_way, transaction_giving_way
from server.db.pool import Database
from server.db.rehearsal import try_alone
from server.db.rewrites import Rewrite, rewrites_of

_MARKER = re.compile(r"^--@ (transaction|alone)\n", re.MULTILINE)
_INDEX = re.compile(r'CREATE (?:UNIQUE )?INDEX CONCURRENTLY "?(\w+)"? ')
_NAME = re.compile(r"(\d{4})_(\w+?)(\.down)?\.sql")
_LOCK = 0x7461_6E64_656D  # "tandem"

STATEMENT_TIMEOUT = 3600.0  # seconds: a large table takes its time, and so does the other server's turn

_BOOKKEEPING = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version      integer PRIMARY KEY,
    name         text NOT NULL,
    checksum     text NOT NULL,
    "appliedAt"  timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    adopted      boolean NOT NULL DEFAULT false -- its tables were here before Tandem
);
CREATE TABLE IF NOT EXISTS schema_steps (
    version      integer,
    step         integer, -- from 0
    checksum     text NOT NULL,
    PRIMARY KEY (version, step)
)
"""

State = Literal["applied", "pending", "unfinished", "changed", "unknown"]


class Step(msgspec.Struct, frozen=True):
    alone: bool
    sql: str

    @property
    def statements(self) -> list[str]:
        """The statements of an `alone` step: each ends with a semicolon at the end of a line."""
        lines = [line for line in self.sql.splitlines() if not line.startswith("--")]
        return [one.strip() for one in re.split(r";$", "\n".join(lines), flags=re.MULTILINE) if one.strip()]


class Migration(msgspec.Struct, frozen=True):
    version: int
    name: str
    sql: str
    down_sql: str | None

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def steps(self) -> list[Step]:
        _, *parts = _MARKER.split(self.sql)
        if not parts:
            return [Step(False, self.sql)]
        return [Step(kind == "alone", sql) for kind, sql in zip(parts[::2], parts[1::2], strict=True)]


class MigrationStatus(msgspec.Struct, frozen=True):
    """`unfinished`: cut short, and will go on. `changed`: applied, but the file is another one now.
    `unknown`: applied by a newer version of Tandem."""

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


async def _begun(connection: Connection) -> dict[int, dict[int, str]]:
    """The finished steps of unfinished migrations, each with the checksum of the file it came from."""
    if await connection.fetchval("SELECT to_regclass('schema_steps')") is None:
        return {}
    found: dict[int, dict[int, str]] = {}
    for row in await connection.fetch("SELECT version, step, checksum FROM schema_steps"):
        found.setdefault(row["version"], {})[row["step"]] = row["checksum"]
    return found


async def read_status(connection: Connection, known: list[Migration]) -> list[MigrationStatus]:
    applied, begun = await _applied(connection), await _begun(connection)
    found = []
    for migration in known:
        row = applied.pop(migration.version, None)
        if row is None:
            steps = begun.get(migration.version, {}).values()
            waiting: State = "unfinished" if steps else "pending"
            if any(checksum != migration.checksum for checksum in steps):
                waiting = "changed"
            found.append(MigrationStatus(migration.version, migration.name, waiting))
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
    states = ["applied" if one.state == "applied" else "pending" for one in statuses]
    if "pending" in states and "applied" in states[states.index("pending") :]:
        raise MigrationError("the database lacks a migration that is older than its newest one")


async def _lock(connection: Connection) -> None:
    """Keeps other servers and admins from migrating until the pool has this connection back."""
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
        await connection.execute("SELECT pg_sleep(0.05)")


async def _run_step(connection: Connection, migration: Migration, number: int, step: Step) -> None:
    """A step's SQL together with its mark."""
    if not step.alone:
        await connection.execute(step.sql, timeout=STATEMENT_TIMEOUT)
    await connection.execute(
        "INSERT INTO schema_steps (version, step, checksum) VALUES ($1, $2, $3)",
        migration.version,
        number,
        migration.checksum,
    )


async def _run_alone(connection: Connection, statement: str) -> None:
    index = _INDEX.match(statement)
    if index is not None:
        valid = await connection.fetchval(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", f'"{index[1]}"'
        )
        if valid:
            return
        if valid is False:  # its building was cut short
            await connection.execute(f'DROP INDEX CONCURRENTLY "{index[1]}"', timeout=STATEMENT_TIMEOUT)
    await connection.execute(statement, timeout=STATEMENT_TIMEOUT)


async def _note(connection: Connection, migration: Migration, adopted: bool) -> None:
    await connection.execute(
        "INSERT INTO schema_migrations (version, name, checksum, adopted) VALUES ($1, $2, $3, $4)",
        migration.version,
        migration.name,
        migration.checksum,
        adopted,
    )
    await connection.execute("DELETE FROM schema_steps WHERE version = $1", migration.version)


async def _apply(connection: Connection, migration: Migration) -> None:
    adopted = migration.version == 1 and await adopt(connection)
    done = (await _begun(connection)).get(migration.version, {})
    for number, step in enumerate(migration.steps):
        if number not in done:
            if step.alone:
                for statement in step.statements:
                    await _run_alone(connection, statement)
            await transaction_giving_way(connection, _run_step, migration, number, step)
    async with connection.transaction():
        await _note(connection, migration, adopted)


async def _migrate(connection: Connection, known: list[Migration], to: int) -> list[Migration]:
    """All of `migrate`, on one connection that is in no transaction."""
    await _lock(connection)
    statuses = await read_status(connection, known)
    _refuse_strangers(statuses)
    waiting = [m for m, one in zip(known, statuses, strict=True) if one.state != "applied"]
    todo = [migration for migration in waiting if migration.version <= to]
    if todo:
        await connection.execute(_BOOKKEEPING)
    for migration in todo:
        await _apply(connection, migration)
    return todo


async def _rehearse(connection: Connection, known: list[Migration], to: int, done: list[Migration]) -> None:
    await connection.execute(_BOOKKEEPING)
    statuses = await read_status(connection, known)
    _refuse_strangers(statuses)
    begun = await _begun(connection)
    for migration, one in zip(known, statuses, strict=True):
        if one.state != "applied" and migration.version <= to:
            if migration.version == 1:
                await refuse_misfits(connection)
            for number, step in enumerate(migration.steps):
                if number in begun.get(migration.version, {}):
                    continue
                if step.alone:
                    for statement in step.statements:
                        await try_alone(connection, statement)
                else:
                    await connection.execute(step.sql, timeout=STATEMENT_TIMEOUT)
            done.append(migration)
    raise _Rehearsed


async def _revert_last(connection: Connection, known: list[Migration], last: int) -> None:
    migration = known[last - 1]
    if migration.down_sql is None:
        raise MigrationError(f"{migration.version:04}_{migration.name} has no way back")
    if await connection.fetchval("SELECT adopted FROM schema_migrations WHERE version = $1", last):
        raise MigrationError(f"the tables of {migration.name} were here before Tandem: it does not drop them")
    await connection.execute(migration.down_sql, timeout=STATEMENT_TIMEOUT)
    await connection.execute("DELETE FROM schema_migrations WHERE version = $1", last)


async def _rollback(connection: Connection, known: list[Migration], to: int) -> list[Migration]:
    """All of `rollback`, on one connection that is in no transaction."""
    await _lock(connection)
    statuses = await read_status(connection, known)
    _refuse_strangers(statuses)
    unfinished = [f"{one.version:04}_{one.name}" for one in statuses if one.state == "unfinished"]
    if unfinished:
        raise MigrationError(f"{unfinished[0]} was cut short; migrate to its end, then roll back")
    done = []
    for one in reversed(statuses):
        if one.state == "applied" and one.version > to:
            await transaction_giving_way(connection, _revert_last, known, one.version)
            done.append(known[one.version - 1])
    return done


def _target(known: list[Migration], to: int | None) -> int:
    newest = len(known)
    if to is not None and not 0 <= to <= newest:
        raise MigrationError(f"there is no migration {to:04}; they are numbered 0001 to {newest:04}")
    return newest if to is None else to


async def status(database: Database) -> list[MigrationStatus]:
    """Every migration known here or applied there, in order."""
    return await database.run(read_status, load_migrations())


async def migrate(database: Database, *, to: int | None = None) -> list[Migration]:
    """Applies what is pending (up to number `to`); returns what it did. Who writes meanwhile is not held up.

    Raises `MigrationError` when an applied file was changed or is unknown here; then nothing is touched.
    """
    known = load_migrations()
    return await database.run_bare(_migrate, known, _target(known, to))


async def rehearse(database: Database, *, to: int | None = None) -> list[Migration]:
    """What `migrate` would do, tried in one transaction that is rolled back. Raises what `migrate` would.

    Statements of `alone` steps, which build indexes and check constraints beside those who write, are tried
    on empty copies of their tables.
    """
    known = load_migrations()
    done: list[Migration] = []
    try:
        await run_giving_way(database, _rehearse, known, _target(known, to), done)
    except _Rehearsed:
        return done
    raise AssertionError("a rehearsal always rolls back")


async def read_rewrites(connection: Connection, known: list[Migration], to: int) -> list[Rewrite]:
    """All of `rewrites_back`."""
    statuses = await read_status(connection, known)
    found = []
    for one in reversed(statuses):
        if one.state == "applied" and one.version > to:
            found += await rewrites_of(connection, known[one.version - 1].down_sql or "")
    return found


async def rewrites_back(database: Database, *, to: int) -> list[Rewrite]:
    """The tables that `rollback` would keep from everybody for long, and why it cannot be otherwise."""
    known = load_migrations()
    return await database.run(read_rewrites, known, _target(known, to))


async def rewrites_there(database: Database) -> list[Rewrite]:
    """The tables that `migrate` would keep from everybody for long: only such as another tool made."""
    statuses = await status(database)
    if statuses and statuses[0].state == "pending":
        return await database.run(rewrites_of_adoption)
    return []


async def rollback(database: Database, *, to: int) -> list[Migration]:
    """Reverts applied migrations above number `to`, newest first, each in a transaction of its own."""
    known = load_migrations()
    return await database.run_bare(_rollback, known, _target(known, to))
