"""This machine's own IP addresses, asked from the kernel by rtnetlink (RTM_GETADDR), without a dependency."""

from __future__ import annotations

import ipaddress
import socket
import struct

_RTM_GETADDR = 22
_RTM_NEWADDR = 20
_NLM_REQUEST_DUMP = 0x301
_NLMSG_DONE = 3
_NLMSG_ERROR = 2
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_F_UNUSABLE = 0x08 | 0x20 | 0x40  # DADFAILED, DEPRECATED, TENTATIVE


def own_addresses() -> list[str]:
    """Usable unicast addresses, real ones first, then loopback; link-local ones left out.

    OSError where the kernel does not answer.
    """
    found: list[str] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(2)
        netlink.send(struct.pack("=IHHII4xB3x", 24, _RTM_GETADDR, _NLM_REQUEST_DUMP, 1, 0, 0)[:24])
        while not _take(netlink.recv(65536), found):
            pass
    return sorted(dict.fromkeys(found), key=lambda text: ipaddress.ip_address(text).is_loopback)


def _take(datagram: bytes, found: list[str]) -> bool:
    """Adds the addresses of one netlink datagram; True at the end of the dump."""
    at = 0
    while at + 16 <= len(datagram):
        length, kind = struct.unpack_from("=IH", datagram, at)
        if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < 16:
            return True
        if kind == _RTM_NEWADDR and length >= 24:
            address = _address(datagram[at + 16 : at + length])
            if address is not None:
                found.append(address)
        at += (length + 3) & ~3
    return False


def _address(message: bytes) -> str | None:
    family, _, flags = struct.unpack_from("=BBB", message, 0)
    if flags & _IFA_F_UNUSABLE or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    attributes: dict[int, bytes] = {}
    at = 8
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if length < 4:
            break
        attributes[kind] = message[at + 4 : at + length]
        at += (length + 3) & ~3
    raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if raw is None or len(raw) not in (4, 16):
        return None
    address = ipaddress.ip_address(raw)
    return None if address.is_link_local or address.is_unspecified else str(address)
