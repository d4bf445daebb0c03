"""`tandem doctor`: checks what a call server needs on this machine, and names the fix for what it lacks.

Exit codes: 0 all is well (warnings included), 1 something will not work.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any

from server.cli.checks import CHECKS, Finding
from server.cli.settings import add_settings, settings_from
from server.config import Config

_MARKS = {"ok": "ok  ", "warning": "WARN", "failed": "FAIL"}


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "doctor", help="check this machine and configuration", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    config = settings_from(args)
    findings = list(examine(config))
    if args.json:
        print(json.dumps({"findings": [finding.as_dict() for finding in findings]}))
    else:
        for finding in findings:
            print(f"{_MARKS[finding.state]}  {finding.subject}: {finding.text}")
            if finding.fix:
                print(f"      fix: {finding.fix}")
    return 1 if any(finding.state == "failed" for finding in findings) else 0


def examine(
    config: Config, checks: list[Callable[[Config], Iterator[Finding]]] | None = None
) -> Iterator[Finding]:
    """Every check's findings; a check that fails by itself is a finding too."""
    for check in CHECKS if checks is None else checks:
        try:
            yield from check(config)
        except Exception as error:  # one broken check must not hide the others
            name = check.__name__.removeprefix("check_")
            yield Finding("failed", name, f"cannot be checked: {type(error).__name__}: {error}")
