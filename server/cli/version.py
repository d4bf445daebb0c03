"""`tandem version`: this server's and its parts' versions, for bug reports."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from typing import Any

PARTS = ["trio", "trio-websocket", "h11", "msgspec", "asyncpg", "pyOpenSSL", "cryptography", "pylibsrtp"]


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("version", help="print versions")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from server.app import version

    print(f"tandem {version()}")
    print(f"Python {platform.python_version()} on {platform.platform()}")
    for name in PARTS:
        try:
            print(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"{name} is missing")
    return 0
