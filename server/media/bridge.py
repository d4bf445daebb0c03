"""The media server: a few engines, the rooms spread over them, and the clock of their handshakes.

Commands go down by calls that return at once; events come up through one task per engine. If an engine's
thread ends or its task fails, `run` fails: a server without media must not pretend to be one.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections import deque
from typing import Any

import structlog
import trio

from rtp_core.mesh import Mesh
from server.media.api import RouterListener
from server.media.engine import Engine
from server.media.interfaces import own_addresses
from server.media.placement import engine_for, home_of_room
from server.media.router import Router
from server.media.settings import MediaSettings
from server.media.sockets import MediaSockets
from server.media.transport import Transport
from server.rtc.capabilities import router_capabilities
from server.rtc.certificate import Certificate
from server.rtc.parameters import Direction, IceCandidate

log = structlog.get_logger(__name__)


class Media:
    """Ports and candidates are known once `run` has started; the first engine's stand for the server."""

    def __init__(self, settings: MediaSettings) -> None:
        self.settings = settings
        self.rtp_capabilities = router_capabilities(settings.codecs)
        self.certificate = Certificate.generate(time.time())
        self.fingerprint = self.certificate.fingerprint("sha-256")
        self.engines = [Engine(settings, index) for index in range(settings.engines)]
        if len(self.engines) > 1:
            Mesh([engine.core for engine in self.engines])
        self.dtls_timers: set[Transport] = set()
        self._timers_changed = trio.Event()
        self._finished: deque[tuple[float, Transport]] = deque()  # with when to release them, in order
        self._one_finished = trio.Event()

    @property
    def udp_port(self) -> int:
        return self.engines[0].udp_port

    @property
    def tcp_port(self) -> int | None:
        return self.engines[0].tcp_port

    @property
    def udp_ports(self) -> list[int]:
        return [engine.udp_port for engine in self.engines]

    @property
    def candidates(self) -> list[IceCandidate]:
        return self.engines[0].candidates

    @property
    def running(self) -> bool:
        return all(engine.running for engine in self.engines)

    # ---- what rooms ask for ---------------------------------------------------------------------------

    def create_router(self, listener: RouterListener) -> Router:
        return Router(self, home_of_room(self.engines), listener)

    def engine_for(self, router: Router, direction: Direction) -> Engine:
        return engine_for(
            direction,
            router.home,
            self.engines,
            # As many as there will be when all are connected. While peer to peer nobody sends yet.
            consumers=router.receivers_at_home * max(1, router.producers),
            spread_above=self.settings.spread_above,
        )

    def stats(self) -> dict[str, Any]:
        """Counters of all engines since their start, and how many objects there are now.

        What an engine keeps of another's producer counts as a producer, and what carries it as a transport.
        """
        out: dict[str, Any] = {}
        for engine in self.engines:
            for name, value in engine.core.counters().items():
                out[name] = (
                    max(out.get(name, 0), value) if name.endswith("_max") else out.get(name, 0) + value
                )
        out["event_failures"] = sum(engine.event_failures for engine in self.engines)
        out["engines"] = len(self.engines)
        if len(self.engines) > 1:
            out["engine"] = {str(engine.index): engine.figures() for engine in self.engines}
        return out

    # ---- running --------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. OSError before `started` when a port cannot be had."""
        try:
            for engine in self.engines:
                sockets = engine.open()
                addresses = self.settings.announce or _listening(self.settings.addresses, sockets)
                engine.announce(addresses)
                log.info("media_listens", udp=engine.udp_port, tcp=engine.tcp_port, addresses=list(addresses))
            async with trio.open_nursery() as nursery:
                for engine in self.engines:
                    await nursery.start(engine.run)
                nursery.start_soon(self._watch_timers)
                nursery.start_soon(self._release_finished)
                task_status.started()
        finally:
            for engine in self.engines:
                engine.close()

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

    def release_later(self, transport: Transport) -> None:
        """Its DTLS has its keys."""
        self._finished.append((self.now() + self.settings.dtls_linger_s, transport))
        self._one_finished.set()

    async def _release_finished(self) -> None:
        while True:
            while self._finished and self._finished[0][0] <= self.now():
                self._finished.popleft()[1].release_dtls()
            if self._finished:
                await trio.sleep(self._finished[0][0] - self.now())
            else:
                self._one_finished = trio.Event()
                await self._one_finished.wait()


def _listening(addresses: tuple[str, ...], sockets: MediaSockets) -> tuple[str, ...]:
    """The addresses that the sockets answer on: the given ones, or the machine's own behind a wildcard."""
    if addresses and not {"0.0.0.0", "::"} & set(addresses):
        return addresses
    versions = {4 if one.family == socket.AF_INET else 6 for one in sockets.udp}
    return tuple(one for one in own_addresses() if ipaddress.ip_address(one).version in versions)
