"""schema.prisma says what the catalogue says: columns, types, defaults, indexes, keys and enums."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from server.db.pool import Database
from tests.db.test_schema import _columns, _enums, _indexes, _keys

SCHEMA = Path(__file__).resolve().parents[2] / "schema" / "schema.prisma"
TYPES = {
    "String": "text",
    "Int": "integer",
    "BigInt": "bigint",
    "Float": "double precision",
    "Boolean": "boolean",
    "Json": "jsonb",
    "DateTime": "timestamp(3) with time zone",
}


class Field(NamedTuple):
    name: str
    type: str
    optional: bool
    rest: str


class Model(NamedTuple):
    table: str
    fields: list[Field]
    attributes: list[str]


def blocks(kind: str) -> dict[str, list[str]]:
    text = SCHEMA.read_text()
    found = re.findall(rf"^{kind} (\w+) {{\n(.*?)^}}", text, re.MULTILINE | re.DOTALL)
    stripped = {
        name: [re.sub(r"\s*//.*", "", line).strip() for line in body.splitlines()] for name, body in found
    }
    return {name: [line for line in lines if line] for name, lines in stripped.items()}


def models() -> dict[str, Model]:
    found = {}
    for name, lines in blocks("model").items():
        attributes = [line for line in lines if line.startswith("@@")]
        fields = []
        for line in lines:
            match = re.fullmatch(r"(\w+)\s+(\w+)(\?|\[\])?\s*(.*)", line)
            if match is not None:
                fields.append(Field(match[1], match[2], match[3] == "?", match[4]))
        [table] = [match[1] for one in attributes if (match := re.fullmatch(r'@@map\("(\w+)"\)', one))]
        found[name] = Model(table, fields, attributes)
    return found


def names(attribute: str) -> list[str]:
    match = re.search(r"\[(.*?)\]", attribute)
    assert match is not None
    return match[1].split(", ")


def quoted(name: str) -> str:
    return name if name.islower() else f'"{name}"'


async def test_columns(db: Database) -> None:
    columns, enums = await db.run(_columns), await db.run(_enums)
    tables = {model.table: model for model in models().values()}
    assert set(tables) == set(columns)
    for table, model in tables.items():
        found = {}
        for field in model.fields:
            if field.type in enums or field.type in TYPES:
                assert field.type != "DateTime" or "@db.Timestamptz(3)" in field.rest, field
                by_database = "@default(" in field.rest and "cuid()" not in field.rest
                kind = TYPES.get(field.type) or f'"{field.type}"'
                found[field.name] = (kind, field.optional, by_database)
        assert found == {
            name: (kind, nullable, default is not None)
            for name, (kind, nullable, default) in columns[table].items()
        }, table


async def test_defaults(db: Database) -> None:
    columns = await db.run(_columns)
    for model in models().values():
        for field in model.fields:
            match = re.search(r'@default\("?(\w+)', field.rest)
            if match is not None and match[1] != "cuid":
                said = {"now": "CURRENT_TIMESTAMP"}.get(match[1], match[1])
                default = columns[model.table][field.name][2]
                assert default.strip("('").split("'")[0] == said, (model.table, field)


async def test_indexes(db: Database) -> None:
    found = {}
    for model in models().values():
        for one in model.attributes:
            if one.startswith(("@@index", "@@unique")):
                unique = one.startswith("@@unique")
                fields = names(one)
                named = re.search(r'map: "(\w+)"', one)
                name = named[1] if named else "_".join([model.table, *fields, "key" if unique else "idx"])
                definition = f"{model.table} ({', '.join(map(quoted, fields))})"
                found[name] = ("UNIQUE " if unique else "") + definition
        for field in model.fields:
            if re.search(r"@unique\b", field.rest):
                found[f"{model.table}_{field.name}_key"] = f"UNIQUE {model.table} ({quoted(field.name)})"
    # Prisma has no word for where nulls stand.
    catalogue = {name: one.replace(" NULLS FIRST", "") for name, one in (await db.run(_indexes)).items()}
    assert found == catalogue


async def test_keys(db: Database) -> None:
    known = models()
    found = {}
    for model in known.values():
        [key] = [field for field in model.fields if re.search(r"@id\b", field.rest)]
        found[f"{model.table}_pkey"] = f"PRIMARY KEY ({key.name})"
        for field in model.fields:
            match = re.search(r"fields: \[(\w+)\], references: \[(\w+)\], onDelete: (\w+)", field.rest)
            if match is not None:
                action = {"Cascade": "CASCADE", "SetNull": "SET NULL"}[match[3]]
                found[f"{model.table}_{match[1]}_fkey"] = (
                    f"FOREIGN KEY ({quoted(match[1])}) REFERENCES {known[field.type].table}({match[2]})"
                    f" ON UPDATE CASCADE ON DELETE {action}"
                )
    keys = await db.run(_keys)
    assert found == {name: text for name, text in keys.items() if not text.startswith("CHECK")}


async def test_enums(db: Database) -> None:
    assert blocks("enum") == await db.run(_enums)
