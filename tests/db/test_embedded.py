from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from server.db import embedded as embedded_module
from server.db import postgres_files
from server.db.embedded import EmbeddedPostgres
from server.db.errors import EmbeddedError
from server.db.postgres_files import Account, Binaries, find_binaries, for_account, reachable
from tests.harness.postgres import kill, psql, running, until_gone

ROOT = Path(__file__).resolve().parent.parent.parent


async def test_it_starts_stops_and_keeps(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    await postgres.start()
    try:
        assert postgres.alive()
        assert psql(postgres.dsn, "CREATE TABLE t AS SELECT 7 AS n") == ""
        assert psql(postgres.dsn, "SHOW listen_addresses") == ""
        assert psql(postgres.dsn, "SHOW fsync") == "on"
        assert stat.S_IMODE((postgres.cluster / ".s.PGSQL.5432").stat().st_mode) == 0o700
        pid = postgres.pid
        assert pid is not None
        if os.geteuid() == 0:
            assert os.stat(f"/proc/{pid}").st_uid != 0
    finally:
        await postgres.stop()
    await until_gone(pid)
    assert postgres.pid is None

    begin = time.monotonic()
    await postgres.start()
    try:
        assert time.monotonic() - begin < 1.0
        assert psql(postgres.dsn, "SELECT n FROM t") == "7"
    finally:
        await postgres.stop()


async def test_killed_it_comes_back_with_every_commit(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    await postgres.start()
    try:
        psql(postgres.dsn, "CREATE TABLE t AS SELECT 7 AS n")
        await kill(postgres)
        await postgres.start()
        assert psql(postgres.dsn, "SELECT n FROM t") == "7"
    finally:
        await postgres.stop()


_PARENT = """
import sys, trio
from pathlib import Path
from server.db.embedded import EmbeddedPostgres

async def main():
    postgres = EmbeddedPostgres(Path(sys.argv[1]))
    await postgres.start()
    print(postgres.pid, flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


async def test_it_ends_with_its_parent_and_the_next_start_waits_for_that(data_dir: Path) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
        [sys.executable, "-c", _PARENT, str(data_dir)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as parent:
        assert parent.stdout is not None
        with trio.fail_after(20):
            pid = int(await trio.to_thread.run_sync(parent.stdout.readline, abandon_on_cancel=True))
        parent.kill()
    postgres = EmbeddedPostgres(data_dir)
    await postgres.start()
    try:
        assert not running(pid)
        assert psql(postgres.dsn, "SELECT 1") == "1"
    finally:
        await postgres.stop()


async def test_a_predecessor_that_still_runs_is_ended(data_dir: Path) -> None:
    first, second = EmbeddedPostgres(data_dir), EmbeddedPostgres(data_dir)
    await first.start()
    old = first.pid
    await second.start()
    try:
        assert second.pid not in (None, old)
        assert not first.alive()
    finally:
        await second.stop()


@pytest.mark.parametrize("pid", [os.getpid(), 999999999], ids=["another process", "no process"])
async def test_a_stale_pid_file_is_no_obstacle(data_dir: Path, pid: int) -> None:
    postgres = EmbeddedPostgres(data_dir)
    await postgres.start()
    await postgres.stop()
    stale = postgres.cluster / "postmaster.pid"
    stale.write_text(f"{pid}\n{postgres.cluster}\n1\n5432\n\n\n\nready   \n")
    owner = postgres.cluster.stat()
    os.chown(stale, owner.st_uid, owner.st_gid)
    assert postgres.pid is None
    await postgres.start()
    try:
        assert postgres.pid not in (None, pid)
    finally:
        await postgres.stop()


async def test_a_long_path_gets_a_short_socket(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)
    postgres = EmbeddedPostgres(deep)
    await postgres.start()
    try:
        assert psql(postgres.dsn, "SELECT 1") == "1"
        assert not postgres.socket_dir.is_relative_to(deep)
    finally:
        await postgres.stop()
    assert not postgres.socket_dir.exists()


async def test_a_start_that_was_cut_short_is_made_good(data_dir: Path) -> None:
    half = data_dir / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    postgres = EmbeddedPostgres(data_dir)
    await postgres.start()
    await postgres.stop()
    assert not half.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
async def test_a_directory_that_its_user_cannot_enter(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As below /root: the cluster goes elsewhere, and is found there again."""
    closed = data_dir / "closed" / "tandem"
    closed.mkdir(parents=True)
    closed.parent.chmod(0o700)
    monkeypatch.setattr(embedded_module, "ELSEWHERE", data_dir / "elsewhere")
    postgres = EmbeddedPostgres(closed)
    await postgres.start()
    try:
        assert psql(postgres.dsn, "SELECT 1") == "1"
        assert postgres.cluster.is_relative_to(data_dir / "elsewhere")
        again = EmbeddedPostgres(closed)
        again.locate()
        assert again.pid == postgres.pid
    finally:
        await postgres.stop()
    monkeypatch.setattr(embedded_module, "ELSEWHERE", closed / "elsewhere")
    with pytest.raises(EmbeddedError, match="every user can reach"):
        await EmbeddedPostgres(closed / "other").start()


def test_reachable_looks_at_every_parent(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    directory.mkdir(parents=True)
    for one in (tmp_path, *tmp_path.parents):
        if one.stat().st_uid == os.geteuid() and str(one).startswith("/tmp/pytest"):
            one.chmod(0o755)
    stranger = Account("stranger", 54321, 54321)
    assert reachable(directory, stranger)
    assert reachable(directory / "to" / "come", stranger)
    directory.parent.chmod(0o700)
    assert not reachable(directory, stranger)
    assert reachable(directory, Account("owner", directory.stat().st_uid, 1)) == (os.geteuid() == 0)
    tmp_path.chmod(0o700)


def _fake(directory: Path, version: str) -> Path:
    directory.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (directory / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (directory / name).chmod(0o755)
    return directory


def test_binaries_fit_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seventeen, eighteen = _fake(tmp_path / "17" / "bin", "17.2"), _fake(tmp_path / "18" / "bin", "18.4")
    monkeypatch.setattr(postgres_files, "_candidates", lambda configured: [eighteen, seventeen])
    cluster = tmp_path / "cluster"
    assert find_binaries(None, cluster) == Binaries(eighteen, 18)
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("17\n")
    assert find_binaries(None, cluster) == Binaries(seventeen, 17)
    (cluster / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedError, match=r"PostgreSQL 16, which made .*version 18"):
        find_binaries(None, cluster)


def test_binaries_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="does not run"):
        find_binaries(tmp_path, tmp_path / "cluster")


def test_binaries_are_copied_where_their_user_can_read(tmp_path: Path) -> None:
    source = _fake(tmp_path / "closed" / "bin", "18.4")
    (tmp_path / "closed").chmod(0o700)
    account = Account("stranger", 54321, 54321)
    copied = for_account(Binaries(source, 18), account, tmp_path / "copies")
    assert copied.path.is_relative_to(tmp_path / "copies")
    assert (copied.path / "postgres").read_text() == (source / "postgres").read_text()
    assert for_account(Binaries(source, 18), account, tmp_path / "copies") == copied
    assert for_account(Binaries(source, 18), None, tmp_path / "copies").path == source


async def test_a_killed_one_is_waited_for_until_its_children_are_gone(data_dir: Path) -> None:
    """They hold the shared memory for a moment, on a busy machine for a long one."""
    postgres = EmbeddedPostgres(data_dir)
    await postgres.start()
    command = ["psql", "-XAtq", postgres.dsn]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: ASYNC220
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"SELECT pg_backend_pid();\n")
    child.stdin.flush()
    backend = int(child.stdout.readline())
    os.kill(backend, signal.SIGSTOP)
    try:
        await kill(postgres)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(postgres.start)
                while "pre-existing shared memory block" not in postgres._log_tail():  # noqa: ASYNC110
                    await trio.sleep(0.02)
                os.kill(backend, signal.SIGCONT)
        assert psql(postgres.dsn, "SELECT 1") == "1"
    finally:
        child.kill()
        child.communicate()
        await postgres.stop()
