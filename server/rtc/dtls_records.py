"""DTLS records as datagrams carry them (RFC 6347, section 4.1): 13 bytes of header, then the fragment."""

from __future__ import annotations

RECORD_HEADER = 13
MAX_FRAGMENT = 2**14 + 2048
_FIRST_TYPE, _LAST_TYPE = 20, 25  # change_cipher_spec .. ack; RFC 7983 gives DTLS the first bytes 20 to 63


def record_end(data: bytes, start: int) -> int | None:
    """Where the record at `start` ends, or None if there is no whole DTLS record."""
    body = start + RECORD_HEADER
    if body > len(data) or not _FIRST_TYPE <= data[start] <= _LAST_TYPE or data[start + 1] != 0xFE:
        return None
    length = int.from_bytes(data[body - 2 : body], "big")
    end = body + length
    return end if 0 < length <= MAX_FRAGMENT and end <= len(data) else None


def whole_records_untrusted(datagram: bytes) -> bool:
    """Whether the datagram is nothing but whole records.

    OpenSSL reads its memory BIO as a stream, so a datagram that lies about a length must not reach it.
    """
    position = 0
    while position < len(datagram):
        end = record_end(datagram, position)
        if end is None:
            return False
        position = end
    return position > 0


def pack_records(stream: bytes, mtu: int) -> list[bytes]:
    """Cut OpenSSL's output at record borders, as many whole records to a datagram as fit `mtu` bytes.

    ValueError if the stream is not whole records, which would be OpenSSL's fault.
    """
    datagrams: list[bytes] = []
    start = position = 0
    while position < len(stream):
        end = record_end(stream, position)
        if end is None:
            raise ValueError("not a whole DTLS record")
        if end - start > mtu and position > start:
            datagrams.append(stream[start:position])
            start = position
        position = end
    if position > start:
        datagrams.append(stream[start:position])
    return datagrams
