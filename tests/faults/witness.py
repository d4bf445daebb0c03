"""A witness inside PostgreSQL: triggers that note each row a transaction wrote, and how it moved the marks.

The rows at the end can hide a change that was written twice: muting twice is muting. The witness cannot: it
keeps each committed version of each row with its transaction, in order.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.harness.postgres import psql

SCHEMA = """
CREATE TABLE witness (
    seq bigserial PRIMARY KEY, tx bigint NOT NULL DEFAULT txid_current(), tab text NOT NULL,
    was jsonb, now jsonb NOT NULL);
CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness (tab, was, now)
    VALUES (TG_TABLE_NAME, CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) END, to_jsonb(NEW));
    RETURN NULL;
END $$;
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON call_sessions FOR EACH ROW EXECUTE FUNCTION witness();
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON call_participants FOR EACH ROW EXECUTE FUNCTION witness();
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON call_metrics FOR EACH ROW EXECUTE FUNCTION witness();
CREATE TRIGGER witness AFTER UPDATE ON change_streams FOR EACH ROW EXECUTE FUNCTION witness();
"""


@dataclass(frozen=True)
class Entry:
    """A row as a transaction left it (`now`) and as it found it (`was`; None for a new row)."""

    tx: int
    table: str
    was: dict[str, Any] | None
    now: dict[str, Any]


def install(url: str) -> None:
    psql(url, SCHEMA)


def testimony(url: str) -> list[Entry]:
    """All that was committed, in order."""
    done = subprocess.run(
        ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", url, "-c",
         "SELECT jsonb_build_array(tx, tab, was, now) FROM witness ORDER BY seq"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return [Entry(*json.loads(line)) for line in done.stdout.splitlines()]


def milliseconds(time: float) -> int:
    """Unix seconds as PostgreSQL keeps them: timestamptz(3)."""
    return round(time * 1000)


def _at(row: dict[str, Any]) -> int:
    return milliseconds(datetime.fromisoformat(row["updatedAt"]).timestamp())


def assert_once_and_in_order(entries: list[Entry], told: list[tuple[str, float]]) -> None:
    """`told` are (stream, at) of every change, each with an `at` of its own, as they were submitted.

    Each was written in one transaction, in order, and that transaction alone moved the stream's mark past it.
    """
    ours = {milliseconds(at): stream for stream, at in told}
    assert len(ours) == len(told)
    marks: dict[str, int] = {}
    written: list[tuple[int, int]] = []  # (transaction, at), a change's rows together
    moved: dict[int, tuple[str, int]] = {}  # by transaction: the stream, and how far
    for entry in entries:
        if entry.table == "change_streams":
            assert entry.was is not None
            stream, was, now = entry.now["id"], entry.was["applied"], entry.now["applied"]
            assert was == marks.get(stream, 0), f"the mark of {stream} was {was} after {marks.get(stream)}"
            assert now > was, f"transaction {entry.tx} moved the mark of {stream} from {was} to {now}"
            assert entry.tx not in moved
            marks[stream], moved[entry.tx] = now, (stream, now - was)
        elif (at := _at(entry.now)) in ours and (not written or written[-1] != (entry.tx, at)):
            written.append((entry.tx, at))
    expected = [milliseconds(at) for _, at in told]
    assert [at for _, at in written] == expected, _first_difference([at for _, at in written], expected)
    for tx, group in itertools.groupby(written, key=lambda one: one[0]):
        changes = list(group)
        stream = ours[changes[0][1]]
        assert moved.get(tx) == (stream, len(changes)), (
            f"transaction {tx} wrote {len(changes)} changes of {stream} and moved marks: {moved.get(tx)}"
        )


def _first_difference(found: list[int], expected: list[int]) -> str:
    for n, (one, other) in enumerate(itertools.zip_longest(found, expected)):
        if one != other:
            return f"change {n} of {len(expected)}: written {one}, told {other}"
    return "no difference"


def assert_nothing_twice(entries: list[Entry]) -> None:
    """Of rows whose changes nobody has listed: no version of a row was written by two transactions, and marks
    only move on."""
    seen: dict[str, int] = {}
    for entry in entries:
        if entry.table == "change_streams":
            assert entry.was is not None
            assert entry.now["applied"] > entry.was["applied"], f"a mark went back: {entry}"
            continue
        if entry.was == entry.now and entry.now.get("startedAt") == entry.now["updatedAt"]:
            continue  # a link room's call has started as it was made, and is told so
        version = entry.table + json.dumps(entry.now, sort_keys=True)
        first = seen.setdefault(version, entry.tx)
        assert first == entry.tx, f"transactions {first} and {entry.tx} wrote the same: {entry.now}"
