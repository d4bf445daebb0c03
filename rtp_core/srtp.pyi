"""SRTP of one transport (RFC 3711, RFC 7714, RFC 5764): keys, sessions, sealing and opening."""

from enum import IntEnum
from typing import NamedTuple

MAX_SSRCS: int

class Profile(IntEnum):
    """Numbers of RFC 5764 and RFC 7714. Lengths are bytes."""

    AES128_CM_SHA1_80 = 1
    AEAD_AES_128_GCM = 7
    AEAD_AES_256_GCM = 8
    @property
    def key_len(self) -> int: ...
    @property
    def salt_len(self) -> int: ...
    @property
    def exporter_len(self) -> int:
        """How much keying material to export with the label EXTRACTOR-dtls_srtp."""

    @property
    def overhead(self) -> int:
        """What sealing adds to an RTP packet."""

    @property
    def rtcp_overhead(self) -> int:
        """What sealing adds to an RTCP packet."""

class Lengths(NamedTuple):
    key: int
    salt: int
    tag: int

LENGTHS: dict[Profile, Lengths]
PROFILE_OF_NAME: dict[bytes, Profile]
"""By OpenSSL's names, as `get_selected_srtp_profile` returns them."""

class ExportedKeys(NamedTuple):
    """Master key and master salt, concatenated, of what the DTLS client and the DTLS server send."""

    client: bytes
    server: bytes

def split_exported(profile: int, block: bytes) -> ExportedKeys:
    """RFC 5764 section 4.2. ValueError when `block` hasn't `profile.exporter_len` bytes."""

class Verdict(IntEnum):
    OK = 0
    AUTH_FAIL = -1
    REPLAY = -2
    NO_CONTEXT = -3
    BAD = -4
    NO_ROOM = -5
    TOO_MANY = -6
    FAILED = -7

class SrtpError(ValueError):
    """A packet that is refused; `verdict` says why."""

    verdict: Verdict
    def __init__(self, verdict: Verdict) -> None: ...

def new_session(profile: int, key: bytes, ssrc_type: int) -> object:
    """A pylibsrtp Session of AES-CM for any SSRC, with our window."""

class SrtpPair:
    """Both directions of one transport. Keys are master key + master salt.

    Not for two threads at once. Keep it alive while anyone holds `context_address`.
    """

    def __init__(self, profile: int, send_key: bytes, recv_key: bytes) -> None:
        """ValueError for an unknown profile or keys of the wrong length."""

    @property
    def context_address(self) -> int:
        """Of the C SrtpContext, valid as long as this object."""

    @property
    def profile(self) -> Profile: ...
    @property
    def ssrcs(self) -> list[int]:
        """Inbound SSRCs that have sent an authentic packet, at most MAX_SSRCS."""

    @property
    def outbound_ssrcs(self) -> list[int]:
        """Those that have been sealed and not forgotten; of AES-GCM only."""

    def seal_rtp(self, packet: bytes, *, capacity: int | None = None) -> bytes:
        """SrtpError when refused: a repeated sequence number (GCM), or no room within `capacity`."""

    def seal_rtcp(self, packet: bytes, *, capacity: int | None = None) -> bytes: ...
    def open_rtp_untrusted(self, packet: bytes) -> bytes:
        """SrtpError, and nothing else, when the packet is not authentic, replayed or malformed."""

    def open_rtcp_untrusted(self, packet: bytes) -> bytes: ...
    def forget_in(self, ssrc: int) -> bool:
        """Frees an inbound SSRC's state, its replay window too. False: there was none."""

    def forget_out(self, ssrc: int) -> bool:
        """The same outbound. That SSRC must never be used again with these keys."""
