"""The media port and the candidates that lead there."""

from __future__ import annotations

import socket

import pytest

from server.media.interfaces import own_addresses
from server.media.sockets import candidates, open_sockets


def test_one_number_for_all() -> None:
    sockets = open_sockets(["127.0.0.1", "::1"], 0, 0, 65536)
    try:
        ports = {one.getsockname()[1] for one in (*sockets.udp, *sockets.tcp)}
        assert ports == {sockets.udp_port}
        assert sockets.tcp_port == sockets.udp_port
        assert [one.family for one in sockets.udp] == [socket.AF_INET, socket.AF_INET6]
        assert not any(one.getblocking() for one in (*sockets.udp, *sockets.tcp))
    finally:
        sockets.close()


def test_without_tcp() -> None:
    sockets = open_sockets(["127.0.0.1"], 0, None, 65536)
    sockets.close()
    assert sockets.tcp == []
    assert sockets.tcp_port is None


def test_taken_port_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            open_sockets(["127.0.0.1"], port, port, 65536)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", port))  # the UDP socket that was opened first has been closed


def test_address_of_another_machine_is_refused() -> None:
    with pytest.raises(OSError, match="assign"):
        open_sockets(["203.0.113.1"], 0, None, 65536)


def test_udp_before_tcp_and_real_before_loopback() -> None:
    found = candidates(["127.0.0.1", "203.0.113.7", "2001:db8::7"], 8444, 8444)
    assert [(one.protocol, one.address) for one in found] == [
        ("udp", "203.0.113.7"),
        ("udp", "2001:db8::7"),
        ("udp", "127.0.0.1"),
        ("tcp", "203.0.113.7"),
        ("tcp", "2001:db8::7"),
        ("tcp", "127.0.0.1"),
    ]
    assert len({one.priority for one in found}) == 6
    assert len({one.foundation for one in found}) == 6
    assert all(0 < one.priority < 2**31 for one in found)  # RFC 8445 section 5.1.2


def test_own_addresses_can_be_bound() -> None:
    found = own_addresses()
    assert "127.0.0.1" in found
    assert found.index("127.0.0.1") >= len([one for one in found if not one.startswith(("127.", "::1"))])
    for address in found:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.bind((address, 0))
