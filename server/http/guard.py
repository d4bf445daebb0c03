"""Who may see what over HTTP, and the headers that make browsers hold to it. Pure functions."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Collection

from server.http.exchange import Headers, Request, Response, text

# The page is self-contained: nothing of other hosts is loaded, and only its own scripts run. `style`
# attributes are allowed because layout is set on elements; nothing that others send is put into them.
_CONTENT_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob: mediastream:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    ]
)
SECURITY_HEADERS: Headers = [
    (b"content-security-policy", _CONTENT_POLICY.encode()),
    (
        b"permissions-policy",
        b"camera=(self), microphone=(self), display-capture=(self), "
        b"screen-wake-lock=(self), fullscreen=(self), autoplay=(self), geolocation=(), payment=(), usb=()",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


def refuse_plain(request: Request, *, allow_plain: bool, port: int) -> Response | None:
    """Cameras need https on all but localhost, and tokens need it everywhere: send others there."""
    if request.peer.secure or request.peer.loopback or allow_plain:
        return None
    if request.method not in ("GET", "HEAD") or request.header(b"upgrade") is not None:
        return text(403, "Only https and wss are served to other machines.")
    if request.host is None:
        return text(400, "The Host header is missing or malformed.")
    has_port = request.host.rpartition("]")[2].count(":") == 1
    host = request.host if has_port else f"{request.host}:{port}"
    target = request.target if request.target.startswith("/") else "/"
    location = f"https://{host}{target}"
    return text(308, f"Please use {location}", [(b"location", location.encode("latin-1"))])


def may_read_metrics(request: Request, token: str | None) -> bool:
    if request.local:
        return True
    given = request.header(b"authorization") or ""
    return token is not None and hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


def refuse_websocket(request: Request, *, allowed_origins: Collection[str]) -> Response | None:
    """The opening handshake of RFC 6455 section 4.2.1, and the Origin check of section 10.2.

    Browsers always send Origin; a client without one is no page and needs no protection from pages.
    """
    connection = ",".join(v.decode("latin-1") for k, v in request.headers if k == b"connection").lower()
    if "upgrade" not in {part.strip() for part in connection.split(",")}:
        return text(426, "This is a WebSocket.", [(b"upgrade", b"websocket"), (b"connection", b"upgrade")])
    if (request.header(b"upgrade") or "").lower() != "websocket":
        return text(426, "This is a WebSocket.", [(b"upgrade", b"websocket"), (b"connection", b"upgrade")])
    if request.method != "GET":
        return text(405, "A WebSocket begins with GET.", [(b"allow", b"GET")])
    if request.header(b"sec-websocket-version") != "13":
        return text(426, "WebSocket version 13 is spoken here.", [(b"sec-websocket-version", b"13")])
    if not _is_key(request.header(b"sec-websocket-key")):
        return text(400, "Sec-WebSocket-Key must be 16 bytes in base64.")
    if request.host is None:
        return text(400, "The Host header is missing or malformed.")
    origin = request.header(b"origin")
    if origin is None and any(key == b"origin" for key, _ in request.headers):
        return text(400, "Origin is said more than once.")
    if origin is not None and not _same_origin(origin, request.host) and origin not in allowed_origins:
        return text(403, f"Pages of {origin[:200]} may not connect; http.allowed_origins would allow them.")
    return None


def subprotocols(request: Request) -> tuple[str, ...]:
    """What a WebSocket's opening offers (RFC 6455, section 11.3.4)."""
    said = [value.decode("latin-1") for key, value in request.headers if key == b"sec-websocket-protocol"]
    return tuple(filter(None, (one.strip() for one in ",".join(said).split(","))))


def _is_key(key: str | None) -> bool:
    try:
        return key is not None and len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _same_origin(origin: str, host: str) -> bool:
    """By host and port: a TLS proxy in front may have changed the scheme."""
    scheme, _, rest = origin.partition("://")
    if scheme not in ("http", "https"):
        return False
    default = ":443" if scheme == "https" else ":80"
    return rest.lower().removesuffix(default) == host.lower().removesuffix(default)
