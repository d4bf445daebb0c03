"""RTP packets for tests (RFC 3550, RFC 8285), written apart from rtp_core."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class RtpPacket:
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes = b""
    marker: bool = False
    extensions: dict[int, bytes] = field(default_factory=dict)  # by id

    def to_bytes(self) -> bytes:
        block = _extension_block(self.extensions)
        first = 0x80 | (0x10 if block else 0)
        second = (0x80 if self.marker else 0) | self.payload_type
        head = struct.pack(
            "!BBHII", first, second, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc
        )
        return head + block + self.payload

    @classmethod
    def from_bytes(cls, data: bytes) -> RtpPacket:
        """ValueError or struct.error for what is no RTP packet; padding is taken off."""
        first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", data)
        if first >> 6 != 2:
            raise ValueError("not RTP version 2")
        at = 12 + 4 * (first & 15)
        extensions: dict[int, bytes] = {}
        if first & 0x10:
            profile, words = struct.unpack_from("!HH", data, at)
            extensions = _parse_extensions(profile, data[at + 4 : at + 4 + 4 * words])
            at += 4 + 4 * words
        end = len(data) - (data[-1] if first & 0x20 else 0)
        if end < at:
            raise ValueError("more padding than payload")
        return cls(second & 0x7F, sequence, timestamp, ssrc, data[at:end], bool(second & 0x80), extensions)


def is_rtcp(data: bytes) -> bool:
    """RFC 5761, section 4: the second byte of RTCP lies in 192 to 223."""
    return len(data) >= 8 and 192 <= data[1] <= 223


def rtcp_types(data: bytes) -> list[tuple[int, int]]:
    """(packet type, count or format) of each packet of a compound."""
    out = []
    at = 0
    while at + 4 <= len(data):
        first, kind, words = struct.unpack_from("!BBH", data, at)
        out.append((kind, first & 31))
        at += 4 * (words + 1)
    return out


def pli(sender: int, media: int) -> bytes:
    """RFC 4585, section 6.3.1."""
    return struct.pack("!BBHII", 0x81, 206, 2, sender, media)


def nack(sender: int, media: int, sequences: list[int]) -> bytes:
    """RFC 4585, section 6.2.1, one entry for each sequence number."""
    body = b"".join(struct.pack("!HH", sequence, 0) for sequence in sequences)
    return struct.pack("!BBHII", 0x81, 205, 2 + len(sequences), sender, media) + body


def receiver_report(sender: int) -> bytes:
    """RFC 3550, section 6.4.2, with no blocks."""
    return struct.pack("!BBHI", 0x80, 201, 1, sender)


def sender_report(ssrc: int, *, ntp: int, timestamp: int, packets: int, octets: int, cname: str) -> bytes:
    """An SR without report blocks, and the SDES that compounds must have. `ntp` is 32.32 fixed point."""
    report = struct.pack("!BBHIQIII", 0x80, 200, 6, ssrc, ntp, timestamp & 0xFFFFFFFF, packets, octets)
    item = struct.pack("!IBB", ssrc, 1, len(cname)) + cname.encode() + b"\0"
    item += bytes(-len(item) % 4)
    return report + struct.pack("!BBH", 0x81, 202, len(item) // 4) + item


def _extension_block(extensions: Mapping[int, bytes]) -> bytes:
    if not extensions:
        return b""
    one_byte = all(1 <= number <= 14 and 1 <= len(value) <= 16 for number, value in extensions.items())
    body = b""
    for number, value in extensions.items():
        head = bytes([number << 4 | len(value) - 1]) if one_byte else bytes([number, len(value)])
        body += head + value
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", 0xBEDE if one_byte else 0x1000, len(body) // 4) + body


def _parse_extensions(profile: int, body: bytes) -> dict[int, bytes]:
    out: dict[int, bytes] = {}
    at = 0
    if profile != 0xBEDE and profile & 0xFFF0 != 0x1000:
        return out
    while at < len(body):
        if body[at] == 0:
            at += 1
            continue
        if profile == 0xBEDE:
            number, length = body[at] >> 4, (body[at] & 15) + 1
            at += 1
            if number == 15:
                break
        else:
            number, length = body[at], body[at + 1]
            at += 2
        out[number] = body[at : at + length]
        at += length
    return out
