"""A media server in memory: it keeps the books that `server.media.api` describes and forwards nothing.

Tests read what rooms made (`FakeMedia.routers`), and play the media core's part by `FakeTransport.become`,
`FakeRouter.levels` and `FakeRouter.speaker`. What the real core would refuse is refused here too.
"""

from __future__ import annotations

from typing import Any, Literal

from server import ids
from server.media.api import RouterListener, StreamStats, TransportState, TransportStats
from server.rtc.capabilities import router_capabilities
from server.rtc.parameters import (
    Direction,
    DtlsParameters,
    Fingerprint,
    IceCandidate,
    IceParameters,
    MediaKind,
    RtpCapabilities,
    RtpParameters,
    Source,
)

FINGERPRINT = Fingerprint("sha-256", ":".join(["AB"] * 32))


class FakeProducer:
    def __init__(self, transport: FakeTransport, kind: MediaKind, source: Source, rtp: RtpParameters) -> None:
        self.id = ids.cuid()
        self.transport = transport
        self.kind: MediaKind = kind
        self.source: Source = source
        self.mid = rtp.mid
        self.rtp = rtp
        self.paused = False
        self.closed = False
        self.keyframes_asked = 0

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    def request_keyframe(self) -> None:
        assert not self.closed
        self.keyframes_asked += 1

    def stats(self) -> StreamStats:
        return StreamStats()


class FakeConsumer:
    _next_ssrc = 50_000

    def __init__(self, producer: FakeProducer, mid: str, paused: bool) -> None:
        FakeConsumer._next_ssrc += 2
        self.id = ids.cuid()
        self.producer = producer
        self.mid = mid
        self.ssrc = FakeConsumer._next_ssrc
        self.rtx_ssrc: int | None = self.ssrc + 1 if producer.kind == "video" else None
        self.paused = paused
        self.closed = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        assert not self.closed
        self.paused = False
        if self.producer.kind == "video":
            self.producer.request_keyframe()

    def close(self) -> None:
        self.closed = True

    def stats(self) -> StreamStats:
        return StreamStats()


class FakeTransport:
    def __init__(self, router: FakeRouter, direction: Direction) -> None:
        self.id = ids.cuid()
        self.router = router
        self.direction: Direction = direction
        self.state: TransportState = "new"
        self.protocol: Literal["udp", "tcp"] | None = None
        self.ice = self._new_ice()
        self.fingerprint = FINGERPRINT
        self.closed = False
        self.remote: DtlsParameters | None = None
        self.restarts = 0
        self.producers: list[FakeProducer] = []
        self.consumers: list[FakeConsumer] = []
        self.full = False  # the core takes no more consumers

    def _new_ice(self) -> IceParameters:
        candidate = IceCandidate("1", 2130706431, "127.0.0.1", 8444, "udp")
        return IceParameters(ids.token()[:8], ids.token(), [candidate])

    def connect(self, remote: DtlsParameters) -> None:
        assert not self.closed
        if self.remote is not None and self.remote != remote:
            raise ValueError("connected with other parameters already")
        self.remote = remote

    def restart_ice(self) -> IceParameters:
        self.restarts += 1
        self.ice = self._new_ice()
        return self.ice

    def produce(self, *, kind: MediaKind, source: Source, rtp: RtpParameters) -> FakeProducer:
        assert not self.closed
        assert self.direction == "send"
        if any(one.mid == rtp.mid and not one.closed for one in self.producers):
            raise ValueError(f"mid {rtp.mid} has a producer")
        producer = FakeProducer(self, kind, source, rtp)
        self.producers.append(producer)
        return producer

    def consume(
        self, producer: Any, *, mid: str, paused: bool = True, cname: str | None = None
    ) -> FakeConsumer:
        assert not self.closed
        assert self.direction == "recv"
        if producer.closed or any(one.mid == mid and not one.closed for one in self.consumers):
            raise ValueError("the producer is closed or the mid is taken")
        if self.full:
            raise MemoryError("no room for another consumer")
        consumer = FakeConsumer(producer, mid, paused)
        self.consumers.append(consumer)
        return consumer

    def stats(self) -> TransportStats:
        return TransportStats()

    def close(self) -> None:
        self.closed = True
        for one in (*self.producers, *self.consumers):
            one.close()

    # ---- the test's hand ------------------------------------------------------------------------------

    def become(self, state: TransportState, protocol: Literal["udp", "tcp"] = "udp") -> None:
        """The core reports this state."""
        self.state = state
        self.protocol = protocol
        self.router.listener.on_transport_state(self, state)

    @property
    def open_producers(self) -> dict[str, FakeProducer]:
        return {one.source: one for one in self.producers if not one.closed}

    @property
    def open_consumers(self) -> list[FakeConsumer]:
        return [one for one in self.consumers if not one.closed]


class FakeRouter:
    def __init__(self, listener: RouterListener) -> None:
        self.id = ids.cuid()
        self.listener = listener
        self.rtp_capabilities: RtpCapabilities = router_capabilities()
        self.closed = False
        self.udp_port = 8444
        self.tcp_port: int | None = 8444
        self.transports: list[FakeTransport] = []

    def create_transport(self, direction: Direction) -> FakeTransport:
        assert not self.closed
        transport = FakeTransport(self, direction)
        self.transports.append(transport)
        return transport

    def close(self) -> None:
        self.closed = True
        for transport in self.transports:
            transport.close()

    # ---- the test's hand ------------------------------------------------------------------------------

    @property
    def open_transports(self) -> list[FakeTransport]:
        return [one for one in self.transports if not one.closed]

    def levels(self, levels: list[tuple[FakeProducer, float]]) -> None:
        self.listener.on_audio_levels(list(levels))

    def speaker(self, producer: FakeProducer | None) -> None:
        self.listener.on_active_speaker(producer)


class FakeMedia:
    """`fail_routers`: the next routers cannot be made."""

    def __init__(self) -> None:
        self.udp_port = 8444
        self.udp_ports = [8444]
        self.tcp_port: int | None = 8444
        self.routers: list[FakeRouter] = []
        self.fail_routers = False

    def create_router(self, listener: RouterListener) -> FakeRouter:
        if self.fail_routers:
            raise RuntimeError("no more routers")
        router = FakeRouter(listener)
        self.routers.append(router)
        return router

    def stats(self) -> dict[str, Any]:
        return {}
