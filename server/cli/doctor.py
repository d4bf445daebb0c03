"""`tandem doctor`: checks what a call server needs on this machine, and names the fix for what it lacks."""

from __future__ import annotations

import argparse
from typing import Any

from server.cli.settings import add_settings, settings_from


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("doctor", help="check this machine and configuration", allow_abbrev=False)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    settings_from(args)
    return 0
