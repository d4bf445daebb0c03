"""One participant's two connections to the SFU: what it sends, and what it is sent.

The client offers its send connection once (`publish`) and its m-lines say by their order what they carry; the
producers behind them come and go without negotiation. The receive connection is offered by the server: always
the whole of it, one offer at a time; what changes while an offer is out goes into the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import structlog

from server.db.changes import SfuIds
from server.errors import ClientError
from server.media.api import Consumer, Producer, Router, WebRtcTransport
from server.rooms.tally import Tally
from server.rtc.capabilities import can_consume
from server.rtc.negotiation import NegotiationError, RecvNegotiation, SendAnswer, SendMedia, SendNegotiation
from server.rtc.parameters import RtpParameters, Source
from server.signaling.messages import ConsumerInfo, SfuOffer, SfuPublishResult

log = structlog.get_logger("peer")

# What the m-lines of the client's send connection carry, in their order.
SOURCES: tuple[Source, ...] = ("microphone", "camera", "screen")
KIND_OF = {"microphone": "audio", "camera": "video", "screen": "video"}


class Offering(NamedTuple):
    """One producer that others may have."""

    participant_id: str
    producer: Producer
    rtp: RtpParameters


class _Leg:
    """One consumer on the receive connection and whose media it carries."""

    def __init__(self, consumer: Consumer, offering: Offering) -> None:
        self.consumer = consumer
        self.producer = offering.producer
        self.participant_id = offering.participant_id
        self.rtp = offering.rtp

    def info(self) -> ConsumerInfo:
        return ConsumerInfo(
            mid=self.consumer.mid,
            consumer_id=self.consumer.id,
            producer_id=self.producer.id,
            participant_id=self.participant_id,
            kind=self.producer.kind,
            source=self.producer.source,
        )


class Peer:
    def __init__(
        self,
        participant_id: str,
        router: Router,
        *,
        publish: bool,
        send_offer: Callable[[str, SfuOffer], None],
        tally: Tally,
    ) -> None:
        self.id = participant_id
        self.producers: dict[Source, Producer] = {}
        self.outstanding: SfuOffer | None = None
        self._used: set[Source] = set()  # has been on
        self._sharing = False  # the screen
        self._router = router
        self._may_publish = publish
        self._send_offer = send_offer
        self._tally = tally  # of what is closed
        self.send: WebRtcTransport = router.create_transport("send")
        self.recv: WebRtcTransport = router.create_transport("recv")
        self._send_negotiation = SendNegotiation(router.rtp_capabilities)
        self._recv_negotiation = RecvNegotiation(router.rtp_capabilities)
        self._offered: dict[Source, SendMedia] = {}
        self._legs: dict[str, _Leg] = {}  # by producer id
        self._refused: set[str] = set()  # producers that the core gave no consumer for
        self._offers = 0
        self._stale = True  # the client's newest offer does not say how it should be
        self.urgent = True  # the client waits for an offer: without it, it is not connected

    # ---- the send connection --------------------------------------------------------------------------

    def publish(self, sdp_untrusted: str) -> SfuPublishResult:
        """Answer the offer of the send connection, for the first time or after an ICE restart."""
        if not self._may_publish:
            raise ClientError("forbidden", "your token has no grant to publish media")
        answer = self._answer(sdp_untrusted)
        offered: dict[Source, SendMedia] = {}
        for media in answer.media:
            if media.index < len(SOURCES):
                source = SOURCES[media.index]
                if media.kind != KIND_OF[source]:
                    raise ClientError(
                        "bad_sdp",
                        f"m-line {media.index} is for the {source}: offer audio, video, video in this order",
                        field="sdp",
                    )
                offered[source] = media
        self.send.connect(answer.dtls)
        self._offered = offered
        return SfuPublishResult(transport_id=self.send.id, sdp=answer.sdp)

    def _answer(self, sdp_untrusted: str) -> SendAnswer:
        negotiation = self._send_negotiation
        try:
            ice = self.send.ice
            if negotiation.restarts_ice_untrusted(sdp_untrusted):
                # Looked at first, so that an offer that is refused changes nothing.
                SendNegotiation(self._router.rtp_capabilities).answer(
                    sdp_untrusted, ice=ice, fingerprint=self.send.fingerprint
                )
                ice = self.send.restart_ice()
            return negotiation.answer(sdp_untrusted, ice=ice, fingerprint=self.send.fingerprint)
        except NegotiationError:
            # Perhaps the client has made its connection anew: an offer that is good for that gets it.
            anew = SendNegotiation(self._router.rtp_capabilities)
            try:
                anew.answer(sdp_untrusted, ice=self.send.ice, fingerprint=self.send.fingerprint)
            except ClientError:
                pass
            else:
                return self._reconnect(sdp_untrusted)
            raise

    def _reconnect(self, sdp_untrusted: str) -> SendAnswer:
        for source in list(self.producers):
            self._retire(source)
        self.send.close()
        self.send = self._router.create_transport("send")
        self._send_negotiation = SendNegotiation(self._router.rtp_capabilities)
        return self._send_negotiation.answer(
            sdp_untrusted, ice=self.send.ice, fingerprint=self.send.fingerprint
        )

    def have_on(self, sources: frozenset[Source]) -> None:
        """These, and no others, are on now."""
        self._used |= sources
        self._sharing = "screen" in sources

    def produce(self, *, on: bool, at_the_ready: bool) -> None:
        """Have producers for what the client offered and is wanted; close the others. `at_the_ready`: also
        for a microphone and a camera that have never been on."""
        wanted: set[Source] = set()
        if on:
            wanted = {source for source in self._offered if self._is_wanted(source, at_the_ready)}
        for source in [source for source in self.producers if source not in wanted]:
            self._retire(source)
        for source in SOURCES:
            if source in wanted and source not in self.producers:
                media = self._offered[source]
                try:
                    producer = self.send.produce(kind=media.kind, source=source, rtp=media.rtp)
                except (ValueError, MemoryError) as error:  # this client stays without this source
                    log.warning("producer_refused", participant=self.id, source=source, error=str(error))
                    del self._offered[source]
                else:
                    self.producers[source] = producer

    def _is_wanted(self, source: Source, at_the_ready: bool) -> bool:
        if source == "screen":
            return self._sharing
        return at_the_ready or source in self._used or source in self.producers

    # ---- the receive connection -----------------------------------------------------------------------

    def offerings(self) -> list[Offering]:
        return [
            Offering(self.id, producer, self._offered[source].rtp)
            for source, producer in self.producers.items()
        ]

    def consume(self, wanted: dict[str, Offering]) -> None:
        """Have consumers for exactly these producers, given by their ids; one's own are left out."""
        for producer_id in [one for one in self._legs if one not in wanted]:
            leg = self._legs.pop(producer_id)
            self._drop(leg)
            self._recv_negotiation.remove(leg.consumer.mid)
            self._stale = True
        self._refused &= wanted.keys()
        for producer_id, offering in wanted.items():
            known = producer_id in self._legs or producer_id in self._refused
            if known or offering.participant_id == self.id:
                continue
            made = self._leg(offering)
            if made is not None:
                self._legs[producer_id] = made
                self._stale = True

    def _leg(self, offering: Offering) -> _Leg | None:
        """None if the core will not have it: this pair stays without, the room goes on."""
        producer = offering.producer
        # Microphone and camera share a stream, so that the browser keeps lips and voice together.
        stream = offering.participant_id + ("-screen" if producer.source == "screen" else "")
        mid = self._recv_negotiation.add(producer.kind, stream_id=stream, track_id=producer.id)
        try:
            consumer = self.recv.consume(producer, mid=mid, paused=True, cname=offering.participant_id)
        except (ValueError, MemoryError) as error:
            log.warning("consumer_refused", participant=self.id, producer=producer.id, error=str(error))
            self._recv_negotiation.remove(mid)
            self._refused.add(producer.id)
            return None
        self._recv_negotiation.set_ssrc(mid, consumer.ssrc, consumer.rtx_ssrc, offering.participant_id)
        return _Leg(consumer, offering)

    @property
    def to_be_offered(self) -> bool:
        """The client has not the receive connection's newest form, and owes no answer."""
        return self._stale and self.outstanding is None

    def offer(self) -> None:
        """Send the receive connection's newest form, unless the client has it or owes an answer."""
        if not self.to_be_offered:
            return
        self.urgent = False
        self._offers += 1
        self._stale = False
        self.outstanding = SfuOffer(
            offer_id=self._offers,
            transport_id=self.recv.id,
            sdp=self._recv_negotiation.offer(ice=self.recv.ice, fingerprint=self.recv.fingerprint),
            consumers=[leg.info() for leg in self._legs.values()],
        )
        self._send_offer(self.id, self.outstanding)

    def answer(self, offer_id: int, sdp_untrusted: str) -> bool:
        """Take the client's answer; one to an older offer is ignored, which False tells."""
        if self.outstanding is None or offer_id != self.outstanding.offer_id:
            return False
        answer = self._recv_negotiation.accept_untrusted(sdp_untrusted)
        self.recv.connect(answer.dtls)
        self.outstanding = None
        for leg in self._legs.values():
            accepted = answer.accepted.get(leg.consumer.mid, set())
            if leg.consumer.paused and can_consume(leg.rtp, self._router.rtp_capabilities, accepted):
                leg.consumer.resume()
        return True

    def restart(self) -> None:
        """A new offer with fresh ICE credentials; it replaces one that is out."""
        self.recv.restart_ice()
        self.outstanding = None
        self._stale = self.urgent = True

    def keyframe(self, consumer_id: str) -> None:
        for leg in self._legs.values():
            if leg.consumer.id == consumer_id:
                leg.producer.request_keyframe()
                return
        raise ClientError("not_found", "no such consumer on your receive connection", field="consumerId")

    # ---- both -----------------------------------------------------------------------------------------

    def ids(self) -> SfuIds:
        def producer_id(source: Source) -> str | None:
            producer = self.producers.get(source)
            return None if producer is None else producer.id

        return SfuIds(
            participant_id=self.id,
            send_transport_id=self.send.id,
            recv_transport_id=self.recv.id,
            audio_producer_id=producer_id("microphone"),
            video_producer_id=producer_id("camera"),
            screen_producer_id=producer_id("screen"),
        )

    def count(self, tally: Tally) -> None:
        """Add what is open."""
        for producer in self.producers.values():
            tally.received.add(producer.stats())
        for leg in self._legs.values():
            tally.sent.add(leg.consumer.stats())

    def _retire(self, source: Source) -> None:
        producer = self.producers.pop(source)
        producer.close()
        self._tally.received.add(producer.stats())

    def _drop(self, leg: _Leg) -> None:
        leg.consumer.close()
        self._tally.sent.add(leg.consumer.stats())

    def close(self) -> None:
        for source in list(self.producers):
            self._retire(source)
        for leg in self._legs.values():
            self._drop(leg)
        self._legs.clear()
        self.send.close()
        self.recv.close()
