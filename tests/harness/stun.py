"""STUN for tests (RFC 8489, RFC 8445), written apart from rtp_core so that each can contradict the other."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import struct
import zlib
from dataclasses import dataclass, field

MAGIC = 0x2112A442
BINDING_REQUEST, BINDING_INDICATION, BINDING_SUCCESS, BINDING_ERROR = 0x0001, 0x0011, 0x0101, 0x0111

USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, UNKNOWN_ATTRIBUTES = 0x0006, 0x0008, 0x0009, 0x000A
XOR_MAPPED_ADDRESS, PRIORITY, USE_CANDIDATE = 0x0020, 0x0024, 0x0025
SOFTWARE, FINGERPRINT, ICE_CONTROLLED, ICE_CONTROLLING = 0x8022, 0x8028, 0x8029, 0x802A

_FINGERPRINT_XOR = 0x5354554E


class StunError(ValueError):
    pass


@dataclass
class Message:
    type: int
    transaction: bytes = field(default_factory=lambda: secrets.token_bytes(12))
    attributes: list[tuple[int, bytes]] = field(default_factory=list)

    def get(self, kind: int) -> bytes | None:
        return next((value for number, value in self.attributes if number == kind), None)

    @property
    def error(self) -> int | None:
        """The code of ERROR-CODE, such as 401."""
        value = self.get(ERROR_CODE)
        return None if value is None else (value[2] & 7) * 100 + value[3]

    @property
    def mapped_address(self) -> tuple[str, int] | None:
        value = self.get(XOR_MAPPED_ADDRESS)
        if value is None:
            return None
        key = MAGIC.to_bytes(4, "big") + self.transaction
        port = int.from_bytes(value[2:4], "big") ^ (MAGIC >> 16)
        raw = bytes(a ^ b for a, b in zip(value[4:], key, strict=False))
        return str(ipaddress.ip_address(raw)), port


def xor_address(address: tuple[str, int], transaction: bytes) -> bytes:
    packed = ipaddress.ip_address(address[0]).packed
    key = MAGIC.to_bytes(4, "big") + transaction
    family = 1 if len(packed) == 4 else 2
    raw = bytes(a ^ b for a, b in zip(packed, key, strict=False))
    return struct.pack("!BBH", 0, family, address[1] ^ (MAGIC >> 16)) + raw


def encode(message: Message, *, password: str | None = None, fingerprint: bool = True) -> bytes:
    """With MESSAGE-INTEGRITY when there is a password, and with FINGERPRINT last."""
    body = b"".join(_attribute(kind, value) for kind, value in message.attributes)
    if password is not None:
        head = _header(message, len(body) + 24)
        digest = hmac.digest(password.encode(), head + body, hashlib.sha1)
        body += _attribute(MESSAGE_INTEGRITY, digest)
    if fingerprint:
        head = _header(message, len(body) + 8)
        body += _attribute(FINGERPRINT, struct.pack("!I", zlib.crc32(head + body) ^ _FINGERPRINT_XOR))
    return _header(message, len(body)) + body


def decode(data: bytes) -> Message:
    """StunError for what is no STUN message or has a wrong FINGERPRINT; integrity is checked apart."""
    if len(data) < 20 or data[0] >= 4:
        raise StunError("no STUN header")
    kind, length, magic = struct.unpack_from("!HHI", data)
    if magic != MAGIC or length % 4 or length + 20 != len(data):
        raise StunError("bad magic or length")
    message = Message(kind, data[8:20])
    for at, number, value in _walk(data):
        if number == FINGERPRINT:
            crc = zlib.crc32(data[:at]) ^ _FINGERPRINT_XOR
            if value != struct.pack("!I", crc) or at + 8 != len(data):
                raise StunError("bad FINGERPRINT")
        message.attributes.append((number, value))
    return message


def has_integrity(data: bytes, password: str) -> bool:
    """Whether MESSAGE-INTEGRITY is there and right for this password."""
    for at, number, value in _walk(data):
        if number == MESSAGE_INTEGRITY:
            head = data[:2] + struct.pack("!H", at + 24 - 20) + data[4:at]
            return hmac.compare_digest(hmac.digest(password.encode(), head, hashlib.sha1), value)
    return False


def is_stun(data: bytes) -> bool:
    return len(data) >= 20 and data[0] < 4 and data[4:8] == MAGIC.to_bytes(4, "big")


def _walk(data: bytes) -> list[tuple[int, int, bytes]]:
    out = []
    at = 20
    while at < len(data):
        if at + 4 > len(data):
            raise StunError("truncated attribute")
        number, length = struct.unpack_from("!HH", data, at)
        if at + 4 + length > len(data):
            raise StunError("truncated attribute")
        out.append((at, number, data[at + 4 : at + 4 + length]))
        at += 4 + length + -length % 4
    return out


def _header(message: Message, length: int) -> bytes:
    return struct.pack("!HHI", message.type, length, MAGIC) + message.transaction


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)
