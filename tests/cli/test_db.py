"""`tandem db` as an admin runs it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from server.cli.db import add_parser, run
from server.db.embedded import EmbeddedPostgres
from tests.harness.postgres import public_dir


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with public_dir() as path:
        yield path


def tandem_db(data_dir: Path, *argv: str, url: str | None = None) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(dest="command"))
    args = parser.parse_args(["db", *argv])
    args.data_dir, args.database_url = data_dir, url
    return run(args)


def test_a_new_embedded_database(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tandem_db(data_dir, "status") == 1
    assert capsys.readouterr().out.splitlines()[0].split() == ["0001_calls", "pending"]

    assert tandem_db(data_dir, "migrate", "--dry-run") == 0
    out = capsys.readouterr().out
    assert 'CREATE TYPE "CallType"' in out
    assert "tried and rolled back" in out

    assert tandem_db(data_dir, "migrate", "--to", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"applied": ["0001_calls"]}
    assert tandem_db(data_dir, "migrate") == 0
    assert "applied 0002_sfu" in capsys.readouterr().out
    assert tandem_db(data_dir, "status", "--json") == 0
    statuses = json.loads(capsys.readouterr().out)["migrations"]
    assert {one["state"] for one in statuses} == {"applied"}

    assert tandem_db(data_dir, "rollback", "--to", "1", "--dry-run") == 0
    assert "would revert 0002_sfu" in capsys.readouterr().out
    assert tandem_db(data_dir, "rollback", "--to", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["reverted"][-1] == "0002_sfu"
    assert tandem_db(data_dir, "status") == 1
    assert EmbeddedPostgres(data_dir).pid is None


def test_a_running_servers_database_is_used_and_left_running(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    postgres = EmbeddedPostgres(data_dir)
    trio.run(postgres.start)
    try:
        pid = postgres.pid
        assert tandem_db(data_dir, "migrate") == 0
        assert postgres.pid == pid
        assert tandem_db(data_dir, "status") == 0
    finally:
        trio.run(postgres.stop)


@pytest.mark.parametrize(
    ("argv", "url", "message"),
    [
        (["migrate", "--to", "99"], None, "there is no migration 0099"),
        (["status"], "postgresql://nobody@127.0.0.1:1/x", "Connect"),
        (["status"], "nonsense", "DSN"),
    ],
)
def test_failures_are_told(
    data_dir: Path, capsys: pytest.CaptureFixture[str], argv: list[str], url: str | None, message: str
) -> None:
    assert tandem_db(data_dir, *argv, "--json", url=url) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert message in json.loads(captured.out)["error"]
