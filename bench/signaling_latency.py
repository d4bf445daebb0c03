"""Does a join or a mute wait for the database?

Two servers side by side, each with 200 WebSocket clients in rooms of four and each with its database behind a
proxy: one answers in 1 ms, the other in 500 ms. Rounds of joins and mutes go to one and the other in turn. A
server whose signaling never waits for the database answers both alike.

    python -m bench.signaling_latency [--rounds 12] [--seconds 2] [--rate 150] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import trio

from bench.report import describe, write
from server.db.embedded import EmbeddedPostgres
from server.db.migrations import migrate
from server.db.pool import open_database
from tests.harness.database_proxy import database_proxy
from tests.harness.postgres import admin, public_dir
from tests.harness.server_process import ROOT, ServerProcess

ANSWERS = (0.001, 0.5)  # seconds from question to answer
RATIO = 1.10  # of the p99
_POINTS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=200, help="of each server")
    parser.add_argument("--rounds", type=int, default=12, help="of each server")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--rate", type=float, default=150.0, help="joins and mutes a second")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    describe()
    rounds = trio.run(measure, args)
    rows = [row for name in ("join", "mute", "mute seen") for row in compare(name, rounds)]
    show(rows)
    write(args.json, "signaling_latency", rows)
    return 0 if all(row["met"] is not False for row in rows) else 1


async def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    with public_dir("tandem-bench-") as folder:
        postgres = EmbeddedPostgres(folder / "data")
        await postgres.start()
        servers: list[ServerProcess] = []
        try:
            socket = str(postgres.socket_dir / ".s.PGSQL.5432")
            async with database_proxy(socket) as near, database_proxy(socket) as far:
                for name, proxy in (("near", near), ("far", far)):
                    servers.append(await _server(postgres, name, proxy.url(name), folder))
                for proxy, answer in zip((near, far), ANSWERS, strict=True):
                    proxy.delay(answer / 2)  # each way
                return await _rounds(servers, args)
        finally:
            for server in servers:
                await trio.to_thread.run_sync(server.stop)
            await postgres.stop()


async def _server(postgres: EmbeddedPostgres, name: str, url: str, folder: Path) -> ServerProcess:
    async with admin(postgres.dsn) as execute:
        await execute(f"CREATE DATABASE {name}")
    async with open_database(postgres.dsn.replace("@/postgres?", f"@/{name}?"), size=1) as database:
        await migrate(database)
    server = ServerProcess(folder / name, "--database-url", url)
    await trio.to_thread.run_sync(server.start)
    return server


async def _rounds(servers: list[ServerProcess], args: argparse.Namespace) -> list[dict[str, Any]]:
    plan = {
        "urls": [f"ws://127.0.0.1:{server.http_port}/ws" for server in servers],
        "clients": args.clients, "rounds": args.rounds, "seconds": args.seconds, "rate": args.rate,
    }  # fmt: skip
    done = await trio.run_process(
        [sys.executable, "-m", "bench.load.signallers"],
        stdin=json.dumps(plan).encode(),
        capture_stdout=True,
        cwd=ROOT,
        env=os.environ,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def compare(name: str, rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each answer time of the database; the last has the ratio of its p99 to the first's."""
    rows: list[dict[str, Any]] = []
    for server, answer in enumerate(ANSWERS):
        samples = sorted(
            one for found in rounds if found["server"] == server for one in found["samples"].get(name, ())
        )
        points = {point: samples[int(len(samples) * part)] for point, part in _POINTS.items()}
        row = {"what": name, "database_ms": answer * 1000, "samples": len(samples), **points}
        rows.append({**row, "max": samples[-1], "ratio": None, "target": None, "met": None})
    ratio = rows[1]["p99"] / rows[0]["p99"]
    rows[1].update(ratio=ratio, target=RATIO, met=ratio <= RATIO)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        points = "  ".join(f"{name} {row[name]:6.2f}" for name in (*_POINTS, "max"))
        line = f"{row['what']:>10}  database {row['database_ms']:3.0f} ms  {row['samples']:6} samples"
        line += f"  ms: {points}"
        if row["ratio"] is not None:
            line += f"  p99 × {row['ratio']:.2f}, at most {RATIO}: {'met' if row['met'] else 'MISSED'}"
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
