"""Tables of the first schema that were here before Tandem: made by Prisma, or by hand.

They become ours where they can: `0001` makes only what is missing, and this looks whether what is there fits,
and turns times without a zone (Prisma's, which are in UTC) into times with one. `users` and `chat_rooms` stay
the application's: they only get the columns that Tandem reads and they lack.
"""

from __future__ import annotations

import structlog

from server.db.connection import Connection
from server.db.errors import MigrationError
from server.db.giving_way import transaction_giving_way
from server.db.rewrites import Rewrite, rewrite

log = structlog.get_logger("tandem.db")

_TEXT = ("text", "character varying")
_TIME = ("timestamp with time zone", "timestamp without time zone")
# table: column: the types that do. All of these are written or read by name.
_CALLS: dict[str, dict[str, tuple[str, ...]]] = {
    "call_sessions": {
        "id": _TEXT,
        "roomId": _TEXT,
        "callType": ('"CallType"',),
        "status": ('"CallStatus"',),
        "startedAt": _TIME,
        "endedAt": _TIME,
        "duration": ("integer",),
    },
    "call_participants": {
        "id": _TEXT,
        "callSessionId": _TEXT,
        "userId": _TEXT,
        "joinedAt": _TIME,
        "leftAt": _TIME,
        "wasMuted": ("boolean",),
        "hadVideo": ("boolean",),
    },
}
_THEIRS: dict[str, dict[str, str]] = {
    "users": {"name": "text", "avatar": "text"},
    "chat_rooms": {"name": "text"},
}
_STAMP = "timestamptz(3) NOT NULL DEFAULT CURRENT_TIMESTAMP"
_LABELS = {"CallType": {"VIDEO", "AUDIO"}, "CallStatus": {"ACTIVE", "ENDED", "MISSED", "REJECTED"}}
_KEYS = {
    ("call_sessions", "roomId"): "chat_rooms",
    ("call_participants", "callSessionId"): "call_sessions",
    ("call_participants", "userId"): "users",
}


class _Column:
    def __init__(self, type: str, required: bool) -> None:
        self.type = type
        self.required = required  # by an INSERT: NOT NULL without a default


async def _columns(connection: Connection, table: str) -> dict[str, _Column]:
    rows = await connection.fetch(
        """
        SELECT attname, split_part(format_type(atttypid, NULL), '(', 1) AS type, attnotnull AND NOT atthasdef
               AND attidentity = '' AS required
          FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
        """,
        table,
    )
    return {row["attname"]: _Column(row["type"], row["required"]) for row in rows}


async def _misfits(connection: Connection) -> list[str]:
    """Why the tables that are there cannot be taken; nothing if they can."""
    found = []
    for table, wanted in _CALLS.items():
        columns = await _columns(connection, table)
        if not columns:
            continue
        for name, types in wanted.items():
            if name not in columns:
                found.append(f'{table} has no column "{name}"')
            elif columns[name].type not in types:
                found.append(f'{table}."{name}" is {columns[name].type}, not {types[0]}')
        found += [
            f'{table}."{name}" needs a default or must allow NULL: nothing here writes it'
            for name, column in columns.items()
            if column.required and name not in wanted
        ]
    for table in _THEIRS:
        columns = await _columns(connection, table)
        if columns and ("id" not in columns or columns["id"].type not in _TEXT):
            found.append(f"{table} has no id of type text")
    rows = await connection.fetch(
        "SELECT t.typname AS name, e.enumlabel AS label FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid"
    )
    for name, labels in _LABELS.items():
        there = {row["label"] for row in rows if row["name"] == name}
        if there and there != labels:
            found.append(f'the type "{name}" has the labels {sorted(there)}, not {sorted(labels)}')
    for (table, column), target in _KEYS.items():
        if await _columns(connection, table) and not await connection.fetchval(
            """
            SELECT true FROM pg_constraint k
              JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
             WHERE k.contype = 'f' AND k.confdeltype = 'c' AND k.conrelid = to_regclass($1)
               AND a.attname = $2 AND k.confrelid = to_regclass($3)
            """,
            table,
            column,
            target,
        ):
            found.append(f'{table}."{column}" has no foreign key to {target} with ON DELETE CASCADE')
    return found


async def _zone_times(connection: Connection, table: str, names: list[str]) -> None:
    """The session's zone is UTC, and so is what the naive times mean."""
    changes = [f'ALTER COLUMN "{name}" TYPE timestamptz(3)' for name in names]
    defaults = {"startedAt", "joinedAt"} & set(names)
    changes += [f'ALTER COLUMN "{name}" SET DEFAULT CURRENT_TIMESTAMP' for name in defaults]
    await connection.execute(f"ALTER TABLE {table} {', '.join(changes)}", timeout=3600.0)


async def _add_columns(connection: Connection, table: str, missing: list[tuple[str, str]]) -> None:
    changes = ", ".join(f'ADD COLUMN "{name}" {type_}' for name, type_ in missing)
    await connection.execute(f"ALTER TABLE {table} {changes}")


async def refuse_misfits(connection: Connection) -> None:
    """Raises a `MigrationError` that names all that does not fit."""
    misfits = await _misfits(connection)
    if misfits:
        raise MigrationError("the tables in this database cannot be used: " + "; ".join(misfits))


async def _naive(connection: Connection, table: str) -> list[str]:
    """The columns of times without a zone."""
    columns = await _columns(connection, table)
    return [
        name
        for name in _CALLS[table]
        if name in columns and columns[name].type == "timestamp without time zone"
    ]


async def rewrites_of_adoption(connection: Connection) -> list[Rewrite]:
    """The tables that `adopt` rewrites."""
    why = "its times have no zone and get one (UTC)"
    return [await rewrite(connection, table, why) for table in _CALLS if await _naive(connection, table)]


async def adopt(connection: Connection) -> bool:
    """Makes tables that were here before ready for `0001`; True if there were call tables.

    The connection is in no transaction. Raises what `refuse_misfits` raises; then nothing is touched.
    """
    await refuse_misfits(connection)
    adopted = False
    for table in _CALLS:
        columns = await _columns(connection, table)
        adopted = adopted or bool(columns)
        naive = await _naive(connection, table)
        if naive:
            size = await rewrite(connection, table, "")
            log.info(
                "giving times a zone: nobody can use the table until it is rewritten",
                table=table,
                columns=naive,
                rows=size.rows,
                bytes=size.bytes,
            )
            await transaction_giving_way(connection, _zone_times, table, naive)
    for table, wanted in _THEIRS.items():
        columns = await _columns(connection, table)
        if not columns:
            continue
        stamps = {"createdAt": _STAMP, "updatedAt": _STAMP}
        missing = [(name, type_) for name, type_ in {**wanted, **stamps}.items() if name not in columns]
        if missing:
            log.info("adding columns", table=table, columns=[name for name, _ in missing])
            await transaction_giving_way(connection, _add_columns, table, missing)
        known = {"id", *wanted, *stamps}
        required = [name for name, one in columns.items() if one.required and name not in known]
        if required:
            log.warning(
                f"rows of {table} must be there before a call names them: Tandem cannot fill these columns",
                columns=required,
            )
    return adopted
