"""Datagrams at a DTLS server that waits, at one in the midst of a handshake, and at a connected one."""

from __future__ import annotations

import functools

from server.rtc.certificate import Certificate
from server.rtc.dtls import DtlsSession

_A, _B = Certificate.generate(1_800_000_000.0), Certificate.generate(1_800_000_000.0)


def _client() -> DtlsSession:
    return DtlsSession(_A, "client", [_B.fingerprint()])


def _server() -> DtlsSession:
    return DtlsSession(_B, "server", [_A.fingerprint()])


def _flights() -> list[bytes]:
    """Every datagram of one handshake, and the alert that ends it."""
    client, server = _client(), _server()
    client.start(0.0)
    out: list[bytes] = []
    for sender, receiver in ((client, server), (server, client)) * 2:
        for datagram in sender.datagrams_to_send():
            out.append(datagram)
            receiver.receive_untrusted(datagram, 0.0)
    client.close()
    return out + client.datagrams_to_send()


SEEDS = _flights()


@functools.cache
def _connected() -> DtlsSession:
    client, server = _client(), _server()
    client.start(0.0)
    for sender, receiver in ((client, server), (server, client)) * 2:
        for datagram in sender.datagrams_to_send():
            receiver.receive_untrusted(datagram, 0.0)
    assert server.state == "connected"
    return server


def fuzz_one(data: bytes) -> None:
    fresh = _server()
    begun = _server()
    begun.receive_untrusted(SEEDS[0], 0.0)
    client = _client()
    client.start(0.0)
    for session in (fresh, begun, client):
        session.receive_untrusted(data, 0.0)
        session.datagrams_to_send()
        session.next_timeout(0.0)
        session.handle_timer(0.0)
        assert session.srtp is None  # no keys without the whole handshake
    connected = _connected()
    connected.receive_untrusted(data, 0.0)
    connected.datagrams_to_send()
    assert connected.state == "connected"
    assert connected.srtp is not None
