"""A disk that forgets at a power failure what nobody has flushed: files, their lengths and their names.

It watches a directory through the spool's own calls. `fail` puts the directory into the worst state that the
flushes allow: a file whose name was not flushed is gone, one that was removed but not flushed is back, and
files end where they were flushed last.
"""

from __future__ import annotations

import os
import types
from pathlib import Path
from typing import Any

import pytest

from server.db import spool as spool_module


class ForgetfulDisk:
    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._lengths: dict[str, int] = {}  # flushed
        self._names: dict[str, bytes] = {}  # flushed names, with what a removed file held
        self.flushes = 0
        watched = types.SimpleNamespace(**{name: getattr(os, name) for name in dir(os)})
        watched.fsync = self._fsync
        patch.setattr(spool_module, "os", watched)
        unlink = Path.unlink

        def keeping(path: Path, *args: Any, **kwargs: Any) -> None:
            if path.parent == directory and path.name in self._names:
                self._names[path.name] = path.read_bytes()
            unlink(path, *args, **kwargs)

        patch.setattr(Path, "unlink", keeping)

    def _fsync(self, fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if path == self._directory:
            self._names = {one.name: b"" for one in path.iterdir()}
        else:
            self._lengths[path.name] = os.fstat(fd).st_size
        self.flushes += 1

    def fail(self) -> None:
        for path in list(self._directory.iterdir()):
            if path.name not in self._names:
                os.unlink(path)
                continue
            with open(path, "r+b") as file:
                file.truncate(self._lengths.get(path.name, 0))
        for name, held in self._names.items():
            if not (self._directory / name).exists():
                (self._directory / name).write_bytes(held[: self._lengths.get(name, 0)])
