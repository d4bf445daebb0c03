"""Identifiers: text CUIDs for rows and media objects, and unguessable tokens for secrets."""

from __future__ import annotations

import itertools
import secrets
import time

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_counter = itertools.count(secrets.randbelow(36**4))


_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]


def _base36(value: int, width: int) -> str:
    """The lowest `width` digits; an even number of them, as two are made at a time."""
    digits = ""
    for _ in range(width // 2):
        value, rest = divmod(value, 1296)
        digits = _PAIRS[rest] + digits
    return digits


def cuid() -> str:
    """A 25-character collision-resistant id of the classic CUID shape: `c`, time, counter, random."""
    stamp = _base36(time.time_ns() // 1_000_000, 8)
    return "c" + stamp + _base36(next(_counter), 4) + _base36(secrets.randbelow(36**12), 12)


def token() -> str:
    """An unguessable URL-safe secret of 192 bits."""
    return secrets.token_urlsafe(24)
