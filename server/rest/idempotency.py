"""Requests that may be sent twice: the second gets the first one's answer.

A key is one caller's. The id of the call that it opens follows from it, so that a repetition is known by the
call's row even after a restart, when this memory is gone.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec

KEPT_S = 86_400.0
KEPT = 4096


class Kept(msgspec.Struct, frozen=True):
    fingerprint: bytes  # of the request's body
    answer: msgspec.Struct
    until: float  # Unix seconds


class Replays:
    """The newest answers, each for a day."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()

    def get(self, caller: str, key: str, now: float) -> Kept | None:
        kept = self._kept.get((caller, key))
        return None if kept is None or kept.until <= now else kept

    def put(self, caller: str, key: str, body: msgspec.Struct, answer: msgspec.Struct, now: float) -> None:
        self._kept[caller, key] = Kept(fingerprint(body), answer, now + KEPT_S)
        self._kept.move_to_end((caller, key))
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)


def fingerprint(body: msgspec.Struct) -> bytes:
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).digest()


def call_id_of(caller: str, key: str) -> str:
    """An id of the shape of others, the same for the same key."""
    return "c" + hashlib.sha256(f"{caller}\0{key}".encode()).hexdigest()[:24]
