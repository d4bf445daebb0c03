"""H.264 profiles out of `profile-level-id` (RFC 6184, section 8.1, table 5)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_FORM: Final = re.compile(r"[0-9A-Fa-f]{6}")
# RFC 6184's default is plain baseline level 1; every WebRTC endpoint means this one when it says nothing.
_DEFAULT: Final = "42e01f"

# profile_idc, constraint flags where x may be either, name: first match wins.
_PROFILES: Final[tuple[tuple[int, str, str], ...]] = (
    (0x42, "x1xx0000", "constrained-baseline"),
    (0x4D, "1xxx0000", "constrained-baseline"),
    (0x58, "11xx0000", "constrained-baseline"),
    (0x42, "x0xx0000", "baseline"),
    (0x58, "10xx0000", "baseline"),
    (0x4D, "0x0x0000", "main"),
    (0x64, "00000000", "high"),
    (0x64, "00001100", "constrained-high"),
    (0xF4, "00000000", "high-4:4:4"),
)


@lru_cache(maxsize=256)
def profile(profile_level_id: str) -> str | None:
    """The profile's name, or None for one that is malformed or not in the table. "" is the default."""
    text = profile_level_id or _DEFAULT
    if not _FORM.fullmatch(text):
        return None
    idc, flags = int(text[:2], 16), f"{int(text[2:4], 16):08b}"
    for number, pattern, name in _PROFILES:
        if number == idc and all(p in ("x", f) for p, f in zip(pattern, flags, strict=True)):
            return name
    return None


def same_profile(a: str, b: str) -> bool:
    """Whether two `profile-level-id`s name one known profile; levels may differ."""
    found = profile(a)
    return found is not None and found == profile(b)
