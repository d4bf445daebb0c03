from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.explained import Statement, indexes, literal, rows_read
from bench.data.patterns import MANY, MANY_PEOPLE, READS, WRITES, Pattern


def _plan(
    kind: str, table: str, rows: float, removed: float = 0, *, loops: int = 1, **more: Any
) -> Statement:
    node = {"Node Type": kind, "Relation Name": table, "Actual Rows": rows, "Actual Loops": loops}
    node |= {"Rows Removed by Filter": removed, **more}
    return Statement("", 1.0, {"Node Type": "Limit", "Actual Rows": 1, "Actual Loops": 1, "Plans": [node]})


def test_rows_that_a_filter_threw_away_were_read_too() -> None:
    found = [
        _plan("Seq Scan", "a", 1, 999),
        _plan("Index Scan", "a", 2.5, 0.5, loops=100),
        _plan("Seq Scan", "b", 7),
    ]
    assert rows_read(found) == {"a": 1000, "b": 7}


def test_indexes_of_all_nodes() -> None:
    found = [_plan("Index Scan", "a", 1, **{"Index Name": "i"}), _plan("Seq Scan", "b", 1)]
    assert indexes(found) == {"i"}


def test_a_pattern_says_what_is_wrong_with_a_plan() -> None:
    pattern = Pattern(name="", unit=lambda: None, keys="", arguments=lambda: ((), {}), uses=("i|j", "k"))  # type: ignore
    read = {"call_sessions": MANY["call_sessions"], "users": MANY_PEOPLE}
    assert pattern.faults({"j", "k"}, read) == []
    read = {"call_sessions": 5001, "users": 50_001}
    wrong = ["no use of k", "reads 5,001 rows of call_sessions", "reads 50,001 rows of users"]
    assert pattern.faults({"i"}, read) == wrong


def test_names_are_apart() -> None:
    names = [one.name for one in (*READS, *WRITES)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "'true'"),
        (5, "'5'"),
        (0.25, "'0.25'"),
        ("it's", "'it''s'"),
        (["a", None, 'b"\\,'], r"""'{"a",NULL,"b\"\\,"}'"""),
        ({"a": [1]}, """'{"a":[1]}'"""),
        (datetime(2026, 1, 2, tzinfo=UTC), "'2026-01-02T00:00:00+00:00'"),
    ],
)
def test_literals(value: object, text: str) -> None:
    assert literal(value) == text


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_no_text_ends_its_literal(text: str) -> None:
    inside = literal(text)[1:-1]
    assert inside.replace("''", "").count("'") == 0
    assert inside.replace("''", "'") == text
