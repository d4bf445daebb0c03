"""Handles: how the Trio thread names the core's objects without ever holding a pointer.

Kind in the top 8 bits, then 24 bits of generation and 32 of index. A place is used again under the next
generation, and only after the engine has said that the former object is gone.
"""

from __future__ import annotations

from collections import deque

_GENERATIONS = 0xFFFFFF


class Handles:
    """Places of one kind of object. Not for two threads."""

    def __init__(self, kind: int, capacity: int) -> None:
        self.kind = kind
        self.capacity = capacity
        self.used = 0
        self._free: deque[int] = deque()
        self._generations: list[int] = []

    def take(self) -> int:
        """MemoryError when all places are taken."""
        if self._free:
            index = self._free.popleft()
        elif len(self._generations) < self.capacity:
            index = len(self._generations)
            self._generations.append(0)
        else:
            raise MemoryError("the media core has no room for another object of this kind")
        generation = self._generations[index] % _GENERATIONS + 1
        self._generations[index] = generation
        self.used += 1
        return self.kind << 56 | generation << 32 | index

    def give_back(self, handle: int) -> None:
        self.used -= 1
        self._free.append(handle & 0xFFFFFFFF)
