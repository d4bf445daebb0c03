"""Cursors: a row's place in a listing, `microseconds.id`. Clients hand them back as they are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

Place = tuple[datetime, str]
PATTERN = r"^[0-9]{1,17}\.[^\x00-\x1f\x7f]{1,200}\Z"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode(place: Place) -> str:
    return f"{(place[0] - _EPOCH) // timedelta(microseconds=1)}.{place[1]}"


def decode(cursor: str) -> Place:
    """Of a text that fits PATTERN: every such text is a place."""
    assert re.match(PATTERN, cursor)
    microseconds, _, row_id = cursor.partition(".")
    return _EPOCH + timedelta(microseconds=int(microseconds)), row_id


def page_of(rows: list[dict[str, Any]], limit: int, time: str) -> tuple[list[dict[str, Any]], str | None]:
    """Of one row more than asked for: those asked for, and the cursor of what comes after them."""
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], encode((last[time], last["id"]))
