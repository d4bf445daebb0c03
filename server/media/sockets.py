"""The media port: UDP sockets and TCP listeners on one number, and the candidates that lead there."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from contextlib import ExitStack

from server.rtc.parameters import IceCandidate

WILDCARDS = ("0.0.0.0", "::")
_IPV6_RECVPKTINFO = 49
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_PORT_TRIES = 16


class MediaSockets:
    """Bound and owned here; the engine borrows their descriptors."""

    def __init__(self, udp: list[socket.socket], tcp: list[socket.socket]) -> None:
        self.udp = udp
        self.tcp = tcp
        self.udp_port: int = udp[0].getsockname()[1]
        self.tcp_port: int | None = tcp[0].getsockname()[1] if tcp else None

    def close(self) -> None:
        for one in (*self.udp, *self.tcp):
            one.close()


def open_sockets(
    addresses: Sequence[str], udp_port: int, tcp_port: int | None, buffer_bytes: int
) -> MediaSockets:
    """OSError when a port is taken or an address is not ours. A machine without IPv6 gets IPv4 alone."""
    hosts = list(addresses) or list(WILDCARDS)
    optional = not addresses
    for attempt in range(_PORT_TRIES):
        with ExitStack() as opened:
            try:
                udp = _open_all(opened, hosts, udp_port, socket.SOCK_DGRAM, buffer_bytes, optional)
                tcp: list[socket.socket] = []
                if tcp_port is not None:
                    wanted = tcp_port or (udp[0].getsockname()[1] if udp_port == 0 else 0)
                    tcp = _open_all(opened, hosts, wanted, socket.SOCK_STREAM, buffer_bytes, optional)
            except OSError:
                # A free port of one socket may be taken for another: only then another number helps.
                if udp_port != 0 or attempt == _PORT_TRIES - 1:
                    raise
                continue
            opened.pop_all()
            return MediaSockets(udp, tcp)
    raise AssertionError("the last attempt returns or raises")


def _open_all(
    opened: ExitStack, hosts: Sequence[str], port: int, kind: int, buffer_bytes: int, optional: bool
) -> list[socket.socket]:
    out: list[socket.socket] = []
    for host in hosts:
        version = ipaddress.ip_address(host).version
        if optional and version == 6 and not _has_ipv6():
            continue
        one = _open(host, version, port, kind, buffer_bytes)
        opened.callback(one.close)
        out.append(one)
        port = one.getsockname()[1]
    return out


def _open(host: str, version: int, port: int, kind: int, buffer_bytes: int) -> socket.socket:
    one = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind)
    try:
        one.setblocking(False)
        if version == 6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_DGRAM:
            # Answers must leave from the address that was asked, or the client's NAT will not know them.
            if version == 4:
                one.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_PKTINFO", 8), 1)
            else:
                one.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            _set_buffer(one, _SO_RCVBUFFORCE, socket.SO_RCVBUF, buffer_bytes)
            _set_buffer(one, _SO_SNDBUFFORCE, socket.SO_SNDBUF, buffer_bytes)
        else:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host, port))
        if kind == socket.SOCK_STREAM:
            one.listen(128)
    except BaseException:
        one.close()
        raise
    return one


def _set_buffer(one: socket.socket, force: int, ordinary: int, size: int) -> None:
    """A burst of key frames must fit. Beyond net.core.rmem_max only an administrator may go."""
    try:
        one.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        one.setsockopt(socket.SOL_SOCKET, ordinary, size)


def _has_ipv6() -> bool:
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


def candidates(addresses: Sequence[str], udp_port: int, tcp_port: int | None) -> list[IceCandidate]:
    """Host candidates, best first (RFC 8445 section 5.1.2, RFC 6544 section 4.2).

    UDP comes before TCP, a real address before loopback; among equals the order given counts.
    """
    out: list[IceCandidate] = []
    for rank, address in enumerate(addresses):
        loopback = ipaddress.ip_address(address).is_loopback
        preference = (8_000 if loopback else 65_535) - rank
        out.append(IceCandidate(f"udp{rank}", _priority(126, preference), address, udp_port, "udp"))
        if tcp_port is not None:
            # Direction preference 4 (passive) in the upper three bits of the local preference.
            preference = (4 << 13) + ((1_000 if loopback else 8_191) - rank)
            out.append(
                IceCandidate(
                    f"tcp{rank}", _priority(90, preference), address, tcp_port, "tcp", tcp_type="passive"
                )
            )
    return sorted(out, key=lambda one: -one.priority)


def _priority(kind: int, local: int) -> int:
    return kind << 24 | local << 8 | 255
