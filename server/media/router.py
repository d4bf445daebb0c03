"""A room's media: its transports, and the listener that hears of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from server.ids import cuid
from server.media.api import RouterListener
from server.media.streams import Producer, extension_ids
from server.media.transport import Transport
from server.rtc.parameters import Direction

if TYPE_CHECKING:
    from server.media import api
    from server.media.bridge import Media
    from server.media.engine import Engine

log = structlog.get_logger(__name__)


class Router:
    """`home` is the engine of its senders. Others know it too, once it has receivers there."""

    def __init__(self, media: Media, home: Engine, listener: RouterListener) -> None:
        self.id = cuid()
        self.media = media
        self.home = home
        self.producers = 0
        self.receivers_at_home = 0
        self.rtp_capabilities = media.rtp_capabilities
        self.closed = False
        self.udp_port = home.udp_port
        self.tcp_port = home.tcp_port
        self._listener = listener
        self._transports: set[Transport] = set()
        self._handles: dict[Engine, int] = {}
        home.objects[self.handle_on(home)] = self

    def handle_on(self, engine: Engine) -> int:
        if engine not in self._handles:
            extensions = extension_ids(self.rtp_capabilities.header_extensions)
            self._handles[engine] = engine.core.add_router(extensions)
        return self._handles[engine]

    def create_transport(self, direction: Direction) -> Transport:
        if self.closed:
            raise ValueError("the router is closed")
        engine = self.media.engine_for(self, direction)
        transport = Transport(self, engine, direction)
        self._transports.add(transport)
        self._count(transport, 1)
        engine.objects[transport.handle] = transport
        return transport

    def close(self) -> None:
        if self.closed:
            return
        for transport in list(self._transports):
            transport.close()
        self.closed = True
        for engine, handle in self._handles.items():
            engine.objects.pop(handle, None)
            engine.core.remove(handle)

    def forget(self, transport: Transport) -> None:
        """It has closed itself."""
        self._transports.remove(transport)
        self._count(transport, -1)

    def _count(self, transport: Transport, by: int) -> None:
        if transport.direction == "send":
            transport.engine.senders += by
        elif transport.engine is self.home:
            self.receivers_at_home += by

    def tell(self, call: Callable[[RouterListener], None]) -> None:
        """A listener's mistake is logged and costs nobody else anything."""
        if self.closed:
            return
        try:
            call(self._listener)
        except Exception:
            log.exception("router_listener_failed", router=self.id)

    def on_speaker(self, handle: int | None) -> None:
        producer = None if handle is None else self.home.objects.get(handle)
        if producer is None or isinstance(producer, Producer):
            self.tell(lambda listener: listener.on_active_speaker(producer))

    def on_levels(self, levels: list[tuple[int, float]]) -> None:
        named: list[tuple[api.Producer, float]] = [
            (producer, level)
            for handle, level in levels
            if isinstance(producer := self.home.objects.get(handle), Producer)
        ]
        if named:
            self.tell(lambda listener: listener.on_audio_levels(named))
