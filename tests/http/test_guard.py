from __future__ import annotations

import pytest

from server.http.exchange import Peer, Request
from server.http.guard import may_read_metrics, refuse_plain, refuse_websocket

HERE = Peer(address="127.0.0.1", port=1, secure=False, loopback=True)
AWAY = Peer(address="192.0.2.7", port=1, secure=False, loopback=False)
AWAY_TLS = Peer(address="192.0.2.7", port=1, secure=True, loopback=False)


def request(peer: Peer = HERE, method: str = "GET", target: str = "/", **headers: str | list[str]) -> Request:
    pairs = []
    for name, values in ({"host": "localhost:8443"} | headers).items():
        for value in [values] if isinstance(values, str) else values:
            pairs.append((name.replace("_", "-").encode(), value.encode()))
    return Request(method, target, pairs, peer)


def test_plain_http_is_for_this_machine() -> None:
    assert refuse_plain(request(), allow_plain=False, port=8443) is None
    assert refuse_plain(request(AWAY_TLS), allow_plain=False, port=8443) is None
    assert refuse_plain(request(AWAY), allow_plain=True, port=8443) is None


@pytest.mark.parametrize(
    ("host", "location"),
    [
        ("call.example:8443", b"https://call.example:8443/a?b"),
        ("call.example", b"https://call.example:8443/a?b"),
        ("[2001:db8::1]", b"https://[2001:db8::1]:8443/a?b"),
        ("[2001:db8::1]:9000", b"https://[2001:db8::1]:9000/a?b"),
    ],
)
def test_others_are_sent_to_https(host: str, location: bytes) -> None:
    refusal = refuse_plain(request(AWAY, target="/a?b", host=host), allow_plain=False, port=8443)
    assert refusal is not None
    assert refusal.status == 308
    assert (b"location", location) in refusal.headers


def test_no_redirect_for_what_cannot_be_repeated() -> None:
    for bad in (
        request(AWAY, method="POST"),
        request(AWAY, upgrade="websocket"),
    ):
        refusal = refuse_plain(bad, allow_plain=False, port=1)
        assert refusal is not None
        assert refusal.status == 403
    refusal = refuse_plain(request(AWAY, host="a\tb<script>"), allow_plain=False, port=1)
    assert refusal is not None
    assert refusal.status == 400


def test_metrics_are_guarded() -> None:
    assert may_read_metrics(request(), None)
    assert not may_read_metrics(request(AWAY_TLS), None)
    assert not may_read_metrics(request(x_forwarded_for="192.0.2.1"), None)  # a proxy on this machine
    assert not may_read_metrics(request(host="evil.example"), None)  # DNS rebinding
    assert may_read_metrics(request(AWAY_TLS, authorization="Bearer s3cret"), "s3cret")
    assert not may_read_metrics(request(AWAY_TLS, authorization="Bearer s3cre"), "s3cret")
    assert not may_read_metrics(request(AWAY_TLS, authorization="Bearer "), None)


GOOD: dict[str, str | list[str]] = {
    "upgrade": "websocket",
    "connection": "keep-alive, Upgrade",
    "sec_websocket_version": "13",
    "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_a_good_opening_handshake() -> None:
    assert refuse_websocket(request(**GOOD), allowed_origins=()) is None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"upgrade": "h2c"}, 426),
        ({"connection": "close"}, 426),
        ({"sec_websocket_version": "8"}, 426),
        ({"sec_websocket_key": "short"}, 400),
        ({"sec_websocket_key": "!!!!"}, 400),
        ({"sec_websocket_key": ["dGhlIHNhbXBsZSBub25jZQ=="] * 2}, 400),
        ({"host": ["a", "b"]}, 400),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://localhost:8443.evil.example"}, 403),
        ({"origin": "http://localhost:8444"}, 403),
        ({"origin": ["http://localhost:8443", "https://evil.example"]}, 400),
    ],
)
def test_bad_opening_handshakes(change: dict[str, str | list[str]], status: int) -> None:
    refusal = refuse_websocket(request(**(GOOD | change)), allowed_origins=())
    assert refusal is not None
    assert refusal.status == status


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8443", "localhost:8443"),
        ("https://localhost:8443", "LOCALHOST:8443"),
        ("https://call.example", "call.example:443"),
        ("https://call.example", "call.example"),
        ("https://app.example", "call.example"),
    ],
)
def test_origins_that_may(origin: str, host: str) -> None:
    given = request(**(GOOD | {"origin": origin, "host": host}))
    assert refuse_websocket(given, allowed_origins=["https://app.example"]) is None
