"""STUN binding messages (RFC 8489) and the checks of an ICE-lite agent (RFC 8445), for test clients."""

from enum import IntEnum
from typing import NamedTuple

class StunError(ValueError):
    """Bytes that are not a well-formed STUN message, or arguments that don't fit into one."""

class Class(IntEnum):
    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3

class Triage(IntEnum):
    """What a message deserves before any key is known; the last two are error codes to answer with."""

    DROP = 0
    PLAIN = 1
    CHECK = 2
    MALFORMED = 400
    UNKNOWN = 420

class Role(IntEnum):
    NONE = 0
    CONTROLLING = 1
    CONTROLLED = 2

class Address(NamedTuple):
    host: str
    port: int

class Message:
    """One parsed message. Made by `parse_untrusted`."""

    data: bytes
    @property
    def cls(self) -> Class: ...
    @property
    def method(self) -> int:
        """1: binding."""

    @property
    def transaction_id(self) -> bytes: ...
    @property
    def username(self) -> bytes | None: ...
    @property
    def ufrag(self) -> bytes | None:
        """The receiver's, before the colon of the user name."""

    @property
    def has_integrity(self) -> bool: ...
    @property
    def has_fingerprint(self) -> bool: ...
    @property
    def use_candidate(self) -> bool: ...
    @property
    def priority(self) -> int | None: ...
    @property
    def role(self) -> Role: ...
    @property
    def tie_breaker(self) -> int: ...
    @property
    def error_code(self) -> int | None: ...
    @property
    def mapped(self) -> Address | None: ...
    @property
    def unknown(self) -> list[int]:
        """Comprehension-required attributes that we don't know, at most eight."""

    def triage(self) -> Triage: ...
    def check_integrity(self, password: bytes) -> bool: ...
    def check(self, password: bytes) -> int:
        """As the controlled lite side: 0, or the error code to answer with (401, 420, 487)."""

    def success(self, address: tuple[str, int], password: bytes | None = None) -> bytes:
        """The response that tells the sender its `address`; ValueError when that is no IP address."""

    def error(self, code: int, password: bytes | None = None) -> bytes:
        """An error response; a 420 lists `unknown`. StunError for a code outside 300..699."""

def parse_untrusted(data: bytes) -> Message:
    """StunError, and nothing else, when `data` isn't one whole well-formed message."""

def build_request(
    transaction_id: bytes,
    *,
    username: bytes = b"",
    password: bytes = b"",
    priority: int = 0,
    role: int = 0,
    tie_breaker: int = 0,
    use_candidate: bool = False,
) -> bytes:
    """A binding request: plain without a user name, otherwise with integrity (the receiver's password).

    StunError when the id hasn't twelve bytes or the user name has more than 513.
    """
