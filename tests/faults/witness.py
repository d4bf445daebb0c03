"""A witness inside PostgreSQL: triggers that note each row a transaction wrote, and how it moved the marks.

The rows at the end can hide a change that was written twice: muting twice is muting. The witness cannot: it
keeps each committed version of each row with its transaction, in order.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Told:
    """A change as it was submitted; no two have the same `at`."""

    stream: str
    at: float
    quality_of: str | None = None  # the participant whose quality it reports: of several, the last counts


def assert_once_and_in_order(entries: list[Entry], told: list[Told]) -> None:
    """`told` is every change, as they were submitted.

    Each transaction wrote the next of them, as many as it moved the stream's mark by, and none but these.
    Within a transaction those of one row came in order; others may have been drawn together by kind.
    """
    numbers = {milliseconds(one.at): n for n, one in enumerate(told)}
    assert len(numbers) == len(told)
    marks: dict[str, int] = {}
    written: dict[int, list[int]] = {}  # by transaction: the numbers of the changes whose rows it wrote
    last: dict[tuple[str, str], int] = {}  # by row: the number of its newest change
    moved: list[tuple[int, str, int]] = []  # transaction, stream, how far; as they were committed
    for entry in entries:
        if entry.table == "change_streams":
            assert entry.was is not None
            stream, was, now = entry.now["id"], entry.was["applied"], entry.now["applied"]
            assert was == marks.get(stream, 0), f"the mark of {stream} was {was} after {marks.get(stream)}"
            assert now > was, f"transaction {entry.tx} moved the mark of {stream} from {was} to {now}"
            assert entry.tx not in (tx for tx, _, _ in moved)
            marks[stream] = now
            moved.append((entry.tx, stream, now - was))
        elif (n := numbers.get(_at(entry.now))) is not None:
            row = (entry.table, entry.now.get("id") or entry.now["callSessionId"])
            assert n >= last.get(row, 0), f"{row}: change {n} written after {last[row]}"
            last[row] = n
            written.setdefault(entry.tx, []).append(n)
    begin = 0
    for tx, stream, count in moved:
        batch = told[begin : begin + count]
        assert {one.stream for one in batch} == {stream}, f"transaction {tx} moved the mark of {stream}"
        newest = {one.quality_of: begin + n for n, one in enumerate(batch)}
        wanted = {begin + n for n, one in enumerate(batch) if one.quality_of is None}
        wanted |= {n for person, n in newest.items() if person is not None}
        found = set(written.pop(tx, []))
        assert wanted <= found <= set(range(begin, begin + count)), (
            f"transaction {tx} is of the changes {begin} to {begin + count}; wrote {sorted(found)}, "
            f"not {sorted(wanted - found)}"
        )
        begin += count
    assert begin == len(told), f"{begin} of {len(told)} changes are written"
    assert not written, f"transactions that moved no mark wrote {written}"


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
