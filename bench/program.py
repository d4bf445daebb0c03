"""What all questions that need a server and a network of their own have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from bench.load import namespace
from bench.report import describe


def parser(doc: str | None) -> argparse.ArgumentParser:
    """With `--set` for the server and `--json` for the answer; what it asks is the first line of `doc`."""
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of the server")
    made.add_argument("--json", metavar="FILE", help="write the rows there")
    return made


def begin(prepare: Callable[[], None] = namespace.prepare) -> None:
    """In a network namespace of its own: this program begins anew there. Then says what machine this is."""
    namespace.enter()
    prepare()
    describe()
