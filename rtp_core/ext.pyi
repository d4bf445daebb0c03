"""RTP header extensions (RFC 8285): kinds, ids, reading and writing, for Python callers and tests."""

from collections.abc import Mapping
from enum import IntEnum

class ExtError(ValueError):
    """A header-extension block that breaks RFC 8285, or doesn't fit."""

class Kind(IntEnum):
    """The extensions that the core knows; the numbers are those of ext.pxd."""

    MID = 1
    RID = 2
    REPAIRED_RID = 3
    AUDIO_LEVEL = 4
    CSRC_AUDIO_LEVEL = 5
    ABS_SEND_TIME = 6
    TRANSPORT_CC = 7
    ORIENTATION = 8
    PLAYOUT_DELAY = 9
    CONTENT_TYPE = 10
    VIDEO_TIMING = 11
    COLOR_SPACE = 12
    DEPENDENCY_DESCRIPTOR = 13
    ABS_CAPTURE_TIME = 14
    VIDEO_LAYERS_ALLOCATION = 15
    TIME_OFFSET = 16
    FRAME_MARKING = 17

KIND_OF_URI: dict[str, Kind]

class Map:
    """Negotiated ids of one RTP session. ExtError for an id outside 1..255 or an unknown kind."""

    def __init__(self, ids: Mapping[int, int] | None = None) -> None:
        """`ids` maps id to kind."""

    def set(self, kind: int, id: int) -> None: ...
    def as_dict(self) -> dict[int, Kind]:
        """id -> kind"""

    def ids(self) -> dict[Kind, int]:
        """kind -> id"""

    @property
    def address(self) -> int:
        """Of the C struct, which lives as long as this object."""

def parse_untrusted(block: bytes, profile: int, map: Map, *, partial: bool = False) -> dict[Kind, bytes]:
    """Elements of a block (without its four-byte header) that `map` knows.

    A malformed block raises ExtError; with `partial`, what stands before the fault is returned instead.
    """

def audio_level(element: bytes) -> tuple[int, bool] | None:
    """-dBov (0 loudest, 127 silence) and the voice bit of an RFC 6464 element."""

def abs_send_time_at(now_us: int) -> int:
    """Microseconds as 24-bit 6.18 fixed-point seconds."""

def write(
    elements: Mapping[Kind, bytes],
    map: Map,
    *,
    mid: bytes = b"",
    capacity: int = 1500,
    now_us: int | None = None,
    transport_sequence: int | None = None,
) -> tuple[bytes, int, int]:
    """The block that a consumer gets for a packet with `elements`, and the offsets of the abs-send-time and
    transport-cc fields in it (-1: not there). b"" when nothing is to be written. ExtError: no room."""
