"""How long does a server take from its process's start to the first answer on its WebSocket?

Cold: nothing is there, PostgreSQL's cluster is made and the schema migrated. Warm: the data directory is
there from a run before. The answer is that to `hello`, asked again every few milliseconds until it comes.

    python -m bench.startup [--cold 1] [--warm 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.load.plain_websocket import PlainWebSocket
from bench.report import describe, write
from tests.harness.server_process import ROOT, ServerProcess

_PATIENCE_S = 60.0
_PAUSE_S = 0.005


class Timed(ServerProcess):
    """Started without waiting: how long that takes is the question."""

    def start_at_once(self) -> float:
        """Seconds from the start to the answer. RuntimeError if none comes."""
        command = [sys.executable, "-m", "server", "serve", "--dev", "--data-dir", str(self.data_dir)]
        command += ["--http-port", str(self.http_port), "--media-port", str(self.media_port)]
        with self.log.open("ab") as log:
            began = time.perf_counter()
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        while time.perf_counter() - began < _PATIENCE_S and self._process.poll() is None:
            try:
                greet(f"ws://127.0.0.1:{self.http_port}/ws")
                return time.perf_counter() - began
            except (ConnectionError, TimeoutError):
                time.sleep(_PAUSE_S)
        raise RuntimeError(f"the server did not start:\n{self.tail()}")


def greet(url: str) -> None:
    """ConnectionError or TimeoutError if nobody answers."""
    socket = PlainWebSocket(url, 5.0)
    try:
        request = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "hello",
            "params": {"name": "first", "client": "bench"},
        }
        socket.send(msgspec.json.encode(request))
        answer = msgspec.json.decode(socket.receive())
        if "result" not in answer:
            raise RuntimeError(f"hello was refused: {answer}")
    finally:
        socket.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cold", type=int, default=1, help="starts with nothing there")
    parser.add_argument("--warm", type=int, default=3, help="starts after each, with its data directory")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    describe()
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(args.cold):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            Path(name).chmod(0o755)
            for turn in range(1 + args.warm):
                server = Timed(Path(name) / "data")
                times["warm" if turn else "cold"].append(server.start_at_once())
                server.stop()
    rows: list[dict[str, Any]] = [
        {
            "what": f"tandem, {what}",
            "seconds": statistics.median(found),
            "worst": max(found),
            "starts": len(found),
        }
        for what, found in times.items()
        if found
    ]
    for row in rows:
        print(f"{row['what']:>14}  {row['seconds']:6.2f} s  (worst of {row['starts']}: {row['worst']:.2f} s)")
    write(args.json, "startup", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
