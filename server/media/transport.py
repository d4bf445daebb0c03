"""One client's connection: ICE credentials, DTLS in this thread, SRTP keys to the core, and its streams."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Literal

from rtp_core.srtp import Profile, SrtpPair
from server.ids import cuid
from server.media.api import TransportState, TransportStats
from server.media.streams import Consumer, Producer, extension_ids, payload_table
from server.rtc.dtls import DtlsSession, local_role
from server.rtc.parameters import (
    Direction,
    DtlsParameters,
    Fingerprint,
    IceParameters,
    MediaKind,
    RtpParameters,
    Source,
)

if TYPE_CHECKING:
    from server.media import api
    from server.media.engine import Engine
    from server.media.router import Router

_MAX_CNAME = 64  # bytes that the core keeps
_EARLY_DATAGRAMS = 16  # a client that starts DTLS before its answer has come by signaling


class Transport:
    def __init__(self, router: Router, engine: Engine, direction: Direction) -> None:
        self.id = cuid()
        self.direction: Direction = direction
        self.state: TransportState = "new"
        self.closed = False
        self.router = router
        self.engine = engine
        self.core = engine.core
        self._media = router.media
        self.fingerprint: Fingerprint = self._media.fingerprint
        self.ice = self._fresh_ice()
        self.handle = self.core.add_transport(
            router.handle_on(engine),
            self.ice.username_fragment.encode(),
            self.ice.password.encode(),
            secrets.randbelow(2**32 - 1) + 1,
        )
        self._ice_state = "new"
        self._keyed = False
        self._remote: DtlsParameters | None = None
        self._dtls: DtlsSession | None = None
        self._early: list[bytes] = []  # the last _EARLY_DATAGRAMS
        self._producers: dict[int, Producer] = {}
        self._consumers: dict[int, Consumer] = {}
        self._pipes: dict[Engine, int] = {}  # what carries its producers' mirrors there
        self._last = TransportStats()

    # ---- what rooms ask for ---------------------------------------------------------------------------

    @property
    def protocol(self) -> Literal["udp", "tcp"] | None:
        if self.closed:
            return None
        channel = self.core.channel_of(self.handle)
        if channel is None:
            return None
        return "tcp" if channel else "udp"

    def connect(self, remote: DtlsParameters) -> None:
        if self.closed:
            return
        if self._remote is not None:
            if set(remote.fingerprints) != set(self._remote.fingerprints):
                raise ValueError("this transport is connected with other fingerprints: make a new one")
            return
        self._dtls = DtlsSession(self._media.certificate, local_role(remote.role), remote.fingerprints)
        self._remote = remote
        early, self._early = self._early, []
        for datagram in early:
            self._dtls.receive_untrusted(datagram, self._media.now())
        if self._dtls.role == "client" and self._ice_state == "connected":
            self._dtls.start(self._media.now())
        self._advance()

    def restart_ice(self) -> IceParameters:
        if not self.closed:
            self.ice = self._fresh_ice()
            self.core.set_ice(self.handle, self.ice.username_fragment.encode(), self.ice.password.encode())
        return self.ice

    def produce(self, *, kind: MediaKind, source: Source, rtp: RtpParameters) -> Producer:
        """ValueError for codecs that the router does not know, or a mid that is taken."""
        self._check_open()
        if any(rtp.mid == other.mid for other in self._producers.values()):
            raise ValueError(f"mid {rtp.mid!r} has a producer already")
        payloads = payload_table(rtp, self.router.rtp_capabilities)
        encoding = rtp.encodings[0] if rtp.encodings else None
        handle = self.core.add_producer(
            self.handle,
            video=kind == "video",
            mid=rtp.mid.encode(),
            ssrc=(encoding.ssrc if encoding else None) or 0,
            rtx_ssrc=(encoding.rtx_ssrc if encoding else None) or 0,
            payloads=payloads,
            extensions=extension_ids(rtp.header_extensions),
        )
        producer = Producer(self, handle, kind=kind, source=source, rtp=rtp, payloads=payloads)
        self._producers[handle] = producer
        self.router.producers += 1
        self.engine.objects[handle] = producer
        return producer

    def consume(
        self, producer: api.Producer, *, mid: str, paused: bool = True, cname: str | None = None
    ) -> Consumer:
        self._check_open()
        if not isinstance(producer, Producer) or producer.closed:
            raise ValueError("the producer is closed, or of another media server")
        ssrc = self._unused_ssrc()
        rtx_ssrc = self._unused_ssrc(ssrc) if producer.kind == "video" and producer.has_rtx else None
        handle = self.core.add_consumer(
            self.handle,
            producer.handle_on(self.engine),
            ssrc=ssrc,
            rtx_ssrc=rtx_ssrc or 0,
            mid=mid.encode(),
            cname=(cname or producer.cname).encode()[:_MAX_CNAME],
            paused=paused,
        )
        consumer = Consumer(self, producer, handle, mid=mid, ssrc=ssrc, rtx_ssrc=rtx_ssrc, paused=paused)
        self._consumers[handle] = consumer
        producer.consumers.add(consumer)
        self.engine.objects[handle] = consumer
        return consumer

    def stats(self) -> TransportStats:
        """After closing: as they were then."""
        found = None if self.closed else self.core.transport_stats(self.handle)
        if found is not None:
            self._last = TransportStats(
                packets_sent=found["packets_sent"],
                packets_received=found["packets_received"],
                bytes_sent=found["bytes_sent"],
                bytes_received=found["bytes_received"],
                srtp_errors=found["srtp_errors"],
                dropped=found["dropped"],
                rtt_ms=None if found["rtt_us"] < 0 else found["rtt_us"] / 1000,
            )
        return self._last

    def close(self) -> None:
        if self.closed:
            return
        self.stats()
        streams: list[Producer | Consumer] = [*self._producers.values(), *self._consumers.values()]
        for stream in streams:
            stream.close()
        if self._dtls is not None:
            self._dtls.close()
            self._send_dtls()
            self._dtls.release()
        self.closed = True
        self.state = "closed"
        self._media.dtls_timers.discard(self)
        self.router.forget(self)
        self.engine.objects.pop(self.handle, None)
        self.core.remove(self.handle)
        for engine, pipe in self._pipes.items():
            engine.core.remove(pipe)

    # ---- what the core tells, and the DTLS timer ------------------------------------------------------

    def on_ice_state(self, state: str) -> None:
        self._ice_state = state
        if state == "connected" and self._dtls is not None and self._dtls.role == "client":
            self._dtls.start(self._media.now())
        self._advance()

    def on_dtls_untrusted(self, datagram: bytes) -> None:
        if self._dtls is None:
            self._early = [*self._early, datagram][-_EARLY_DATAGRAMS:]
            return
        self._dtls.receive_untrusted(datagram, self._media.now())
        self._advance()

    def next_dtls_timeout(self, now: float) -> float | None:
        return None if self._dtls is None else self._dtls.next_timeout(now)

    def on_dtls_timer(self, now: float) -> None:
        if self._dtls is not None:
            self._dtls.handle_timer(now)
            self._advance()

    def release_dtls(self) -> None:
        """The client has long had our last flight: see docs/decisions/0011."""
        if self._dtls is not None:
            self._dtls.release()

    @property
    def dtls_released(self) -> bool:
        return self._dtls is not None and self._dtls.released

    def pipe_to(self, engine: Engine) -> int:
        """The transport on another engine that its producers' mirrors belong to there."""
        if engine not in self._pipes:
            self._pipes[engine] = engine.core.add_transport(self.router.handle_on(engine), b"", b"", 0)
        return self._pipes[engine]

    def forget(self, stream: Producer | Consumer) -> None:
        """It has closed itself."""
        if isinstance(stream, Producer):
            self.router.producers -= 1
            del self._producers[stream.handle]
        else:
            del self._consumers[stream.handle]
        self.engine.objects.pop(stream.handle, None)

    # ---- inside ---------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the transport is closed")

    def _fresh_ice(self) -> IceParameters:
        # RFC 8839 section 5.4 asks for 24 and 128 bits of randomness; the alphabet is ice-char's.
        return IceParameters(secrets.token_hex(8), secrets.token_hex(16), self.engine.candidates)

    def _unused_ssrc(self, *taken: int) -> int:
        used = {0, *taken}
        for consumer in self._consumers.values():
            used |= {consumer.ssrc, consumer.rtx_ssrc or 0}
        while (ssrc := secrets.randbelow(2**32)) in used:
            pass
        return ssrc

    def _send_dtls(self) -> None:
        assert self._dtls is not None
        for datagram in self._dtls.datagrams_to_send():
            self.core.send_dtls(self.handle, datagram)

    def _advance(self) -> None:
        """After any input: send what DTLS wants sent, hand over keys, keep its timer, tell the state."""
        if self._dtls is not None:
            # The flight first: what the keys let out must not overtake the client's last message of DTLS.
            self._send_dtls()
            keys = self._dtls.srtp
            if keys is not None and not self._keyed:
                self._keyed = True
                pair = SrtpPair(Profile[keys.profile], keys.send_key, keys.recv_key)
                self.core.set_srtp(self.handle, pair)
                self._media.release_later(self)
            if self._dtls.state == "handshaking":
                self._media.watch_dtls(self)
            else:
                self._media.dtls_timers.discard(self)
        state = self._state_now()
        if state != self.state:
            self.state = state
            self.router.tell(lambda listener: listener.on_transport_state(self, state))

    def _state_now(self) -> TransportState:
        dtls = "new" if self._dtls is None else self._dtls.state
        if self.closed or dtls == "closed":  # by us, or by the client's close_notify: no error either way
            return "closed"
        if dtls == "failed" or self._ice_state == "failed":
            return "failed"
        if self._ice_state == "disconnected":
            return "disconnected"
        if self._ice_state == "connected" and dtls == "connected":
            return "connected"
        return "connecting" if self._ice_state == "connected" or dtls != "new" else "new"
