"""Another server as a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio


@asynccontextmanager
async def process(command: list[str], folder: Path) -> AsyncIterator[int]:
    """Yields its process id; what it prints is in `folder`/log."""
    output = os.open(folder / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        running = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    finally:
        os.close(output)
    try:
        yield running.pid
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
