"""What stops a question, or the whole suite, on a machine that lacks something."""

from __future__ import annotations


class Unusable(SystemExit):
    """Says what is missing and what brings it; ends the program with status 1 and no traceback."""

    def __init__(self, why: str) -> None:
        super().__init__(f"cannot be measured here: {why}")
