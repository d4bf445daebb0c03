"""`tandem bench …`: the suite of the source tree, with its own options."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
# What `pip install tandem[test]` brings beyond the server; the first that is missing is told of.
_NEEDS = ("Cython", "tqdm", "jinja2", "matplotlib")


def add_parser(commands: Any) -> None:
    """For `tandem --help` only: argparse would keep --help and other options of the suite to itself."""
    commands.add_parser("bench", help="what a packet costs on this machine", add_help=False)


def run(arguments: Sequence[str]) -> int:
    """Becomes the suite."""
    if not (ROOT / "bench").is_dir():
        raise ConfigError("bench: the suite is in the source tree only; run it in a checkout")
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"bench: {', '.join(missing)} missing; `pip install -e '.[test]'` in the checkout brings them"
        )
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "bench", *arguments])
