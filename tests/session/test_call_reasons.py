"""Why a call leaves P2P, and what keeps it from going back: failures, quality, requests, policies."""

from __future__ import annotations

import pytest

from server.errors import ClientError
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.session.world import World, p2p_world, sfu_world


def p2p_failed(world: World, reporter: str, other: str, epoch: int) -> None:
    world.call.p2p_failed(world.id(reporter), m.P2pFailed(world.id(other), epoch), world.now)
    world.run()


def test_p2p_that_fails_at_once_goes_to_the_sfu_for_good() -> None:
    world = World()
    world.join("bob")
    p2p_failed(world, "bob", "ann", 1)
    assert world.client("ann").last("epoch.abort") == m.EpochEnd(1, "p2p", "p2p_failed")
    prepare = world.pending
    assert prepare is not None
    assert (prepare.from_mode, prepare.to_mode, prepare.reason) == ("p2p", "sfu", "p2p_failed")
    p2p_failed(world, "ann", "bob", 1)  # the other side says so too
    world.swap_all()
    world.advance(300)
    assert world.call.mode == "sfu"
    assert world.pending is None
    world.call.end(world.id("ann"), world.now)
    world.run()
    assert world.rows.metrics is not None
    assert world.rows.metrics.ice_failures == 1


def test_p2p_that_shows_nothing_in_time_has_failed() -> None:
    world = World()
    world.join("bob")
    world.advance(6)
    assert world.pending is not None
    assert (world.pending.to_mode, world.pending.reason) == ("sfu", "p2p_failed")


def test_p2p_that_fails_later_goes_to_the_sfu() -> None:
    world = p2p_world()
    world.advance(100)
    p2p_failed(world, "ann", "bob", 1)
    assert world.pending is not None
    assert (world.pending.from_mode, world.pending.reason) == ("p2p", "p2p_failed")


def test_the_return_that_fails_is_the_last() -> None:
    world = sfu_world()
    world.call.leave(world.id("cid"), world.now)
    world.run()
    world.advance(5)
    p2p_failed(world, "ann", "bob", 3)
    assert world.client("ann").last("epoch.abort") == m.EpochEnd(3, "sfu", "p2p_failed")
    assert world.forwarding
    world.advance(500)
    assert world.pending is None
    assert world.call.mode == "sfu"


def test_a_failure_with_one_who_vanished_is_no_failure_of_p2p() -> None:
    world = p2p_world()
    world.call.detach(world.id("bob"), world.now)
    world.run()
    p2p_failed(world, "ann", "bob", 1)
    assert world.pending is None
    world.advance(30)
    assert len(world.clients) == 1
    world.join("bob", session="new")
    assert world.pending is not None
    assert world.pending.to_mode == "p2p"


def test_a_failure_with_one_who_comes_back_is_one() -> None:
    world = p2p_world()
    world.call.detach(world.id("bob"), world.now)
    world.run()
    p2p_failed(world, "ann", "bob", 1)
    world.call.attach(world.id("bob"), world.now)
    world.run()
    assert world.pending is not None
    assert (world.pending.to_mode, world.pending.reason) == ("sfu", "p2p_failed")


@pytest.mark.parametrize("epoch", [0, 2, 99])
def test_failures_of_other_epochs_change_nothing(epoch: int) -> None:
    world = p2p_world()
    p2p_failed(world, "ann", "bob", epoch)
    assert world.pending is None
    world.call.p2p_failed(world.id("ann"), m.P2pFailed("somebody", 1), world.now)
    assert world.call.effects() == []


def test_bad_quality_three_times_in_a_row() -> None:
    world = p2p_world()
    bad, good = m.ClientStats(packet_loss=0.09, path="p2p"), m.ClientStats(packet_loss=0.01, path="p2p")
    slow = m.ClientStats(rtt_ms=900)
    for stats in (bad, bad, good, bad, slow):
        world.call.stats(world.id("ann"), stats, world.now)
        world.run()
    assert world.pending is None
    world.call.stats(world.id("ann"), bad, world.now)
    world.run()
    assert world.pending is not None
    assert world.pending.reason == "poor_quality"
    world.swap_all()
    world.advance(59)
    assert world.pending is None
    world.advance(2)
    assert world.pending is not None  # it may be better by now


def test_a_mode_on_request() -> None:
    world = p2p_world()
    world.call.request_mode("sfu", world.now)
    world.run()
    assert world.pending is not None
    assert world.pending.reason == "requested"
    world.swap_all()
    world.advance(300)
    assert world.call.mode == "sfu"
    world.call.request_mode("p2p", world.now)
    world.run()
    assert world.pending is not None
    assert (world.pending.to_mode, world.pending.reason) == ("p2p", "requested")
    world.swap_all()
    assert world.call.mode == "p2p"


def test_requests_that_cannot_be() -> None:
    world = sfu_world()
    with pytest.raises(ClientError, match="two participants"):
        world.call.request_mode("p2p", world.now)
    fixed = p2p_world(settings=CallSettings(policy="p2p"))
    with pytest.raises(ClientError, match="policy"):
        fixed.call.request_mode("sfu", fixed.now)
    failed = World()
    failed.join("bob")
    p2p_failed(failed, "ann", "bob", 1)
    with pytest.raises(ClientError, match="failed"):
        failed.call.request_mode("p2p", failed.now)


def test_a_feature_needs_the_media() -> None:
    world = p2p_world()
    world.call.want_feature(True, world.now)
    world.run()
    assert world.pending is not None
    assert world.pending.reason == "feature"
    world.swap_all()
    world.advance(100)
    assert world.call.mode == "sfu"
    world.call.want_feature(False, world.now)
    world.run()
    assert world.pending is not None
    assert world.pending.to_mode == "p2p"


def test_policy_sfu_never_switches() -> None:
    world = World(settings=CallSettings(policy="sfu"))
    assert world.forwarding
    assert world.rows.call["mode"] == "sfu"
    assert world.rows.call["sfu_room"] == "router"
    assert world.rows.people[world.id("ann")]["sfu"] is not None
    world.join("bob")
    world.advance(300)
    assert world.client("ann").methods() == ["participant.joined"]
    assert world.rows.people[world.id("bob")]["sfu"] is not None


def test_policy_p2p_tries_again() -> None:
    world = p2p_world(settings=CallSettings(policy="p2p"))
    p2p_failed(world, "ann", "bob", 1)
    assert world.pending is None
    world.advance(2)
    assert world.pending is not None
    assert (world.pending.from_mode, world.pending.to_mode) == (None, "p2p")
    world.advance(6)
    assert world.client("ann").last("epoch.abort").reason == "p2p_failed"
    world.advance(2)
    assert world.pending is not None
    assert not world.forwarding
