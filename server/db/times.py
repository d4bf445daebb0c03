"""Unix seconds to what the tables hold: aware datetimes of whole milliseconds, and ISO text inside JSON."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(at: float) -> datetime:
    """Unix seconds as a UTC datetime, rounded to milliseconds as `timestamptz(3)` would.

    Raises `ValueError` or `OverflowError` for what is no time.
    """
    return datetime.fromtimestamp(round(at * 1000) / 1000, UTC)


def iso(at: float) -> str:
    """Unix seconds as JavaScript's `toISOString` writes them: `2025-10-28T10:30:45.000Z`."""
    return moment(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
