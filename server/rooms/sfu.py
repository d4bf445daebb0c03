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
from server.rooms.peer import Offering, Peer
from server.rooms.tally import Tally
from server.rtc.parameters import Direction, Source
from server.signaling.messages import SfuOffer


class Sfu:
    """Who has changed is looked at by `reconcile`, the others only when there is something else to have: in a
    room of a thousand most are listeners, whom a join leaves as they are."""

    def __init__(self, router: Router, *, small: int, send_offer: Callable[[str, SfuOffer], None]) -> None:
        """In a call of up to `small` people all have media at the ready: unmuting needs no offer."""
        self.router = router
        self._small = small
        self.forwarding = False
        self._send_offer = send_offer
        self._peers: dict[str, Peer] = {}
        self._known_ids: dict[str, SfuIds] = {}
        self._owners: dict[str, str] = {}  # of transports
        self._changed: dict[str, None] = {}  # peers, since the last reconcile
        self._wanted: dict[str, Offering] = {}  # what there is to have, by producer id
        self._given: dict[str, dict[str, Offering]] = {}  # the same by its peer
        self._moved = False  # what there is to have has changed since the last reconcile
        self._unoffered: dict[str, None] = {}  # peers whose newest offer waits to be made
        self._closed = Tally()  # what those counted that are closed

    def open(self, participant_id: str, *, publish: bool, on: frozenset[Source]) -> None:
        self._peers[participant_id] = Peer(
            participant_id, self.router, publish=publish, send_offer=self._send_offer, tally=self._closed
        )
        self.sources(participant_id, on)

    def close(self, participant_id: str) -> None:
        peer = self._peers.pop(participant_id, None)
        if peer is None:
            return
        self._take_over(participant_id, {})
        self._disown(self._known_ids.pop(participant_id, None))
        peer.close()

    def forward(self, on: bool) -> None:
        if on and self.forwarding:
            for one in self._wanted.values():
                if one.producer.kind == "video":
                    one.producer.request_keyframe()
        if self.forwarding != on:
            self._changed |= dict.fromkeys(self._peers)
        self.forwarding = on

    def sources(self, participant_id: str, on: frozenset[Source]) -> None:
        """Which of its sources are on."""
        peer = self._peers.get(participant_id)
        if peer is not None:
            peer.have_on(on)
            self._changed[participant_id] = None

    def peer(self, participant_id: str) -> Peer:
        """One participant's connections, to negotiate or change them. ClientError `not_in_call`."""
        peer = self._peers.get(participant_id)
        if peer is None:
            raise ClientError("not_in_call", "you are not in this call: join it first")
        self._changed[participant_id] = None
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
        """Make it so. Returns the ids of those participants whose ids are new or changed.

        Offers are made to those who wait for one to be connected; the others' wait for `offer`.
        """
        changed = [self._peers[one] for one in self._changed if one in self._peers]
        self._changed.clear()
        for peer in changed:
            peer.produce(on=self.forwarding, at_the_ready=len(self._peers) <= self._small)
            self._take_over(peer.id, {one.producer.id: one for one in peer.offerings()})
        looked_at = list(self._peers.values()) if self._moved else changed
        self._moved = False
        for peer in looked_at:
            peer.consume(self._wanted)
            if peer.urgent:
                peer.offer()
            elif peer.to_be_offered:
                self._unoffered[peer.id] = None
        fresh: list[SfuIds] = []
        for peer in changed:
            ids = peer.ids()
            before = self._known_ids.get(peer.id)
            if before != ids:
                self._disown(before)
                self._owners |= {peer.send.id: peer.id, peer.recv.id: peer.id}
                self._known_ids[peer.id] = ids
                fresh.append(ids)
        return fresh

    @property
    def offers_wait(self) -> bool:
        return bool(self._unoffered)

    def offer(self, most: int) -> None:
        """Make the offers that wait, so many at most."""
        for participant_id in list(self._unoffered)[:most]:
            del self._unoffered[participant_id]
            peer = self._peers.get(participant_id)
            if peer is not None:
                peer.offer()

    def owner_of(self, transport: WebRtcTransport) -> tuple[str, Direction] | None:
        """Whose connection this is; None for one that was replaced or closed."""
        owner = self._owners.get(transport.id)
        return None if owner is None else (owner, transport.direction)

    def speaker_of(self, producer: Producer) -> str | None:
        offering = self._wanted.get(producer.id)
        return None if offering is None else offering.participant_id

    def _take_over(self, participant_id: str, given: dict[str, Offering]) -> None:
        """What there is to have of this one, from now on."""
        before = self._given.pop(participant_id, {})
        if given:
            self._given[participant_id] = given
        if before.keys() == given.keys():
            return
        for producer_id in before.keys() - given.keys():
            del self._wanted[producer_id]
        self._wanted |= {one: offering for one, offering in given.items() if one not in before}
        self._moved = True

    def _disown(self, ids: SfuIds | None) -> None:
        if ids is not None:
            self._owners.pop(ids.send_transport_id or "", None)
            self._owners.pop(ids.recv_transport_id or "", None)
