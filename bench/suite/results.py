"""A run of the suite as a file: the machine, and each question's rows. Older files stay readable."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FORMAT = 1


@dataclass(slots=True)
class Answer:
    """What one question found. `status` is its exit status: not 0 where a packet was wrong or it failed."""

    arguments: list[str]
    seconds: float
    status: int
    rows: list[Row]
    said: str = ""  # the last lines it printed, where it failed


@dataclass(slots=True)
class Run:
    machine: dict[str, Any]
    which: str  # quick or full
    seconds: float = 0.0
    answers: dict[str, Answer] = field(default_factory=dict)
    stopped: bool = False  # by hand, before all questions were asked

    def rows(self, question: str, **wanted: Any) -> list[Row]:
        """The rows of a question that have these values; none where it was not asked."""
        answer = self.answers.get(question)
        return [] if answer is None else those(answer.rows, **wanted)


def those(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def save(run: Run, path: Path) -> None:
    """Whole, or not at all with an OSError."""
    try:
        path.write_text(json.dumps({"format": FORMAT, **asdict(run)}, indent=1) + "\n")
    except OSError:
        path.unlink(missing_ok=True)
        raise


def load(path: Path) -> Run:
    """ValueError where the file is no run of this suite."""
    try:
        found = json.loads(path.read_text())
        if found["format"] != FORMAT:
            raise ValueError(f"{path}: written by another version of the suite (format {found['format']})")
        answers = {name: Answer(**answer) for name, answer in found["answers"].items()}
        return Run(found["machine"], found["which"], found["seconds"], answers, found.get("stopped", False))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is no result of the suite: {error!r}") from error


def label(keys: Iterable[str], row: Row) -> str:
    """The values that tell a row from the others of its question, in words."""
    parts = []
    for key in keys:
        value = row.get(key)
        if value is None or value is False:
            continue
        if value is True:
            parts.append(key)
        else:
            parts.append(value if isinstance(value, str) else f"{key} {value:g}")
    return ", ".join(parts)
