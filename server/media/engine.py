"""One engine: a native thread with a core and a port of its own, and the task that brings its events to Trio.

Handles are its core's: `objects` says what each of them names. Nothing here knows of other engines; the mesh
that lets cores hand each other packets is the media server's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import structlog
import trio

from rtp_core.engine import Engine as Thread
from rtp_core.pipeline import Event, Pipeline
from server.media.priority import ahead_of_others, cores
from server.media.router import Router
from server.media.settings import MediaSettings
from server.media.sockets import MediaSockets, candidates, open_sockets
from server.media.streams import Consumer, Producer
from server.media.transport import Transport

if TYPE_CHECKING:
    from server.rtc.parameters import IceCandidate

log = structlog.get_logger(__name__)

_DRAIN = 256  # events of one pass, so that nobody else on the Trio thread waits long


class Engine:
    """`udp_port`, `tcp_port` and `candidates` are known once it is open."""

    def __init__(self, settings: MediaSettings, index: int) -> None:
        self.index = index
        self.core = Pipeline(scale=settings.max_transports)
        self.core.configure(
            disconnected_us=int(settings.disconnected_s * 1e6), failed_us=int(settings.failed_s * 1e6)
        )
        self.objects: dict[int, Router | Transport | Producer | Consumer] = {}
        self.senders = 0  # transports among them
        self.udp_port = settings.udp_port and settings.udp_port + index
        self.tcp_port = settings.tcp_port and settings.tcp_port + index
        self.candidates: list[IceCandidate] = []
        self.running = False
        self.event_failures = 0
        self._settings = settings
        self._sockets: MediaSockets | None = None
        self._bells: tuple[int, int] | None = None  # eventfds: the thread's, and Trio's

    @property
    def load(self) -> int:
        """How much it has to do, for comparing. A transport that sends to us counts by its producers."""
        return len(self.objects) - self.senders

    # ---- from open to close, around the run -----------------------------------------------------------

    def open(self) -> MediaSockets:
        """Binds the port and hangs the bells. OSError, its `filename` the port, when that cannot be had."""
        settings = self._settings
        try:
            sockets = open_sockets(
                settings.addresses, self.udp_port, self.tcp_port, settings.socket_buffer_bytes
            )
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.udp_port)) from error
        self._sockets = sockets
        self.udp_port, self.tcp_port = sockets.udp_port, sockets.tcp_port
        flags = os.EFD_NONBLOCK | os.EFD_CLOEXEC
        self._bells = os.eventfd(0, flags), os.eventfd(0, flags)
        self.core.attach_bells(*self._bells)
        return sockets

    def announce(self, addresses: tuple[str, ...]) -> None:
        self.candidates = candidates(addresses, self.udp_port, self.tcp_port)

    def close(self) -> None:
        """Once no engine runs: the others ring this one's bell."""
        if self._bells is not None:
            self.core.attach_bells(-1, -1)
            trio.lowlevel.notify_closing(self._bells[1])
            for bell in self._bells:
                os.close(bell)
            self._bells = None
        if self._sockets is not None:
            self._sockets.close()
            self._sockets = None

    # ---- running --------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; between `open` and `close`."""
        assert self._sockets is not None
        assert self._bells is not None
        thread = Thread(
            self.core,
            [one.fileno() for one in self._sockets.udp],
            [one.fileno() for one in self._sockets.tcp],
            tcp_connections=self._settings.max_tcp_connections,
            offload=self._settings.udp_offload,
            busy_poll_us=self._settings.busy_poll_us,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_thread, thread)
            try:
                self.running = True
                nursery.start_soon(self._ring_once_a_round)
                task_status.started()
                await self._pump(self._bells[1])
            finally:
                # The thread cannot be cancelled: it is told, and the nursery waits for it.
                self.running = False
                self.core.defer(None)
                thread.stop()

    async def _ring_once_a_round(self) -> None:
        """To wake the thread takes longer than most commands: once for all that one round of Trio's gave."""
        wanted = trio.Event()
        self.core.defer(lambda: wanted.set())
        while True:
            await wanted.wait()
            wanted = trio.Event()
            self.core.ring()

    async def _run_thread(self, thread: Thread) -> None:
        await trio.to_thread.run_sync(
            _run_first,
            thread,
            self._real_time,
            limiter=trio.CapacityLimiter(1),
            abandon_on_cancel=False,
            thread_name=f"tandem-media-{self.index}" if self.index else "tandem-media",
        )
        if self.running:
            raise RuntimeError("the media engine stopped by itself")

    @property
    def _real_time(self) -> bool:
        """Not where the rest of the machine would be left without: then the kernel stops a thread that never
        sleeps for 50 ms of each second."""
        settings = self._settings
        return settings.real_time and not settings.busy_poll_us and cores() > settings.engines

    async def _pump(self, events: int) -> None:
        while True:
            await trio.lowlevel.wait_readable(events)
            for event in self.core.poll(_DRAIN):
                try:
                    self._dispatch(event)
                except Exception:
                    self.event_failures += 1
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
            _started(target)

    def figures(self) -> dict[str, Any]:
        """What tells this engine from the others, for the metrics."""
        counters = self.core.counters()
        names = (
            "transports",
            "consumers",
            "packets_in",
            "forwarded",
            "relayed_in",
            "relayed_out",
            "late_us_max",
        )
        return {"udp_port": self.udp_port, **{name: counters[name] for name in names}}


def _run_first(thread: Thread, real_time: bool) -> None:
    """The thread's life; Trio has other uses for it afterwards."""
    with ahead_of_others(real_time=real_time):
        thread.run()


def _started(stream: Producer | Consumer) -> None:
    router = stream.transport.router
    if isinstance(stream, Producer):
        router.tell(lambda listener: listener.on_producer_started(stream))
    else:
        router.tell(lambda listener: listener.on_consumer_started(stream))
