"""The server's settings: one typed tree, filled from defaults, a TOML file, the environment and flags.

Each later source wins over the earlier ones. A setting `[http] port` is `TANDEM_HTTP_PORT` in the
environment and `--set http.port=…` on the command line. Whatever cannot be used is a `ConfigError` that names
the setting, where its value came from, the value and what is allowed. Units are part of the names.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from server.errors import ConfigError
from server.http.settings import Addresses, HttpSettings, Port
from server.rest.settings import RestSettings
from server.session.settings import CallSettings
from server.signaling.messages import IceServer
from server.signaling.settings import AuthSettings, LimitSettings

Codec = Annotated[
    Literal["opus", "VP8", "VP9", "H264", "AV1"], Meta(description="opus, VP8, VP9, H264 or AV1")
]
EngineCount = Annotated[int, Meta(ge=1, le=16, description="a number of threads, 1 to 16")]
SpreadAbove = Annotated[int, Meta(ge=0, le=1_000_000, description="a number of consumers, 0 to 1000000")]
LingerSeconds = Annotated[float, Meta(ge=0, le=3600, description="seconds, 0 to 3600")]
BusyPollMicroseconds = Annotated[int, Meta(ge=0, le=1_000_000, description="microseconds, 0 to 1000000")]
RetentionDays = Annotated[int, Meta(ge=1, le=36_500, description="days, 1 to 36500, or empty")]
SpoolMegabytes = Annotated[int, Meta(ge=1, le=1_000_000, description="MiB, 1 to 1000000")]


class MediaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The port of all media, UDP and TCP; with several engines the first of as many."""

    addresses: Addresses = []  # to listen on; empty: all, IPv4 and IPv6
    port: Port = 8444
    tcp: bool = True  # the fallback for clients whose UDP is blocked
    announce: Addresses = []  # public addresses for candidates; empty: this machine's own
    codecs: list[Codec] = []  # that are forwarded, the preferred ones first; empty: all
    engines: EngineCount = 1  # media threads; rooms are spread over them
    spread_above: SpreadAbove = 200  # consumers of one room; its further receivers go to other engines
    dtls_linger_s: LingerSeconds = 30.0  # how long a client may ask for the end of its handshake again
    udp_offload: bool = True  # UDP_GRO and UDP_SEGMENT, where the kernel has them
    real_time: bool = True  # scheduling of the media threads, where allowed and cores are left
    busy_poll_us: BusyPollMicroseconds = 0  # they stay awake for so long after a packet; takes a core each
    ice_servers: list[IceServer] = []  # for clients, besides this server's own STUN

    @property
    def ports(self) -> list[int]:
        """One per engine; 0 is any free one."""
        return [self.port + index if self.port else 0 for index in range(self.engines)]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    url: str | None = None  # postgresql://…; empty: an embedded PostgreSQL in data_dir
    binaries: Path | None = None  # folder with postgres and initdb; found otherwise
    spool_mb: SpoolMegabytes = 256  # for changes that wait for the database, in data_dir/spool
    retention_days: RetentionDays | None = None  # delete calls this long after their end; empty: keep them


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "human", "json"] = "auto"  # auto: human on a terminal


def default_data_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/tandem")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "tandem"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    data_dir: Path = msgspec.field(default_factory=default_data_dir)
    dev: bool = False  # guests without a token
    http: HttpSettings = HttpSettings()
    media: MediaSettings = MediaSettings()
    database: DatabaseSettings = DatabaseSettings()
    auth: AuthSettings = AuthSettings()
    call: CallSettings = msgspec.field(default_factory=CallSettings)
    limits: LimitSettings = LimitSettings()
    rest: RestSettings = RestSettings()
    log: LogSettings = LogSettings()


SECTIONS: dict[str, type[Any]] = {
    "http": HttpSettings,
    "media": MediaSettings,
    "database": DatabaseSettings,
    "auth": AuthSettings,
    "call": CallSettings,
    "limits": LimitSettings,
    "rest": RestSettings,
    "log": LogSettings,
}
TOP: dict[str, Any] = {"data_dir": Path, "dev": bool}
SECRET = frozenset({"auth.secret", "http.metrics_token", "database.url"})  # never printed whole
PREFIX = "TANDEM_"
_NOT_SETTINGS = frozenset({"media_addresses", "server_version", "server_instance"})  # the app fills these

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def known_settings() -> dict[str, Any]:
    """Every setting's dotted name and its annotated type."""
    known: dict[str, Any] = dict(TOP)
    for section, struct in SECTIONS.items():
        hints = typing.get_type_hints(struct, include_extras=True)
        for name in struct.__struct_fields__:
            if name in _NOT_SETTINGS:
                continue
            known[f"{section}.{name}"] = hints[name]
    return known


_KNOWN = known_settings()


def load(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Iterable[tuple[str, str | list[str] | bool]] = (),
) -> Config:
    """The settings from all sources; `flags` are (dotted name, text) pairs, the strongest.

    Raises ConfigError.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values.update(_from_file(file))
    values.update(_from_environment(environ or {}))
    for name, text in flags:
        values[name] = _checked(name, text, "the command line", textual=True)
    top = {name: values[name] for name in TOP if name in values}
    sections = {}
    for section, struct in SECTIONS.items():
        chosen = {n.partition(".")[2]: v for n, v in values.items() if n.startswith(section + ".")}
        sections[section] = struct(**chosen)
    config = Config(**top, **sections)
    _check_together(config)
    return config


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            tree = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key in SECTIONS:
            if not isinstance(value, dict):
                raise ConfigError(f"{key} (in {path}): is a section, write [{key}] and its settings below")
            for name, inner in value.items():
                values[f"{key}.{name}"] = _checked(f"{key}.{name}", inner, str(path), textual=False)
        else:
            values[key] = _checked(key, value, str(path), textual=False)
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Only names that begin with a section are ours: orchestrators invent TANDEM_PORT and the like."""
    values: dict[str, Any] = {}
    names = {_variable(name): name for name in _KNOWN}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = names.get(variable)
        if name is None:
            section, _, rest = variable[len(PREFIX) :].lower().partition("_")
            if section not in SECTIONS or not rest:
                continue
            name = f"{section}.{rest}"
        values[name] = _checked(name, text, variable, textual=True)
    return values


def _variable(name: str) -> str:
    return PREFIX + name.replace(".", "_").upper()


def _checked(name: str, value: Any, source: str, *, textual: bool) -> Any:
    if name not in _KNOWN:
        raise ConfigError(_unknown(name, source))
    kind = _KNOWN[name]
    try:
        if textual and isinstance(value, str):
            value = _parse(value, kind)
        return msgspec.convert(value, kind, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        shown = "(not shown)" if name in SECRET else repr(value)
        raise ConfigError(f"{name} = {shown} (from {source}): {_allowed(kind, error)}") from None


def _unknown(name: str, source: str) -> str:
    close = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{name} (from {source}): there is no such setting{hint}"


def _parse(text: str, kind: Any) -> Any:
    """Text from the environment or a flag, in the shape that the type wants."""
    plain, optional = _plain(kind)
    if optional and text == "":
        return None
    origin = typing.get_origin(plain)
    if plain is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ValueError
    if plain is int:
        return int(text)
    if plain is float:
        return float(text)
    if origin is list:
        (inner,) = typing.get_args(plain)
        if not text.strip():
            return []
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            return json.loads(text)
        return [part.strip() for part in text.split(",") if part.strip()]
    if plain is dict or origin is dict:
        return json.loads(text)
    return text


def _plain(kind: Any) -> tuple[Any, bool]:
    """The type without its annotations, and whether None is one of its values."""
    if typing.get_origin(kind) is Annotated:
        return _plain(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        args = [arg for arg in typing.get_args(kind) if arg is not type(None)]
        optional = len(args) < len(typing.get_args(kind))
        return (_plain(args[0])[0] if len(args) == 1 else kind), optional
    return kind, False


def _allowed(kind: Any, error: Exception) -> str:
    for layer in (kind, *typing.get_args(kind)):
        for meta in getattr(layer, "__metadata__", ()):
            if isinstance(meta, Meta) and meta.description:
                return f"must be {meta.description}"
    plain, _ = _plain(kind)
    if typing.get_origin(plain) is Literal:
        return "must be one of " + ", ".join(str(arg) for arg in typing.get_args(plain))
    if plain is bool:
        return "must be true or false"
    if isinstance(error, msgspec.ValidationError):
        return str(error).replace("`", "")
    return f"must be of type {getattr(plain, '__name__', plain)}"


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise ValueError("must be a path")


def _check_together(config: Config) -> None:
    """What no single setting can say."""
    for name in (name for name in _KNOWN if name.startswith("call.")):
        value = getattr(config.call, name.partition(".")[2])
        if isinstance(value, (int, float)) and not 0 < value <= 1_000_000:
            raise ConfigError(f"{name} = {value}: must be above 0 and at most 1000000")
    import ipaddress

    for name in ("http.addresses", "media.addresses", "media.announce"):
        section, field = name.split(".")
        for text in getattr(getattr(config, section), field):
            try:
                ipaddress.ip_address(text)
            except ValueError:
                raise ConfigError(f"{name} = {text!r}: must be a list of IP addresses") from None
    http = config.http
    if (http.certificate is None) != (http.key is None):
        missing = "http.key" if http.key is None else "http.certificate"
        raise ConfigError(f"{missing}: is missing; a certificate and its key go together")
    ports = config.media.ports
    if ports[-1] > 65_535:
        raise ConfigError(
            f"media.port = {ports[0]}: {len(ports)} engines need as many ports, and the last is 65535"
        )
    if http.port and config.media.tcp and http.port in ports:
        which = "is" if len(ports) == 1 else f"and the next up to {ports[-1]} are the engines', and one is"
        raise ConfigError(f"media.port = {ports[0]}: {which} http.port too; they must differ")
    url = config.database.url
    if url is not None and not url.startswith(("postgresql://", "postgres://")):
        raise ConfigError("database.url = (not shown): must begin with postgresql://")
    for name, origins in (
        ("http.allowed_origins", http.allowed_origins),
        ("rest.allowed_origins", config.rest.allowed_origins),
    ):
        for origin in origins:
            if not origin.startswith(("https://", "http://")) or origin.count("/") != 2:
                raise ConfigError(
                    f"{name} = {origin!r}: must be a list of origins such as https://example.org"
                )
