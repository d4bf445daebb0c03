"""The whole storage as the server opens it, and processes that are killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from server.db import storage as storage_module
from server.db.changes import CallCreated
from server.db.embedded import EmbeddedPostgres
from server.db.errors import DatabaseUnavailable, DataDirBusy
from server.db.queries import call_by_id
from server.db.storage import open_storage
from tests.harness.database_proxy import database_proxy
from tests.harness.postgres import TestCluster, psql, until_gone

ROOT = Path(__file__).resolve().parent.parent.parent


def created(call: str) -> CallCreated:
    return CallCreated(
        at=time.time(),
        call_id=call,
        room_id="r",
        call_type="VIDEO",
        status="ACTIVE",
        mode="p2p",
        initiator_id=None,
    )


async def test_embedded_from_nothing_and_again(data_dir: Path) -> None:
    async with open_storage(data_dir=data_dir) as storage:
        assert storage.ready
        assert await storage.check()
        storage.recorder.submit(created("c"))
        first = storage.instance_id
    begin = time.monotonic()
    async with open_storage(data_dir=data_dir) as storage:
        assert time.monotonic() - begin < 2.0
        assert storage.instance_id != first
        assert [one.call_id for one in storage.interrupted] == ["c"]
        row = await storage.db.run(call_by_id, "c")
        assert row is not None
        assert (row["status"], row["endReason"]) == ("ENDED", "server_restart")
        now = time.time()
        assert storage.resumable("another room", at=now, grace=30) is None
        assert storage.resumable("r", at=now + 100, grace=30) is None
        resumed = storage.resumable("r", at=now, grace=30)
        assert resumed is not None
        assert resumed.call_id == "c"
        assert storage.resumable("r", at=now, grace=30) is None
        storage.recorder.submit(created("c"))
        await storage.recorder.flush()
        row = await storage.db.run(call_by_id, "c")
        assert row is not None
        assert (row["status"], row["endReason"], row["endedAt"]) == ("ACTIVE", None, None)
    assert list((data_dir / "spool").iterdir()) == []


async def test_an_external_database(cluster: TestCluster, data_dir: Path) -> None:
    url = await cluster.fresh(migrated=False)
    async with open_storage(data_dir=data_dir, database_url=url) as storage:
        storage.recorder.submit(created("c"))
        await storage.recorder.flush()
        assert psql(url, 'SELECT "roomId", status FROM call_sessions') == "r|ACTIVE"
        assert psql(url, 'SELECT "stoppedAt" IS NULL FROM server_instances') == "t"
    assert psql(url, 'SELECT "stoppedAt" IS NOT NULL FROM server_instances') == "t"
    assert not (data_dir / "postgres").exists()


async def test_a_silent_database_does_not_stop_the_signs_of_life(
    cluster: TestCluster, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They decide until when calls are known to have gone on, and whether they can be resumed."""
    monkeypatch.setattr(storage_module, "HEARTBEAT", 0.02)
    url = await cluster.fresh()
    async with database_proxy(str(cluster.postgres.socket_dir / ".s.PGSQL.5432")) as proxy:
        through = proxy.url(url.split("@/")[1].split("?")[0])
        async with open_storage(data_dir=data_dir, database_url=through):
            proxy.black_hole()
            await trio.sleep(0.1)  # the heartbeat hangs now
            path = data_dir / "last-seen"
            before = path.stat().st_mtime_ns
            with trio.fail_after(5):
                while path.stat().st_mtime_ns == before:  # noqa: ASYNC110 - a file
                    await trio.sleep(0.02)
            proxy.heal()


async def test_old_calls_go_by_themselves(cluster: TestCluster, data_dir: Path) -> None:
    url = await cluster.fresh()
    psql(
        url,
        """
        INSERT INTO chat_rooms (id) VALUES ('r');
        INSERT INTO call_sessions (id, "roomId", "callType", status, "createdAt", "endedAt") VALUES
            ('old', 'r', 'VIDEO', 'ENDED', now() - interval '31 days', now() - interval '30 days 1 minute'),
            ('new', 'r', 'VIDEO', 'ENDED', now() - interval '31 days', now() - interval '29 days');
        """,
    )
    async with open_storage(data_dir=data_dir, database_url=url, retention_days=30):
        with trio.fail_after(5):
            while psql(url, "SELECT string_agg(id, ' ') FROM call_sessions") != "new":  # noqa: ASYNC110
                await trio.sleep(0.02)


async def test_two_servers_cannot_share_a_data_directory(cluster: TestCluster, data_dir: Path) -> None:
    url = await cluster.fresh()
    async with open_storage(data_dir=data_dir, database_url=url):
        with pytest.raises(DataDirBusy, match="another Tandem"):
            async with open_storage(data_dir=data_dir, database_url=url):
                pass


async def test_two_servers_may_share_a_database(cluster: TestCluster, data_dir: Path, tmp_path: Path) -> None:
    url = await cluster.fresh(migrated=False)
    async with (
        open_storage(data_dir=data_dir, database_url=url) as one,
        open_storage(data_dir=tmp_path, database_url=url) as two,
    ):
        one.recorder.submit(created("a"))
        two.recorder.submit(created("b"))
        await one.recorder.flush()
        await two.recorder.flush()
        assert two.interrupted == []
        assert psql(url, "SELECT count(*) FROM call_sessions WHERE status = 'ACTIVE'") == "2"


async def test_a_database_that_does_not_exist_is_an_error(cluster: TestCluster, data_dir: Path) -> None:
    refused = pytest.RaisesExc(DatabaseUnavailable, match='database "missing" does not exist')
    with pytest.RaisesGroup(refused, flatten_subgroups=True, allow_unwrapped=True):
        async with open_storage(data_dir=data_dir, database_url=cluster.url("missing")):
            pass


async def test_it_begins_without_the_database_and_catches_up(cluster: TestCluster, data_dir: Path) -> None:
    """A relay stands for the database's host: first nobody listens there, later it leads to PostgreSQL."""
    name = (await cluster.fresh(migrated=False)).split("@/")[1].split("?")[0]
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    path = str(cluster.postgres.socket_dir / ".s.PGSQL.5432")

    async def relay(stream: trio.SocketStream) -> None:
        async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
            try:
                async for data in source:
                    await sink.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

        far = trio.socket.socket(socket.AF_UNIX)
        await far.connect(path)
        async with trio.SocketStream(far) as other, stream, trio.open_nursery() as nursery:
            nursery.start_soon(pump, stream, other)
            nursery.start_soon(pump, other, stream)

    url = f"postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=disable"
    async with trio.open_nursery() as outer:
        async with open_storage(data_dir=data_dir, database_url=url, patience=0.2) as storage:
            assert not storage.ready
            assert not await storage.check()
            storage.recorder.submit(created("c"))
            listener.listen(5)
            outer.start_soon(trio.serve_listeners, relay, [trio.SocketListener(listener)])
            with trio.fail_after(10):
                await storage.wait_ready()
                await storage.recorder.flush()
            row = await storage.db.run(call_by_id, "c")
            assert row is not None
        outer.cancel_scope.cancel()


async def test_postgres_that_dies_is_started_again(data_dir: Path) -> None:
    async with open_storage(data_dir=data_dir) as storage:
        pid = EmbeddedPostgres(data_dir).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        storage.recorder.submit(created("c"))
        with trio.fail_after(15):
            await storage.recorder.flush()  # perhaps yet through a backend that outlived its postmaster
            while EmbeddedPostgres(data_dir).pid in (None, pid):  # noqa: ASYNC110 - another process
                await trio.sleep(0.02)
            while not await storage.check():  # noqa: ASYNC110
                await trio.sleep(0.02)
        assert await storage.db.run(call_by_id, "c") is not None


_SERVER = """
import sys, time, trio
from pathlib import Path
from server.db.changes import CallCreated, ParticipantJoined
from server.db.storage import open_storage

async def main():
    async with open_storage(data_dir=Path(sys.argv[1])) as storage:
        storage.recorder.submit(CallCreated(at=time.time(), call_id="c", room_id="r", call_type="VIDEO",
            status="ACTIVE", mode="p2p", initiator_id=None))
        await storage.recorder.flush()
        print("ready", flush=True)
        n = 0
        while True:
            n += 1
            storage.recorder.submit(ParticipantJoined(at=time.time(), participant_id=f"p{n}", call_id="c",
                user_id=f"u{n}", anonymous_id=None, name="n", role="participant", audio_enabled=True,
                video_enabled=True))
            print(n, flush=True)
            await trio.sleep(0.0005)

trio.run(main)
"""


async def test_a_killed_server_loses_nothing_and_leaves_nothing_running(data_dir: Path) -> None:
    command = [sys.executable, "-c", _SERVER, str(data_dir)]
    with subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
        command, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as server:
        assert server.stdout is not None
        told = 0

        def read_until(word: str) -> None:
            nonlocal told
            assert server.stdout is not None
            for line in server.stdout:
                told = int(line) if line.strip().isdigit() else told
                if line.strip() == word:
                    return

        try:
            with trio.fail_after(20):
                await trio.to_thread.run_sync(read_until, "ready", abandon_on_cancel=True)
                pid = EmbeddedPostgres(data_dir).pid
                assert pid is not None
                await trio.to_thread.run_sync(read_until, "100", abandon_on_cancel=True)
        finally:
            server.kill()
        killed_at = time.time()
        read_until("the end")
    assert told >= 100
    await until_gone(pid)

    async with open_storage(data_dir=data_dir) as storage:
        [interrupted] = storage.interrupted
        assert interrupted.call_id == "c"
        assert killed_at - 3 < interrupted.ended_at.timestamp() < killed_at + 1
        row = await storage.db.run(call_by_id, "c")
        assert row is not None
        present = {one["id"] for one in row["participants"]}
        assert {f"p{n}" for n in range(1, told + 1)} <= present
        assert len(present) <= told + 1
        assert {one["status"] for one in row["participants"]} == {"left"}
