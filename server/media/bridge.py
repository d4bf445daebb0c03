"""The media server: owns the port, runs the engine's thread, and carries its events to routers.

Commands go down by calls that return at once; events come up through one pump task. If the engine's thread
ends or the pump fails, `run` fails: a server without media must not pretend to be one.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from typing import Any

import structlog
import trio

from rtp_core.engine import Engine
from rtp_core.pipeline import Event, Pipeline
from server.media.api import RouterListener
from server.media.interfaces import own_addresses
from server.media.router import Router
from server.media.settings import MediaSettings
from server.media.sockets import MediaSockets, candidates, open_sockets
from server.media.streams import Consumer, Producer
from server.media.transport import Transport
from server.rtc.capabilities import router_capabilities
from server.rtc.certificate import Certificate
from server.rtc.parameters import IceCandidate

log = structlog.get_logger(__name__)

_DRAIN = 256  # events of one pass, so that nobody else on the Trio thread waits long


class Media:
    """`udp_port`, `tcp_port` and `candidates` are known once `run` has started."""

    def __init__(self, settings: MediaSettings) -> None:
        self.settings = settings
        self.rtp_capabilities = router_capabilities(settings.codecs)
        self.certificate = Certificate.generate(time.time())
        self.core = Pipeline(scale=settings.max_transports)
        self.core.configure(
            disconnected_us=int(settings.disconnected_s * 1e6), failed_us=int(settings.failed_s * 1e6)
        )
        self.objects: dict[int, Router | Transport | Producer | Consumer] = {}
        self.dtls_timers: set[Transport] = set()
        self.udp_port = settings.udp_port
        self.tcp_port = settings.tcp_port
        self.candidates: list[IceCandidate] = []
        self.running = False
        self._timers_changed = trio.Event()
        self._event_failures = 0

    # ---- what rooms ask for ---------------------------------------------------------------------------

    def create_router(self, listener: RouterListener) -> Router:
        router = Router(self, listener)
        self.objects[router.handle] = router
        return router

    def stats(self) -> dict[str, Any]:
        """Counters of the engine since its start, and how many objects there are now."""
        return {**self.core.counters(), "event_failures": self._event_failures}

    # ---- running --------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. OSError before `started` when the port cannot be had."""
        settings = self.settings
        sockets = open_sockets(
            settings.addresses, settings.udp_port, settings.tcp_port, settings.socket_buffer_bytes
        )
        try:
            self.udp_port, self.tcp_port = sockets.udp_port, sockets.tcp_port
            addresses = settings.announce or _listening(settings.addresses, sockets)
            self.candidates = candidates(addresses, self.udp_port, self.tcp_port)
            log.info("media_listens", udp=self.udp_port, tcp=self.tcp_port, addresses=list(addresses))
            await self._run(sockets, task_status)
        finally:
            sockets.close()

    async def _run(self, sockets: MediaSockets, task_status: trio.TaskStatus[None]) -> None:
        commands = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        events = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self.core.attach_bells(commands, events)
            engine = Engine(
                self.core,
                [one.fileno() for one in sockets.udp],
                [one.fileno() for one in sockets.tcp],
                tcp_connections=self.settings.max_tcp_connections,
                offload=self.settings.udp_offload,
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_engine, engine)
                try:
                    self.running = True
                    task_status.started()
                    nursery.start_soon(self._watch_timers)
                    await self._pump(events)
                finally:
                    # The thread cannot be cancelled: it is told, and the nursery waits for it.
                    self.running = False
                    engine.stop()
        finally:
            self.core.attach_bells(-1, -1)
            trio.lowlevel.notify_closing(events)
            os.close(commands)
            os.close(events)

    async def _run_engine(self, engine: Engine) -> None:
        await trio.to_thread.run_sync(
            engine.run, limiter=trio.CapacityLimiter(1), abandon_on_cancel=False, thread_name="tandem-media"
        )
        if self.running:
            raise RuntimeError("the media engine stopped by itself")

    async def _pump(self, events: int) -> None:
        while True:
            await trio.lowlevel.wait_readable(events)
            for event in self.core.poll(_DRAIN):
                try:
                    self._dispatch(event)
                except Exception:
                    self._event_failures += 1
                    log.exception("media_event_failed", event=event[0])

    def _dispatch(self, event: Event) -> None:
        kind, handle, value = event
        target = self.objects.get(handle)
        if target is None:  # closed on this side already
            return
        if isinstance(target, Transport):
            if kind == "dtls":
                target.on_dtls_untrusted(value)
            elif kind == "state":
                target.on_ice_state(value)
        elif isinstance(target, Router):
            if kind == "levels":
                target.on_levels(value)
            elif kind == "speaker":
                target.on_speaker(value)
        elif kind == "started":
            self._started(target)

    def _started(self, stream: Producer | Consumer) -> None:
        router = stream.transport.router
        if isinstance(stream, Producer):
            router.tell(lambda listener: listener.on_producer_started(stream))
        else:
            router.tell(lambda listener: listener.on_consumer_started(stream))

    # ---- DTLS timers ----------------------------------------------------------------------------------

    @staticmethod
    def now() -> float:
        """Seconds of the clock that DTLS sessions live by."""
        return time.monotonic()

    def watch_dtls(self, transport: Transport) -> None:
        if transport not in self.dtls_timers:
            self.dtls_timers.add(transport)
            self._timers_changed.set()

    async def _watch_timers(self) -> None:
        """One task for all handshakes: they are few at a time, and each ends within seconds."""
        while True:
            self._timers_changed = trio.Event()
            now = self.now()
            due: list[float] = []
            for transport in list(self.dtls_timers):
                when = transport.next_dtls_timeout(now)
                if when is None:
                    self.dtls_timers.discard(transport)
                elif when <= now:
                    transport.on_dtls_timer(now)
                    due.append(now + 0.05)
                else:
                    due.append(when)
            with trio.move_on_after(min(due) - now if due else float("inf")):
                await self._timers_changed.wait()


def _listening(addresses: tuple[str, ...], sockets: MediaSockets) -> tuple[str, ...]:
    """The addresses that the sockets answer on: the given ones, or the machine's own behind a wildcard."""
    if addresses and not {"0.0.0.0", "::"} & set(addresses):
        return addresses
    versions = {4 if one.family == socket.AF_INET else 6 for one in sockets.udp}
    return tuple(one for one in own_addresses() if ipaddress.ip_address(one).version in versions)
