"""Whole rooms around the bare loop on loopback: clean when all is well, and every kind of wrong is seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.load import namespace, rooms
from bench.load.plan import audio, video
from bench.load.rooms import Room, bare_rooms
from bench.native.traffic import Traffic
from bench.report import faults
from rtp_core.srtp import Profile, SrtpPair

TRIO = Room(3, (audio(), video(300_000)))


@pytest.fixture(autouse=True)
def _on_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(namespace, "SERVER", "127.0.0.1")
    monkeypatch.setattr(namespace, "WITNESS", "127.0.0.1")
    return


@pytest.mark.parametrize("gso", [True, False])
def test_rooms_are_clean_and_count_right(gso: bool) -> None:
    plan = [TRIO, Room(1, (audio(),), listeners=2)]
    with bare_rooms(plan, gso=gso, stamps=True) as (traffic, loop):
        found = traffic.run(0.4)
        latencies = traffic.latencies()
    assert faults(found) == {}
    assert found["streams"] == sum(room.consumers for room in plan) == 14
    assert found["packets"] == found["received"] == loop.forwarded
    assert found["sent"] == pytest.approx(7 * 0.4 * 50, rel=0.6)  # frames of both kinds and their packets
    assert len(latencies) == found["packets"]
    assert 0 < latencies[0] <= latencies[-1] < 5e9


def test_loss_is_seen_as_loss() -> None:
    with bare_rooms([TRIO], gso=True) as (traffic, _):
        found = traffic.run(0.4, loss=0.2)
        assert found["dropped"] > 0
        assert found["missing"] + found["head"] + found["tail"] == found["dropped"]
        up = traffic.run(0.4, loss_up=0.2)
        assert up["lost_up"] > 0
        # Each lost packet is missing with both others.
        assert up["missing"] + up["head"] + up["tail"] == 2 * up["lost_up"]
        assert faults(traffic.run(0.2)) == {}


def test_a_wrong_key_is_seen_as_forgery(monkeypatch: pytest.MonkeyPatch) -> None:
    place = rooms._bare_place

    def wrong(one, pair, sent, heard):  # type: ignore[no-untyped-def]
        key = bytes(28)
        return place(one, SrtpPair(Profile.AEAD_AES_128_GCM, key, key) if heard else pair, sent, heard)

    monkeypatch.setattr(rooms, "_bare_place", wrong)
    with bare_rooms([TRIO], gso=True) as (traffic, _):
        found = traffic.run(0.2)
    assert found["forged"] > 0
    assert found["silent"] == TRIO.consumers


def test_another_rooms_media_is_seen_as_strange(monkeypatch: pytest.MonkeyPatch) -> None:
    def exchanged(places, **how):  # type: ignore[no-untyped-def]
        # As if a server had mixed up two rooms: who listens in the first expects the second's stream.
        swapped = [
            one._replace(receiving=[got._replace(tag=1 - got.tag) for got in one.receiving]) for one in places
        ]
        return Traffic(swapped, **how)

    monkeypatch.setattr(rooms, "Traffic", exchanged)
    with bare_rooms([Room(1, (audio(),), listeners=1)] * 2, gso=True) as (traffic, _):
        found = traffic.run(0.2)
    assert found["strange"] == found["received"] > 0
    assert found["silent"] == 2


@pytest.mark.parametrize("payload", [10, 1300])
def test_streams_that_cannot_be_sent_are_refused(payload: int) -> None:
    room = Room(1, (video(300_000)._replace(payload=payload),), listeners=1)
    with pytest.raises(ValueError, match="no stream that can be sent"), bare_rooms([room], gso=True):
        pass
