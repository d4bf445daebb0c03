"""What every peer's room has: one who sends, and those who receive."""

from __future__ import annotations

import time

import trio

from bench.load.endpoint import Endpoint
from server.rtc.certificate import Certificate


class Room:
    """Each peer's own says how they `publish` and `subscribe`. Tasks that serve them live in `nursery`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.publisher: Endpoint | None = None
        self.subscribers: list[Endpoint] = []
        self._certificate = Certificate.generate(time.time())

    def endpoint(self, address: str) -> Endpoint:
        return Endpoint(self._certificate, address)

    def keep_alive(self) -> None:
        for one in [self.publisher, *self.subscribers]:
            if one is not None:
                one.keep_alive()
