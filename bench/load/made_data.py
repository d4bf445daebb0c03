"""A data directory made once and copied for each server of a run: to make PostgreSQL's takes a second."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.server_process import ServerProcess

_NAMED = "TANDEM_BENCH_DATA"


@contextmanager
def made_once() -> Iterator[None]:
    """Questions that are asked meanwhile find it; where no server starts, each of them will say so."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)  # under root, PostgreSQL is another user
        server = ServerProcess(Path(folder) / "data", "--log-level", "warning")
        try:
            server.start()
            server.stop()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            print(f"no data made beforehand: {error}", file=sys.stderr)
            yield
            return
        os.environ[_NAMED] = str(server.data_dir)
        try:
            yield
        finally:
            del os.environ[_NAMED]


def copy_to(data_dir: Path) -> None:
    """Nothing, where none is made or the server has data."""
    made = os.environ.get(_NAMED)
    if made is not None and not data_dir.exists():
        subprocess.run(["cp", "--archive", made, str(data_dir)], check=True)
