"""A token bucket: how often something may happen, with a burst. `now` is an argument, in seconds."""

from __future__ import annotations


class TokenBucket:
    """Full at first; `take` fails and takes nothing when less is left than asked for."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self._rate = rate  # tokens per second
        self._burst = burst
        self._level = burst
        self._at = now

    def take(self, count: float, now: float) -> bool:
        if now > self._at:  # a clock that steps back gives nothing and costs nothing
            self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if count > self._level:
            return False
        self._level -= count
        return True

    def wait_s(self, count: float) -> float:
        """Seconds from the last `take` until `count` tokens are there."""
        return max(0.0, (min(count, self._burst) - self._level) / self._rate)
