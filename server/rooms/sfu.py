"""A room's media: everybody's connections, and who is forwarded to whom.

Changes only mark what is wanted; `reconcile` then makes producers, consumers and offers agree with it, once
for a whole batch of changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.db.changes import SfuIds
from server.errors import ClientError
from server.media.api import Producer, Router, WebRtcTransport
from server.rooms.peer import Peer
from server.rooms.tally import Tally
from server.rtc.parameters import Direction
from server.signaling.messages import SfuOffer


class Sfu:
    def __init__(self, router: Router, *, send_offer: Callable[[str, SfuOffer], None]) -> None:
        self.router = router
        self.forwarding = False
        self._send_offer = send_offer
        self._peers: dict[str, Peer] = {}
        self._known_ids: dict[str, SfuIds] = {}
        self._changed = False  # since the last reconcile
        self._closed = Tally()  # what those counted that are closed

    def open(self, participant_id: str, *, publish: bool) -> None:
        self._changed = True
        self._peers[participant_id] = Peer(
            participant_id, self.router, publish=publish, send_offer=self._send_offer, tally=self._closed
        )

    def close(self, participant_id: str) -> None:
        self._changed = True
        peer = self._peers.pop(participant_id, None)
        self._known_ids.pop(participant_id, None)
        if peer is not None:
            peer.close()

    def forward(self, on: bool) -> None:
        if on and self.forwarding:
            for peer in self._peers.values():
                for producer in peer.producers.values():
                    if producer.kind == "video":
                        producer.request_keyframe()
        self._changed |= self.forwarding != on
        self.forwarding = on

    def share_screen(self, participant_id: str, on: bool) -> None:
        peer = self._peers.get(participant_id)
        if peer is not None:
            peer.sharing = on
            self._changed = True

    def peer(self, participant_id: str) -> Peer:
        """One participant's connections, to negotiate or change them. ClientError `not_in_call`."""
        self._changed = True
        peer = self._peers.get(participant_id)
        if peer is None:
            raise ClientError("not_in_call", "you are not in this call: join it first")
        return peer

    def outstanding_offer(self, participant_id: str) -> SfuOffer | None:
        peer = self._peers.get(participant_id)
        return None if peer is None else peer.outstanding

    def figures(self) -> dict[str, Any] | None:
        """What the media server counted in this call so far (`server.rooms.tally`)."""
        tally = self._closed.copy()
        for peer in self._peers.values():
            peer.count(tally)
        return tally.figures()

    def reconcile(self) -> list[SfuIds]:
        """Make it so. Returns the ids of those participants whose ids are new or changed."""
        if not self._changed:
            return []
        self._changed = False
        for peer in self._peers.values():
            peer.produce(on=self.forwarding)
        wanted = {one.producer.id: one for peer in self._peers.values() for one in peer.offerings()}
        fresh: list[SfuIds] = []
        for peer in self._peers.values():
            peer.consume(wanted)
            peer.offer()
            ids = peer.ids()
            if self._known_ids.get(peer.id) != ids:
                self._known_ids[peer.id] = ids
                fresh.append(ids)
        return fresh

    def owner_of(self, transport: WebRtcTransport) -> tuple[str, Direction] | None:
        """Whose connection this is; None for one that was replaced or closed."""
        for peer in self._peers.values():
            if transport.id in (peer.send.id, peer.recv.id):
                return peer.id, transport.direction
        return None

    def speaker_of(self, producer: Producer) -> str | None:
        for peer in self._peers.values():
            if any(own.id == producer.id for own in peer.producers.values()):
                return peer.id
        return None
