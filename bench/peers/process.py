"""Another server as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

_TAIL = 2000  # characters


@asynccontextmanager
async def process(command: list[str], folder: Path, **environment: str) -> AsyncIterator[int]:
    """Yields its process id; what it prints is in `folder`/log, and shown where it did not work."""
    output = os.open(folder / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        running = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        )
    finally:
        os.close(output)
    try:
        yield running.pid
    except Exception:
        print(f"{command[0]} said: {(folder / 'log').read_text()[-_TAIL:]}", file=sys.stderr)
        raise
    finally:
        running.terminate()
        with trio.CancelScope(shield=True):
            await running.wait()


async def answering(host: str, port: int) -> None:
    """Until it accepts connections. RuntimeError after ten seconds."""
    for _ in range(100):
        try:
            stream = await trio.open_tcp_stream(host, port)
        except OSError:
            await trio.sleep(0.1)
        else:
            await stream.aclose()
            return
    raise RuntimeError(f"nobody answers at {host}:{port}")
