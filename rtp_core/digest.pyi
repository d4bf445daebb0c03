"""HMAC-SHA1 and CRC-32, for tests."""

def hmac_sha1_of(key: bytes, a: bytes, b: bytes = b"") -> bytes:
    """HMAC-SHA1 (RFC 2104) of a followed by b."""

def crc32_of(data: bytes) -> int:
    """CRC-32 of ITU V.42, as FINGERPRINT uses it."""
