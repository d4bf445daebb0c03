"""`bench.load.joiners` from the measuring side: start it, say when, hear what came of it."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Any, Self

import msgspec
import trio


class Crowd:
    """async with Crowd(url, kind="viewer", seconds=5) as crowd: crowd.go(); result = await crowd.result()

    Entering returns when somebody talks in every room. `result` has `done`, a list of `joiner.Joined` as
    dictionaries, and `failures`, a list of words. Who stays does so until the block is left.
    """

    def __init__(self, url: str, **options: str | float | bool) -> None:
        """`options` are the program's, with _ for -."""
        self._command = [sys.executable, "-m", "bench.load.joiners", url.replace("localhost", "127.0.0.1")]
        for name, value in options.items():
            option = f"--{name.replace('_', '-')}"
            if value is True:
                self._command.append(option)
            elif value is not False:
                self._command += [option, str(value)]

    async def __aenter__(self) -> Self:
        self._process = await trio.to_thread.run_sync(
            lambda: subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        )
        await self._line()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):
            if error is None:
                self.go()
                await trio.to_thread.run_sync(self._process.wait)
            else:
                self._process.kill()
                await trio.to_thread.run_sync(self._process.wait)

    @property
    def pid(self) -> int:
        return self._process.pid

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    async def result(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(await self._line())
        return found

    async def _line(self) -> str:
        assert self._process.stdout is not None
        line: str = await trio.to_thread.run_sync(self._process.stdout.readline)
        if not line:
            raise RuntimeError("the joiners gave up")
        return line
