"""The documents' TypeScript examples, type-checked, then run through Prisma 7 against a real database."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from server.db.pool import open_database
from server.db.upkeep import verify
from tests.harness.postgres import TestCluster, psql
from tests.harness.postgres import test_cluster as start_cluster

HERE = Path(__file__).resolve().parent
SCHEMA = HERE.parent.parent / "schema" / "schema.prisma"
FILES = ("package.json", "prisma.config.ts", "tsconfig.json", "examples.ts", "views.prisma", "views.ts")


def run(directory: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def project() -> Path:
    """The examples, installed and compiled in a cache directory that outlives the tests."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.fail(
                f"{tool} is missing: install Node.js 20.19 or newer with npm (Debian: apt install npm)"
            )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = hashlib.sha256((HERE / "package.json").read_bytes()).hexdigest()[:12]
    directory = cache / f"tandem-prisma-{version}"
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(HERE / name, directory)
    shutil.copy(SCHEMA, directory)
    if not (directory / "installed").exists():
        # Without the packages' scripts: Prisma's would download an engine that nothing here needs.
        run(directory, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
        (directory / "installed").touch()
    for made in ("generated", "generated-views", "out"):
        shutil.rmtree(directory / made, ignore_errors=True)
    node = shutil.which("node") or ""
    for schema in ("schema.prisma", "views.prisma"):
        generate = ("node", "node_modules/prisma/build/index.js", "generate", "--schema", schema)
        run(directory, *generate, PRISMA_SCHEMA_ENGINE_BINARY=node)
    run(directory, "node", "node_modules/typescript/bin/tsc", "-p", ".")
    return directory


@pytest.fixture(scope="module")
def cluster() -> Iterator[TestCluster]:
    with start_cluster() as running:
        yield running


@pytest.mark.timeout(600)
def test_the_documents_examples(project: Path, cluster: TestCluster) -> None:
    url: str = trio.run(cluster.fresh)
    psql(
        url,
        """
        INSERT INTO users (id, name) VALUES ('user-1', 'Ann'), ('user-2', 'Ben'), ('user-3', 'Cid');
        INSERT INTO chat_rooms (id) VALUES ('room-123');
        """,
    )
    seen = json.loads(run(project, "node", "out/examples.js", DATABASE_URL=url))
    assert seen == {
        "started": True,
        "active": [[True, 3]],
        "found": ["Cid", "router-abc123"],
        "stats": {
            "totalCalls": 1,
            "totalTransitions": 2,
            "transitionsByReason": {"participant_joined": 1, "participant_left": 1},
        },
        "history": [[120, ["Ann", "Ben", "Cid"]]],
        "ringing": ["INITIATED", "p2p", None, None],
        "cleaned": 1,
    }
    transitions = json.loads(psql(url, 'SELECT "modeTransitions" FROM call_metrics'))
    assert [(one["from"], one["to"]) for one in transitions] == [("p2p", "sfu"), ("sfu", "p2p")]

    async def broken() -> set[str]:
        async with open_database(url, size=1) as db:
            return {finding.name for finding in await verify(db)}

    # The documents' code ends a call in one table only, and makes up its duration.
    assert trio.run(broken) == {"in_call_that_is_over", "wrong_duration"}


@pytest.mark.timeout(600)
def test_the_second_documents_names_through_the_views(project: Path, cluster: TestCluster) -> None:
    url: str = trio.run(cluster.fresh)
    psql(url, "INSERT INTO users (id, name) VALUES ('user-1', 'Ann')")
    psql(url, "INSERT INTO chat_rooms (id) VALUES ('conversation')")
    seen = json.loads(run(project, "node", "out/views.js", DATABASE_URL=url))
    assert seen == {
        "created": ["initiated", "video", None, None, 0],
        "active": [[True, 2]],
        "found": ["Ann", None, "sfu"],
        "byRouter": True,
        "whole": ["ended", "p2p", 2, True, 2],
        "said": ["hello"],
        "recording": "starting",
        "analytics": ["completed", 2, pytest.approx(1.0, abs=0.01)],
        "transitions": 2,
    }
    assert psql(url, "SELECT status, count(*) FROM call_sessions GROUP BY status") == "ENDED|1"

    async def broken() -> set[str]:
        async with open_database(url, size=1) as db:
            return {finding.name for finding in await verify(db)}

    assert trio.run(broken) <= {"wrong_duration"}  # the document counts it itself
