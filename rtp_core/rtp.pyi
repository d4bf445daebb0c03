"""RTP headers (RFC 3550), demultiplexing of one port, RTX, and sequence arithmetic, for tests and tools."""

from enum import IntEnum
from typing import NamedTuple

class RtpError(ValueError):
    """Bytes that are not a well-formed RTP packet, or don't fit."""

class Kind(IntEnum):
    """Whose packet a datagram is, by its first two bytes (RFC 7983, RFC 9443, RFC 5761)."""

    UNKNOWN = 0
    STUN = 1
    ZRTP = 2
    DTLS = 3
    TURN_CHANNEL = 4
    QUIC = 5
    RTP = 6
    RTCP = 7

class Header(NamedTuple):
    """Offsets and lengths are bytes; `payload_len` is without `padding`."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    csrc_count: int
    has_extension: bool
    extension_profile: int
    extension_offset: int
    extension_len: int
    header_len: int
    payload_len: int
    padding: int

def kind_of(data: bytes | bytearray | memoryview) -> Kind: ...
def parse_untrusted(data: bytes | bytearray | memoryview, *, encrypted: bool = False) -> Header:
    """The header of an RTP packet. `encrypted` leaves the padding alone. RtpError when it is malformed."""

def build(
    *,
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
    marker: bool = False,
    payload: bytes = b"",
    extension: bytes = b"",
) -> bytes:
    """A packet without CSRCs; `extension` is a whole block, its four-byte header included."""

def unwrap_rtx_untrusted(packet: bytes, *, payload_type: int, ssrc: int) -> bytes:
    """The original of an RTX packet (RFC 4588). RtpError when it carries none."""

def wrap_rtx(packet: bytes, *, payload_type: int, ssrc: int, sequence: int, capacity: int = 65536) -> bytes:
    """`packet` as an RTX packet. RtpError when it is malformed or the result exceeds `capacity` bytes."""

def sequence_diff(a: int, b: int) -> int:
    """a - b on the circle of 16 bits, -32768..32767."""

def sequence_newer(a: int, b: int) -> bool: ...
def timestamp_diff(a: int, b: int) -> int:
    """a - b on the circle of 32 bits."""

def timestamp_newer(a: int, b: int) -> bool: ...

class SequenceUnwrapper:
    """Widens 16-bit sequence numbers; the first stays as it is, older ones may become negative."""

    def unwrap(self, sequence: int) -> int: ...

class TimestampUnwrapper:
    """The same for 32-bit timestamps."""

    def unwrap(self, timestamp: int) -> int: ...

def byte_order(data: bytes | bytearray | memoryview) -> tuple[int, int, int, int, bytes]:
    """The leading eight bytes read as 16, 24, 32 and 64 bits, and those four written back."""
