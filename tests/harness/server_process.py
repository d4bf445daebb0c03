"""The real server as a process of its own, as `make run` starts it: on free ports, with a data directory that
is kept over restarts."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S = 40.0
_STOP_TIMEOUT_S = 10.0


class ServerProcess:
    """`start`, `stop` (SIGINT), `kill` (SIGKILL); `url` is the page, `rows` asks the database."""

    def __init__(self, data_dir: Path, *args: str) -> None:
        self.data_dir = data_dir
        self.http_port = free_port(socket.SOCK_STREAM)
        self.media_port = free_port(socket.SOCK_DGRAM)
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self.module = "server"  # what is run
        self.environment: dict[str, str] = {}  # in addition
        self.arguments = args
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://localhost:{self.http_port}/"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> ServerProcess:
        command = [sys.executable, "-m", self.module, "serve", "--dev", "--data-dir", str(self.data_dir)]
        command += ["--http-port", str(self.http_port), "--media-port", str(self.media_port), *self.arguments]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | self.environment
            )
        self._wait_until_ready()
        return self

    def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return self._process.returncode

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def dead(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "healthz", timeout=2) as answer:
            body: dict[str, Any] = json.loads(answer.read())
        return body

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of the server's own PostgreSQL, as JSON gives them: times are text, numbers are numbers."""
        script = Path(__file__).with_name("ask_database.py")
        asked = json.dumps({"data_dir": str(self.data_dir), "sql": sql, "values": list(values)})
        command = [sys.executable, str(script)]
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=20)
        if done.returncode:
            raise AssertionError(done.stderr)
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{self.tail()}")
            try:
                self.health()
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]


def free_port(kind: int) -> int:
    """A port that is free for both UDP and TCP at this moment, and that the kernel gives to nobody by itself:
    a server that is started again finds it free."""
    while True:
        port = random.randrange(12_000, 32_000)  # ephemeral ones begin at 32768
        with socket.socket(socket.AF_INET, kind) as first:
            other = socket.SOCK_DGRAM if kind == socket.SOCK_STREAM else socket.SOCK_STREAM
            with socket.socket(socket.AF_INET, other) as second:
                try:
                    first.bind(("0.0.0.0", port))
                    second.bind(("0.0.0.0", port))
                except OSError:
                    continue
        return port
