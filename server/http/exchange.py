"""One HTTP request and its answer as plain data, and the table of routes between them."""

from __future__ import annotations

import http
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

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
        if host is None or not host or any(c not in _HOST_CHARACTERS for c in host):
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


class Router:
    """Exact paths and their methods first, then one fallback for GET and HEAD: the page's files.

    HEAD is answered as GET; the connection leaves the body out.
    """

    def __init__(self, routes: Iterable[tuple[str, str, Handler]], fallback: Handler) -> None:
        self._routes: dict[str, dict[str, Handler]] = {}
        for method, path, handler in routes:
            self._routes.setdefault(path, {})[method] = handler
        self._fallback = fallback

    async def __call__(self, request: Request) -> Response:
        methods = self._routes.get(request.path, {"GET": self._fallback})
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allow = sorted(methods) + (["HEAD"] if "GET" in methods else [])
            return text(405, "Method not allowed.", [(b"allow", ", ".join(allow).encode())])
        return await handler(request)
