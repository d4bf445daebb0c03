"""`tandem serve` as people run it: a process of its own, with a real PostgreSQL and the real media port."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.server_process import free_port

pytestmark = pytest.mark.postgres


class Serve:
    def __init__(self, data_dir: Path, *flags: str) -> None:
        import socket

        self.data_dir = data_dir
        self.http_port = free_port(socket.SOCK_STREAM)
        self.media_port = free_port(socket.SOCK_DGRAM)
        self.flags = flags
        self.process: subprocess.Popen[str] | None = None
        self.lines: list[str] = []

    def start(self) -> Serve:
        ports = ["--http-port", str(self.http_port), "--media-port", str(self.media_port)]
        command = [
            sys.executable,
            "-m",
            "server",
            "serve",
            "--data-dir",
            str(self.data_dir),
            *ports,
            *self.flags,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if "Ctrl-C" in line:
                return self
        raise AssertionError(self.process.communicate())

    def health(self) -> Any:
        with urllib.request.urlopen(f"http://localhost:{self.http_port}/healthz", timeout=3) as answer:
            return json.load(answer)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, timeout_s: float) -> tuple[int, str]:
        """Exit code and what was said on stderr."""
        assert self.process is not None
        _, errors = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, errors


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # PostgreSQL's user must get through
        yield Path(folder)
        # A killed server's PostgreSQL still writes while it ends; the folder can go only after it.
        with contextlib.suppress(FileNotFoundError, IndexError):
            until_gone(postmaster_of(Path(folder)))


def postmaster_of(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path("/proc", str(pid)).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path("/proc", str(pid)).exists()


@pytest.fixture
def serve(data_dir: Path) -> Iterator[Serve]:
    server = Serve(data_dir, "--dev")
    yield server
    if server.process is not None and server.process.poll() is None:
        server.process.kill()
        server.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_tells_all_and_a_signal_ends_all(serve: Serve, number: int) -> None:
    said = "".join(serve.start().lines)
    assert f"http://localhost:{serve.http_port}/" in said
    assert f"UDP and TCP port {serve.media_port}" in said
    assert "--dev is on" in said
    assert serve.health()["status"] == "ok"
    postmaster = int((serve.data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    before = time.monotonic()
    serve.signal(number)
    code, errors = serve.end(6)
    assert code == 0, errors
    assert time.monotonic() - before < 5
    assert not Path("/proc", str(postmaster)).exists()


def test_the_second_start_is_quick_and_a_kill_leaves_nothing(serve: Serve) -> None:
    serve.start()
    postmaster = postmaster_of(serve.data_dir)
    serve.signal(signal.SIGKILL)
    serve.end(5)
    until_gone(postmaster)
    before = time.monotonic()
    serve.start()
    assert time.monotonic() - before < 6  # 0.6 on a machine that does nothing else
    assert serve.health()["status"] == "ok"


def test_a_second_signal_ends_it_at_once(serve: Serve) -> None:
    serve.start()
    serve.signal(signal.SIGSTOP)  # both are there before it looks
    serve.signal(signal.SIGINT)
    serve.signal(signal.SIGTERM)
    serve.signal(signal.SIGCONT)
    code, errors = serve.end(3)
    assert code in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert "stopped at once" in errors


def test_a_second_server_on_the_same_folder_is_refused(serve: Serve, data_dir: Path) -> None:
    serve.start()
    other = Serve(data_dir)
    with pytest.raises(AssertionError) as caught:
        other.start()
    assert other.process is not None
    assert other.process.returncode == 2
    assert "give each its own --data-dir" in str(caught.value)
    assert serve.health()["status"] == "ok"


def test_a_taken_port_costs_one_line(serve: Serve, data_dir: Path) -> None:
    serve.start()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        other = Serve(Path(folder))
        other.http_port = serve.http_port
        with pytest.raises(AssertionError):
            other.start()
        assert other.process is not None
        assert other.process.returncode == 2
