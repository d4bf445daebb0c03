"""A producer as another engine knows it: fed from its own engine, consumed there like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.media.engine import Engine
    from server.media.streams import Consumer, Producer


class Mirror:
    """Lives as long as somebody on that engine consumes it; packets cross while one of them is not paused."""

    def __init__(self, producer: Producer, engine: Engine) -> None:
        self._producer = producer
        self._core = engine.core
        self._home = producer.transport.engine
        self._engine = engine
        self._consumers: set[Consumer] = set()
        self.handle = self._core.add_producer(
            producer.transport.pipe_to(engine),
            video=producer.kind == "video",
            mid=producer.mid.encode(),
            ssrc=0,
            rtx_ssrc=0,
            payloads=producer.payloads,
            extensions=producer.extensions,
            origin=(self._home.index, producer.handle),
        )
        try:
            self._relay = self._home.core.add_relay(producer.handle, engine.index, self.handle)
        except MemoryError:
            self._core.remove(self.handle)
            raise
        self._flowing = True
        if producer.paused:
            self._core.pause(self.handle)

    def pause(self) -> None:
        self._core.pause(self.handle)

    def resume(self) -> None:
        self._core.resume(self.handle)

    def add(self, consumer: Consumer) -> None:
        self._consumers.add(consumer)
        self.follow()

    def discard(self, consumer: Consumer) -> None:
        self._consumers.discard(consumer)
        if self._consumers:
            self.follow()
        else:
            self.close()

    def close(self) -> None:
        self._home.core.remove(self._relay)
        self._core.remove(self.handle)
        self._producer.mirrors.pop(self._engine.index, None)

    def follow(self) -> None:
        """A consumer came, went, paused or resumed."""
        flowing = any(not consumer.paused for consumer in self._consumers)
        if flowing != self._flowing:
            self._flowing = flowing
            (self._home.core.resume if flowing else self._home.core.pause)(self._relay)
