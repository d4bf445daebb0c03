"""Runs a PostgreSQL of the server's own, in its data directory, for those who bring none.

PostgreSQL refuses to run as root, so under root it runs as an unprivileged user, in a directory of that
user's. It listens on a Unix socket only, which nobody else may enter. It ends with the server, however the
server ends: the kernel sends it SIGINT (a fast shutdown) when its parent is gone. For that it must be started
by the main thread, because the signal comes when the *thread* that started it ends; `start` is called there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import structlog
import trio

from server.db.errors import EmbeddedError
from server.db.postgres_files import (
    Account,
    Binaries,
    find_binaries,
    for_account,
    reachable,
    unprivileged_account,
)

log = structlog.get_logger("tandem.postgres")

START_TIMEOUT = 60.0  # seconds; recovery after a crash may have much to replay
STOP_TIMEOUT = 3.0  # seconds for a fast shutdown; then SIGQUIT, which loses nothing but start-up time
ELSEWHERE = Path("/var/lib/tandem")  # for clusters whose user cannot enter the data directory
LOG_BYTES = 8 << 20
_STILL_IN_USE = "pre-existing shared memory block"
SOCKET_PATH_MAX = 107  # sun_path of Linux, less the final NUL

# Runs as a small process of its own between the server and PostgreSQL: gives up root, asks for SIGINT at the
# parent's death (which a change of user would reset), makes sure that the parent is still there, and becomes
# PostgreSQL. A preexec_fn would do the same between fork and exec of a process that has threads.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, uid, gid = map(int, sys.argv[1:4])
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
os.umask(0o077)
ctypes.CDLL(None).prctl(1, int(signal.SIGINT), 0, 0, 0)
if os.getppid() == parent:
    os.execv(sys.argv[4], sys.argv[4:])
"""

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """One cluster under `data_dir/postgres`. `binaries` is a directory with `initdb` and `postgres`, or None
    to look for one; `settings` go before our own defaults."""

    def __init__(
        self, data_dir: Path, *, binaries: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._wanted = binaries
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._home = self._data_dir / "postgres"

    @property
    def cluster(self) -> Path:
        return self._home / "data"

    @property
    def socket_dir(self) -> Path:
        longest = f"{self.cluster}/.s.PGSQL.5432.lock"
        if len(os.fsencode(longest)) <= SOCKET_PATH_MAX:
            return self.cluster
        name = hashlib.sha256(os.fsencode(str(self.cluster))).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tandem-postgres-{name}"

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@/postgres?host={quote(str(self.socket_dir), safe='')}"

    @property
    def pid(self) -> int | None:
        """The running postmaster's process id, ours or another process's of the same cluster."""
        return _postmaster_pid(self.cluster)

    async def start(self) -> None:
        """Makes the cluster if there is none, starts PostgreSQL and returns when it takes connections.

        Call it on the main thread. Raises `EmbeddedError` with what to change.
        """
        account = unprivileged_account()
        self._choose_home(account)
        # In a thread: PostgreSQL may die while calls go on, and programs are run and copied here.
        binaries = await trio.to_thread.run_sync(self._programs, account)
        if account is not None:
            os.chown(self._home, account.uid, account.gid)
        await self._end_predecessor()
        if not (self.cluster / "PG_VERSION").exists():
            await trio.to_thread.run_sync(self._initdb, binaries, account)
        self._make_socket_dir(account)
        with trio.move_on_after(START_TIMEOUT):
            while not await self._started(binaries, account):  # noqa: ASYNC110 - not our child
                await trio.sleep(0.1)
            return
        raise EmbeddedError(f"PostgreSQL takes no connections after {START_TIMEOUT:.0f} s; see {self._log}")

    def _programs(self, account: Account | None) -> Binaries:
        return for_account(find_binaries(self._wanted, self.cluster), account, self._home / "binaries")

    async def _started(self, binaries: Binaries, account: Account | None) -> bool:
        """Whether it takes connections. False: children of one that was killed are still on their way out."""
        self._spawn(binaries, account)
        while not self._ready():
            if not self.alive():
                tail = self._log_tail()
                if _STILL_IN_USE in tail:
                    return False
                raise EmbeddedError(f"PostgreSQL did not start; its log {self._log} ends:\n{tail}")
            await trio.sleep(0.005)
        return True

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def stop(self) -> None:
        """A fast shutdown, then an immediate one; returns when the process is gone."""
        if self._process is None:
            return
        with trio.CancelScope(shield=True):
            for number, patience in (
                (signal.SIGINT, STOP_TIMEOUT),
                (signal.SIGQUIT, 3.0),
                (signal.SIGKILL, 3.0),
            ):
                if self.alive():
                    self._process.send_signal(number)
                with trio.move_on_after(patience):
                    while self.alive():  # noqa: ASYNC110 - a process cannot be waited for as an event
                        await trio.sleep(0.005)
                if not self.alive():
                    break
        self._process = None
        if self.socket_dir != self.cluster:
            shutil.rmtree(self.socket_dir, ignore_errors=True)

    # -- where it lives

    @property
    def _log(self) -> Path:
        return self._home / "postgres.log"

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])
        return ""

    def locate(self) -> None:
        """Looks up where an existing cluster of this data directory lives, and changes nothing."""
        moved = self._data_dir / "postgres-location"
        if moved.exists():
            self._home = Path(moved.read_text().strip())

    def _choose_home(self, account: Account | None) -> None:
        """Under root the cluster's user must be able to enter the directory; /root, say, lets nobody in."""
        self.locate()
        if account is not None and not reachable(self._home.parent, account):
            name = hashlib.sha256(os.fsencode(str(self._data_dir))).hexdigest()[:16]
            self._home = ELSEWHERE / f"postgres-{name}"
            if not reachable(ELSEWHERE, account):
                raise EmbeddedError(
                    f"PostgreSQL has to run as {account.name!r}, who may enter neither {self._data_dir} nor "
                    f"{ELSEWHERE}; choose a data directory that every user can reach, or give --database-url"
                )
            log.warning(
                "the database lives elsewhere", data_dir=str(self._data_dir), database=str(self._home)
            )
            (self._data_dir / "postgres-location").write_text(f"{self._home}\n")
        try:
            self._home.mkdir(parents=True, exist_ok=True, mode=0o755)
        except OSError as error:
            raise EmbeddedError(f"cannot make {self._home}: {error}") from error

    def _make_socket_dir(self, account: Account | None) -> None:
        directory = self.socket_dir
        if directory == self.cluster:
            return
        directory.mkdir(mode=0o700, exist_ok=True)
        owner = os.lstat(directory)
        uid = os.getuid() if account is None else account.uid
        if owner.st_uid not in (uid, os.getuid()) or not directory.is_dir() or directory.is_symlink():
            raise EmbeddedError(f"{directory} belongs to somebody else; choose a shorter data directory")
        if account is not None:
            os.chown(directory, account.uid, account.gid)

    # -- processes

    def _initdb(self, binaries: Binaries, account: Account | None) -> None:
        """Into a directory beside, renamed when complete: a start that was cut short leaves no half
        cluster."""
        fresh = self._home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        arguments = [str(binaries.path / "initdb"), "-D", str(fresh), "-U", "postgres", "-A", "trust"]
        arguments += ["-E", "UTF8", "--locale=C"]
        done = subprocess.run(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            check=False,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
        if done.returncode != 0:
            raise EmbeddedError(f"initdb failed:\n{done.stdout.decode(errors='replace').strip()}")
        fresh.rename(self.cluster)

    def _spawn(self, binaries: Binaries, account: Account | None) -> None:
        ids = ["-1", "-1"] if account is None else [str(account.uid), str(account.gid)]
        command = [str(binaries.path / "postgres"), "-D", str(self.cluster), "-k", str(self.socket_dir)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        mode = "wb" if self._log.exists() and self._log.stat().st_size > LOG_BYTES else "ab"
        with open(self._log, mode) as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *ids, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                start_new_session=True,  # a Ctrl-C at the terminal is for the server, which stops us in order
            )

    def _ready(self) -> bool:
        """Line 1 of postmaster.pid is the process id, line 8 is `ready` (followed by blanks)."""
        lines = _pid_file(self.cluster)
        return (
            self._process is not None
            and len(lines) >= 8
            and lines[0].strip() == str(self._process.pid)
            and lines[7].strip() == "ready"
        )

    async def _end_predecessor(self) -> None:
        """A postmaster whose server was killed is on its way out; wait for it, and help."""
        pid = _postmaster_pid(self.cluster)
        if pid is None:
            return
        log.info("an earlier PostgreSQL is still running", pid=pid)
        for number, patience in ((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            with trio.move_on_after(patience):
                while _postmaster_pid(self.cluster) == pid:  # noqa: ASYNC110 - not our child
                    await trio.sleep(0.005)
                return
        raise EmbeddedError(f"process {pid} holds {self.cluster} and does not end")


def _pid_file(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _postmaster_pid(cluster: Path) -> int | None:
    """The process of the pid file if it is a live PostgreSQL that works in this cluster."""
    lines = _pid_file(cluster)
    if not lines or not lines[0].strip().isdigit():
        return None
    pid = int(lines[0])
    try:
        if os.path.samefile(f"/proc/{pid}/cwd", cluster) and _program(pid).startswith("postgres"):
            return pid
    except OSError:
        pass
    return None


def _program(pid: int) -> str:
    return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
