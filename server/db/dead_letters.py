"""Changes that PostgreSQL refused for good, one JSON object a line, for a person to look at.

They may hold names, so whoever exports or erases a person's data looks here too.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

NAME = "dead-letters.jsonl"


@contextmanager
def _locked(path: Path, mode: str) -> Iterator[BinaryIO]:
    """The file, held against the other process (a server appends while an admin erases)."""
    with open(path, mode) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file  # type: ignore[misc]
        file.flush()
        os.fsync(file.fileno())


def append(directory: Path, letter: dict[str, Any]) -> None:
    """Adds a line and flushes it to the disk. Raises `OSError`."""
    with _locked(directory / NAME, "ab") as file:
        file.write(msgspec.json.encode(letter) + b"\n")


def _names(value: Any, ids: Collection[str]) -> bool:
    if isinstance(value, dict):
        return any(_names(item, ids) for item in value.values())
    if isinstance(value, list):
        return any(_names(item, ids) for item in value)
    return isinstance(value, str) and value in ids


def _read(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def naming(directory: Path, *ids: str) -> list[dict[str, Any]]:
    """The letters in which a value is one of these ids: a person's, and those of their participations."""
    path = directory / NAME
    if not path.exists():
        return []
    return [letter for line in path.read_bytes().splitlines() if _names(letter := _read(line), ids)]


def erase(directory: Path, *ids: str) -> int:
    """Removes the letters in which a value is one of these ids; returns how many. Raises `OSError`."""
    path = directory / NAME
    if not path.exists():
        return 0
    with _locked(path, "r+b") as file:
        lines = file.read().splitlines(keepends=True)
        kept = [line for line in lines if not _names(_read(line), ids)]
        if len(kept) < len(lines):
            file.seek(0)
            file.write(b"".join(kept))
            file.truncate()
    return len(lines) - len(kept)
