"""One HTTP request and its answer as plain data, and the table of routes between them."""

from __future__ import annotations

import http
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection; `str()` gives the address without its last part, for logs."""

    address: str
    port: int
    secure: bool  # over TLS
    loopback: bool

    def __str__(self) -> str:
        head, dot, _ = self.address.rpartition("." if "." in self.address else ":")
        return f"{head}{dot}*" if dot else "*"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str  # as sent: path and query
    headers: Headers  # names in lower case
    peer: Peer
    body: bytes = b""
    in_path: Mapping[str, str] = field(default_factory=dict)  # what the names in the route's path stand for

    def header(self, name: bytes) -> str | None:
        """The only value of that header, or None where it is missing or said more than once."""
        values = [value for key, value in self.headers if key == name]
        return values[0].decode("latin-1").strip() if len(values) == 1 else None

    @property
    def path(self) -> str:
        return urllib.parse.unquote(self.target.partition("?")[0], errors="replace")

    @property
    def host(self) -> str | None:
        """The Host header, with its port, where it has the form of one."""
        host = self.header(b"host")
        if host is None or not host or not _HOST_CHARACTERS.issuperset(host):
            return None
        return host

    @property
    def host_name(self) -> str | None:
        """The host without its port; IPv6 addresses keep their brackets."""
        if self.host is None:
            return None
        if self.host.startswith("["):
            return self.host.partition("]")[0] + "]"
        return self.host.partition(":")[0] or None

    @property
    def local(self) -> bool:
        """Made on this machine for it: not through a proxy, not by a foreign name (DNS rebinding)."""
        proxied = any(key in _PROXY_HEADERS for key, _ in self.headers)
        return self.peer.loopback and not proxied and self.host_name in _LOCAL_NAMES


_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]")
_PROXY_HEADERS = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""

    @property
    def reason(self) -> bytes:
        return http.HTTPStatus(self.status).phrase.encode()


def text(status: int, message: str, headers: Headers | None = None) -> Response:
    body = (message + "\n").encode()
    return Response(status, [(b"content-type", b"text/plain; charset=utf-8"), *(headers or [])], body)


def json(status: int, value: object) -> Response:
    kind = (b"content-type", b"application/json")
    return Response(status, [kind, (b"cache-control", b"no-store")], msgspec.json.encode(value) + b"\n")


Handler = Callable[[Request], Awaitable[Response]]
NotAllowed = Callable[[Request, list[str]], Response]  # the request, and the methods that its path has


def not_allowed(request: Request, methods: list[str]) -> Response:
    return text(405, "Method not allowed.", [allow(methods)])


def allow(methods: list[str]) -> tuple[bytes, bytes]:
    return (b"allow", ", ".join(methods).encode())


class Router:
    """Paths and their methods; a folder's whole tree may be another handler's; the rest is the fallback's.

    A part of a path such as `{callId}` stands for any text without a slash, found in `Request.in_path`. Exact
    paths win over those. HEAD is answered as GET; the connection leaves the body out. The fallback takes GET
    and HEAD, as the page's files want it, or every method.
    """

    def __init__(
        self,
        routes: Iterable[tuple[str, str, Handler]],
        fallback: Handler,
        *,
        below: Mapping[str, Handler] | None = None,  # by folder, such as "/api/"
        not_allowed: NotAllowed = not_allowed,
        fallback_takes_all: bool = False,
    ) -> None:
        self._exact: dict[str, dict[str, Handler]] = {}
        self._patterns: dict[tuple[str, ...], dict[str, Handler]] = {}
        for method, path, handler in routes:
            table = self._patterns.setdefault(tuple(path.split("/")), {}) if "{" in path else None
            (self._exact.setdefault(path, {}) if table is None else table)[method] = handler
        self._below = dict(below or {})
        self._fallback = fallback
        self._not_allowed = not_allowed
        self._fallback_takes_all = fallback_takes_all

    async def __call__(self, request: Request) -> Response:
        for folder, handler in self._below.items():
            if request.path.startswith(folder):
                return await handler(request)
        methods, named = self._find(request)
        if not methods and self._fallback_takes_all:
            return await self._fallback(request)
        methods = methods or {"GET": self._fallback}
        found = methods.get("GET" if request.method == "HEAD" else request.method)
        if found is None:
            return self._not_allowed(request, sorted(methods) + (["HEAD"] if "GET" in methods else []))
        return await found(replace(request, in_path=named) if named else request)

    def _find(self, request: Request) -> tuple[dict[str, Handler], dict[str, str]]:
        exact = self._exact.get(request.path)
        if exact is not None:
            return exact, {}
        # Cut before it is unquoted: a quoted slash is part of a name.
        raw = request.target.partition("?")[0].split("/")
        parts = [urllib.parse.unquote(part, errors="replace") for part in raw]
        for pattern, methods in self._patterns.items():
            named = _match(pattern, parts)
            if named is not None:
                return methods, named
        return {}, {}


def _match(pattern: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    named = {}
    for expected, part in zip(pattern, parts, strict=True):
        if expected.startswith("{"):
            if not part:
                return None
            named[expected[1:-1]] = part
        elif expected != part:
            return None
    return named
