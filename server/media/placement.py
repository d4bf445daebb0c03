"""Which engine a room and its transports live on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from server.rtc.parameters import Direction


class Loaded(Protocol):
    @property
    def load(self) -> int: ...


E = TypeVar("E", bound=Loaded)


def home_of_room(engines: Sequence[E]) -> E:
    """The engine with least to do; the first of equals."""
    return min(engines, key=lambda engine: engine.load)


def engine_for(
    direction: Direction, home: E, engines: Sequence[E], *, consumers: int, spread_above: int
) -> E:
    """Where the next transport of a room with so many consumers at its home goes.

    Senders stay at home, so that one engine decides who speaks. Receivers of a room that has grown large go
    where there is least to do: packets cross once per engine, not once per receiver.
    """
    if direction == "send" or consumers <= spread_above:
        return home
    least = home_of_room(engines)
    return least if least.load < home.load else home
