"""How the `tandem db` commands answer: JSON or lines on standard output, progress on standard error."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

import msgspec

DONE, LEFT, FAILED = 0, 1, 2

_AGE = re.compile(r"(\d{1,6})([hdw])")
_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


def show(args: argparse.Namespace, data: Any, lines: list[str]) -> None:
    print(msgspec.json.encode(data).decode() if args.json else "\n".join(lines))


def age(text: str) -> float:
    """`90d`, `12h` or `8w` in seconds, for argparse."""
    match = _AGE.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; write 90d, 12h or 8w")
    return float(int(match[1]) * _SECONDS[match[2]])


class Progress:
    """A bar that is drawn over itself on a terminal, and not at all elsewhere."""

    WIDTH = 30

    def __init__(self, label: str) -> None:
        self._label = label
        self._shown = sys.stderr.isatty()

    def update(self, done: int, total: int) -> None:
        if self._shown:
            part = min(done / total, 1.0) if total else 1.0
            bar = "#" * int(part * self.WIDTH)
            sys.stderr.write(f"\r{self._label} [{bar:{self.WIDTH}}] {part:4.0%} {done}/{total} ")
            sys.stderr.flush()

    def close(self) -> None:
        if self._shown:
            sys.stderr.write("\n")
