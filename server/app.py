"""The whole server: its nursery tree is the order of starting and, backwards, of stopping.

    storage > media > rooms > connections > accepting

The listeners are bound before all else, so that a taken port is told at once. Stopping: accept no more, tell
the clients and close their connections, end the calls, stop the media, let the recorder write what is left,
stop PostgreSQL. Each step has a deadline; together they take less than five seconds.
"""

from __future__ import annotations

import datetime
import errno
import importlib.metadata
import ipaddress
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from server.config import Config
from server.errors import ConfigError
from server.http import guard, tls
from server.http.connection import UpgradeHandler
from server.http.exchange import Handler, Request, Response, Router
from server.http.listener import HttpServer, open_listeners
from server.http.pages import Health, Metrics
from server.http.static import StaticFiles
from server.rest.api import Api
from server.rest.desk import Desk
from server.session.opening import Resumed
from server.signaling.frames import Opening
from server.signaling.messages import IceServer
from server.signaling.tokens import Tokens, load_secret
from server.signaling.websocket import Origin, WebSocketDoor

if TYPE_CHECKING:
    from server.rooms.directory import Directory

log = structlog.get_logger("app")
RECONNECT_AFTER_MS = 1500
_CONNECTIONS_S = 1.2  # for closing all WebSockets
_CALLS_S = 1.0

WEB = Path(__file__).parent / "web"


@dataclass(frozen=True, slots=True)
class Started:
    """What a person who has just started the server wants to know."""

    version: str
    port: int
    addresses: list[str]  # of this machine, for people on other machines; empty when only loopback listens
    public_host: str | None
    self_signed: bool
    media_ports: list[int]  # one per engine
    media_tcp: bool
    database: str
    dev: bool
    data_dir: Path


@dataclass(frozen=True, slots=True)
class Parts:
    """The two parts that own processes, threads and ports; tests bring their own."""

    open_storage: Callable[[Config], AbstractAsyncContextManager[Any]]
    make_media: Callable[[Config], Any]


def version() -> str:
    try:
        return importlib.metadata.version("tandem")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "0"


async def run(
    config: Config,
    *,
    stop: trio.Event,
    started: Callable[[Started], None] = lambda _: None,
    parts: Parts | None = None,
) -> None:
    """Serve until `stop` is set. Raises ConfigError for what a person has to mend first."""
    parts = parts or real_parts()
    _make_data_dir(config.data_dir)
    tokens = Tokens(config.auth, secret=load_secret(config.auth, config.data_dir), dev=config.dev)
    listeners = await _bind(config)
    try:
        async with parts.open_storage(config) as storage, _running_media(config, parts) as media:
            app = _App(config, tokens, storage, media, listeners)
            await app.serve(stop, started)
    finally:
        for listener in listeners:
            listener.socket.close()


class _App:
    """The parts of one running server, put together."""

    def __init__(
        self,
        config: Config,
        tokens: Tokens,
        storage: Any,
        media: Any,
        listeners: Sequence[trio.SocketListener],
    ) -> None:
        from server.rooms.directory import Directory

        self._config = config
        self._storage = storage
        self._media = media
        self._listeners = listeners
        self._port = int(listeners[0].socket.getsockname()[1])
        self._version = version()
        self._addresses = _own_addresses()
        call = msgspec.structs.replace(
            config.call,
            media_addresses=tuple(dict.fromkeys(one.address for one in media.candidates)),
            server_version=self._version,
            server_instance=secrets.token_hex(8),
        )
        self._tokens = tokens
        self._directory: Directory = Directory(
            call, media, storage.recorder, time.time, resumable=self._interrupted_call
        )
        self._door = WebSocketDoor(self._directory, tokens.authenticate, config.limits, time.time)
        self._rest = self._rest_api()
        certificate, key = self._certificate()
        self._http = HttpServer(
            config.http,
            port=self._port,
            tls=tls.load_context(certificate, key),
            handler=self._router(),
            upgrade=self._upgrade,
        )

    async def serve(self, stop: trio.Event, started: Callable[[Started], None]) -> None:
        async with trio.open_nursery() as rooms:
            await rooms.start(self._directory.run)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    await accepting.start(self._http.run, self._listeners, connections)
                    started(self._started())
                    await stop.wait()
                    log.info("stopping", sessions=self._door.open_connections)
                    accepting.cancel_scope.cancel()
                self._directory.drain(RECONNECT_AFTER_MS)
                with trio.move_on_after(_CONNECTIONS_S):
                    await self._door.close_all(1001, "the server stops")
                connections.cancel_scope.cancel()
            with trio.move_on_after(_CALLS_S) as calls:
                await self._directory.shutdown()
            if calls.cancelled_caught:
                log.warning("calls_late", hint="calls still open are closed at the next start")
            rooms.cancel_scope.cancel()

    def _router(self) -> Router:
        health = Health(
            version=self._version,
            vital={"media": lambda: "ok" if self._media.running else "stopped"},
            # Calls go on without it: what they would write waits on disk.
            other={"database": self._database_state, "spool": lambda: self._storage.recorder.spool_state},
        )
        metrics = Metrics(
            {
                "http": ("counter", lambda: self._http.counters),
                "http_now": ("gauge", lambda: {"connections": self._http.open_connections}),
                "websocket": ("counter", lambda: self._door.counters),
                "websocket_now": ("gauge", lambda: {"connections": self._door.open_connections}),
                "rest": ("counter", lambda: self._rest.counters),
                "rooms": ("gauge", self._directory.stats),
                "recorder": ("gauge", lambda: msgspec.structs.asdict(self._storage.recorder.stats())),
                "media": ("gauge", self._media.stats),
            },
            version=self._version,
            token=self._config.http.metrics_token,
        )
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/healthz", health),
            ("GET", "/metrics", metrics),
            ("GET", "/ws", _not_a_websocket),
        ]
        return Router(routes, fallback=StaticFiles(WEB), below={"/api/": self._rest})

    def _rest_api(self) -> Api:
        from server.db.records import Records

        settings = self._config.rest
        spool = self._config.data_dir / "spool"
        desk = Desk(
            directory=self._directory,
            records=Records(self._storage, spool=spool, timeout_s=settings.timeout_s),
            mint=self._tokens.mint,
            clock=time.time,
            base_url=self._base_url,
            ring_timeout_s=self._config.call.ring_timeout_s,
        )
        return Api(desk, self._tokens.authenticate, settings, self._version)

    def _base_url(self, request: Request) -> str:
        """How this request's sender reaches the page."""
        name = self._config.http.public_host
        if name is not None:
            port = self._config.http.port or self._port
            return f"https://{name}" if port == 443 else f"https://{name}:{port}"
        return f"{'https' if request.peer.secure else 'http'}://{request.host or f'localhost:{self._port}'}"

    def _interrupted_call(self, room_id: str) -> Resumed | None:
        call = self._storage.resumable(room_id, at=time.time(), grace=self._config.call.resume_grace_s)
        if call is None:
            return None
        return Resumed(call_id=call.call_id, settings=call.settings, metrics=call.metrics)

    def _database_state(self) -> str:
        storage = self._storage
        return "ok" if storage.ready and storage.recorder.keeping_up else "unavailable"

    def _upgrade(self, request: Request) -> Response | UpgradeHandler | None:
        if request.path != "/ws":
            return None
        allowed = self._config.http.allowed_origins
        return guard.refuse_websocket(request, allowed_origins=allowed) or self._websocket

    async def _websocket(self, request: Request, stream: trio.abc.Stream) -> None:
        own = IceServer(urls=[f"stun:{request.host_name}:{self._media.udp_port}"])
        origin = Origin(peer=str(request.peer), ice_servers=[own, *self._config.media.ice_servers])
        opening = Opening(request.header(b"sec-websocket-key") or "", guard.subprotocols(request))
        await self._door.serve(stream, origin, opening)

    def _certificate(self) -> tuple[Path, Path]:
        http = self._config.http
        if http.certificate is not None and http.key is not None:
            return http.certificate, http.key
        names = ["localhost", "127.0.0.1", "::1", *_host_names(), *self._addresses]
        if http.public_host is not None:
            names.append(http.public_host)
        now = datetime.datetime.now(datetime.UTC)
        return tls.self_signed(self._config.data_dir, list(dict.fromkeys(names)), now)

    def _started(self) -> Started:
        config = self._config
        loopback_only = all(a in ("127.0.0.1", "::1") for a in config.http.addresses)
        everywhere = not config.http.addresses or any(a in ("0.0.0.0", "::") for a in config.http.addresses)
        reachable = self._addresses if everywhere else config.http.addresses
        return Started(
            version=self._version,
            port=self._port,
            addresses=[] if config.http.addresses and loopback_only else list(reachable),
            public_host=config.http.public_host,
            self_signed=config.http.certificate is None,
            media_ports=self._media.udp_ports,
            media_tcp=self._media.tcp_port is not None,
            database="external" if config.database.url else f"embedded in {config.data_dir}",
            dev=config.dev,
            data_dir=config.data_dir,
        )


async def _not_a_websocket(request: Request) -> Response:
    refusal = guard.refuse_websocket(request, allowed_origins=())
    assert refusal is not None  # a plain GET lacks the upgrade
    return refusal


def real_parts() -> Parts:
    @asynccontextmanager
    async def storage(config: Config) -> AsyncIterator[Any]:
        from server.db.storage import open_storage

        async with open_storage(
            data_dir=config.data_dir,
            database_url=config.database.url,
            postgres_binaries=config.database.binaries,
            max_spool_bytes=config.database.spool_mb << 20,
            retention_days=config.database.retention_days,
        ) as opened:
            yield opened

    def media(config: Config) -> Any:
        from server.media.bridge import Media
        from server.media.settings import DEFAULT_CODECS, MediaSettings

        return Media(
            MediaSettings(
                addresses=tuple(config.media.addresses),
                udp_port=config.media.port,
                tcp_port=config.media.port if config.media.tcp else None,
                announce=tuple(config.media.announce),
                codecs=tuple(config.media.codecs) or DEFAULT_CODECS,
                dtls_linger_s=config.media.dtls_linger_s,
                udp_offload=config.media.udp_offload,
                real_time=config.media.real_time,
                busy_poll_us=config.media.busy_poll_us,
                engines=config.media.engines,
                spread_above=config.media.spread_above,
            )
        )

    return Parts(open_storage=storage, make_media=media)


@asynccontextmanager
async def _running_media(config: Config, parts: Parts) -> AsyncIterator[Any]:
    async with trio.open_nursery() as nursery:
        media = parts.make_media(config)
        try:
            await nursery.start(media.run)
        except* OSError as group:
            error = group.exceptions[0]
            port = int(getattr(error, "filename", None) or config.media.port)  # of one of the engines
            raise _port_error("media.port", port, "--media-port", error) from None
        yield media
        nursery.cancel_scope.cancel()


async def _bind(config: Config) -> list[trio.SocketListener]:
    try:
        return await open_listeners(config.http.addresses, config.http.port)
    except OSError as error:
        raise _port_error("http.port", config.http.port, "--http-port", error) from None


def _port_error(setting: str, port: int, flag: str, error: BaseException) -> ConfigError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return ConfigError(f"{setting} = {port}: is in use by another program; choose another by {flag}")
    if number == errno.EACCES:
        hint = f"choose one above 1023 by {flag}"
        return ConfigError(f"{setting} = {port}: this user may not listen there; {hint}")
    if number == errno.EADDRNOTAVAIL:
        section = setting.partition(".")[0]
        return ConfigError(f"{section}.addresses: one of them is no address of this machine")
    return ConfigError(f"{setting} = {port}: cannot be listened on: {error}")


def _make_data_dir(path: Path) -> None:
    try:
        # Others may pass through but not look: the embedded PostgreSQL may run as another user.
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"data_dir = {path}: {error.strerror}; choose a folder that this user may write by --data-dir"
        ) from None


def _host_names() -> list[str]:
    import socket

    name = socket.gethostname()
    return [name] if name and all(c.isalnum() or c in "-." for c in name) else []


def _own_addresses() -> list[str]:
    """This machine's addresses, as people on other machines may reach them."""
    from server.media.interfaces import own_addresses

    try:
        found = own_addresses()
    except OSError:
        return []
    return [address for address in found if not ipaddress.ip_address(address).is_loopback]
