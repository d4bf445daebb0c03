"""The machine's own part of a latency: what the media's core makes any thread on it wait.

A packet's latency cannot be less than this, whatever forwards it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from bench.load.pin import on_medias_core
from bench.native.jitter import stalls, wakings
from bench.report import POINTS, points


def wait_of(gaps: Sequence[int], total: int, part: float) -> float:
    """How long at most `part` of all moments of `total` wait until the gap that they fall into is over.

    All in one unit. Of a gap of length g, moments that wait for more than x are g - x, if g > x.
    """
    longest = sorted(gaps, reverse=True)
    allowed = (1 - part) * total
    for count, held in enumerate(accumulate(longest), 1):
        # Of these gaps alone: the x at which their moments that wait longer come to what is allowed.
        wait = (held - allowed) / count
        if wait > 0 and (count == len(longest) or longest[count] <= wait):
            return wait
    return 0.0


def awake(seconds: float) -> dict[str, float]:
    """µs that a moment waits if nothing has to be woken: POINTS and "max"."""
    gaps = on_medias_core(lambda: stalls(seconds))
    found = {name: wait_of(gaps, int(seconds * 1e9), part) / 1000 for name, part in POINTS.items()}
    return {**found, "max": max(gaps, default=0) / 1000}


def woken(seconds: float, interval_s: float) -> dict[str, float]:
    """µs that a thread is woken too late that sleeps until each interval: POINTS and "max"."""
    return points(sorted(on_medias_core(lambda: wakings(seconds, interval_s))))
