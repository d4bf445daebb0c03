"""The switch: epochs from prepare to release, and everything that gets in between."""

from __future__ import annotations

import pytest

from server.db.changes import SfuIds
from server.signaling import messages as m
from tests.session.world import World, p2p_world, sfu_world


def swapped(world: World, receiver: str, sender: str, epoch: int) -> None:
    world.call.swapped(world.id(receiver), m.EpochSwapped(epoch, world.id(sender)), world.now)
    world.run()


def test_the_second_participant_starts_the_first_epoch_which_is_no_switch() -> None:
    world = World()
    assert world.pending is None
    world.join("bob")
    prepare = world.pending
    assert prepare is not None
    assert (prepare.epoch, prepare.from_mode, prepare.to_mode) == (1, None, "p2p")
    assert prepare.offerer == world.id("ann")
    assert prepare.timeout_ms == 6000
    swapped(world, "ann", "bob", 1)
    assert world.pending is not None
    swapped(world, "bob", "ann", 1)
    assert world.pending is None
    commit = world.client("bob").last("epoch.commit")
    assert (commit.epoch, commit.mode, commit.stragglers) == (1, "p2p", [])
    world.advance(60)
    assert "epoch.release" not in world.client("ann").methods()
    assert world.rows.transitions == []
    assert not world.forwarding


def test_the_third_brings_the_sfu() -> None:
    world = p2p_world()
    world.join("cid")
    prepare = world.pending
    assert prepare is not None
    assert (prepare.epoch, prepare.from_mode, prepare.to_mode) == (2, "p2p", "sfu")
    assert prepare.reason == "participant_joined"
    assert sorted(prepare.participants) == sorted(world.clients)
    assert world.forwarding
    assert world.rows.call["mode"] == "p2p"  # until the commit
    assert world.rows.call["sfu_room"] is None
    world.advance(0.8)
    world.swap_all()
    commit = world.client("ann").last("epoch.commit")
    assert (commit.mode, commit.duration_ms, commit.linger_ms) == ("sfu", 800, 3000)
    assert world.rows.call["sfu_room"] == "router"
    assert all(row["sfu"] is not None for row in world.rows.people.values())
    assert world.rows.transitions[0]["duration"] == pytest.approx(0.8)
    recorded = world.client("ann").last("switch.recorded")
    assert (recorded.from_mode, recorded.to_mode, recorded.max_video_gap_ms) == ("p2p", "sfu", None)
    assert "epoch.release" not in world.client("ann").methods()
    world.advance(3)
    assert world.client("ann").last("epoch.release") == m.EpochEnd(2, "sfu", "participant_joined")
    assert world.forwarding


def test_back_to_p2p_after_two_were_alone_for_a_while() -> None:
    world = sfu_world()
    world.call.leave(world.id("cid"), world.now)
    world.run()
    world.advance(4.9)
    assert world.pending is None
    world.advance(0.2)
    prepare = world.pending
    assert prepare is not None
    assert (prepare.from_mode, prepare.to_mode, prepare.reason) == ("sfu", "p2p", "participant_left")
    world.swap_all()
    assert world.rows.call["mode"] == "p2p"
    assert world.rows.call["sfu_room"] is None
    assert all(row["sfu"] is None for row in world.rows.people.values())
    assert world.rows.call["changes"] == 2
    assert world.forwarding  # until the release
    world.advance(3)
    assert not world.forwarding
    assert world.client("ann").last("epoch.release").mode == "p2p"


def test_each_return_takes_twice_as_long() -> None:
    world = sfu_world()
    waits = []
    for n in range(6):
        world.call.leave(world.id("cid"), world.now)
        world.run()
        before = world.now
        while world.pending is None:
            world.advance(0.5)
            assert world.now - before < 70
        waits.append(round(world.now - before))
        world.swap_all()
        world.advance(4)
        world.join("cid", session=f"c{n}")
        world.swap_all()
        world.advance(4)
    assert waits == [5, 10, 20, 40, 60, 60]


def test_one_alone_on_the_sfu_stays_there_until_a_second_has_stayed() -> None:
    world = sfu_world()
    for name in ("bob", "cid"):
        world.call.leave(world.id(name), world.now)
    world.run()
    world.advance(100)
    assert world.call.mode == "sfu"
    world.join("bob")
    assert world.pending is None
    world.advance(5)
    assert world.pending is not None
    assert world.pending.to_mode == "p2p"


def test_time_is_up_on_the_way_to_the_sfu() -> None:
    world = p2p_world()
    world.join("cid")
    for receiver, sender in [("ann", "bob"), ("cid", "ann"), ("cid", "bob"), ("ann", "cid")]:
        swapped(world, receiver, sender, 2)
    world.advance(8)
    commit = world.client("ann").last("epoch.commit")
    # Bob ← Cid never had an old path, so it does not keep that up.
    assert commit.stragglers == [m.Pair(world.id("bob"), world.id("ann"))]
    assert commit.duration_ms == 8000
    world.advance(20)
    assert "epoch.release" not in world.client("ann").methods()
    swapped(world, "bob", "ann", 2)
    assert world.client("ann").methods()[-1] == "epoch.release"


def test_a_straggler_that_leaves_is_none() -> None:
    world = p2p_world()
    world.join("cid")
    world.advance(8)
    assert len(world.client("ann").last("epoch.commit").stragglers) == 2
    world.advance(10)
    world.call.leave(world.id("bob"), world.now)
    world.run()
    assert world.client("ann").methods()[-1] == "epoch.release"


def test_a_return_ends_the_last_switch_first() -> None:
    world = p2p_world()
    world.join("cid")
    world.advance(8)  # ann and bob are stragglers
    world.call.leave(world.id("cid"), world.now)
    world.run()
    world.advance(5)
    assert world.client("ann").methods()[-2:] == ["epoch.release", "epoch.prepare"]


def test_the_third_comes_again_before_the_sfu_is_put_to_standby() -> None:
    world = sfu_world()
    world.call.leave(world.id("cid"), world.now)
    world.run()
    world.advance(5)
    world.swap_all()
    assert world.call.mode == "p2p"
    world.advance(1)
    world.join("cid")
    assert world.pending is not None
    assert world.pending.to_mode == "sfu"
    world.advance(2.5)  # past the moment of the release that was due
    assert world.forwarding
    world.swap_all()
    world.advance(4)
    assert world.forwarding
    assert world.call.mode == "sfu"


def test_the_third_comes_while_the_call_goes_back_to_p2p() -> None:
    world = sfu_world()
    world.call.leave(world.id("cid"), world.now)
    world.run()
    world.advance(5)
    swapped(world, "ann", "bob", 3)
    world.join("cid")
    assert world.client("ann").last("epoch.abort") == m.EpochEnd(3, "sfu", "participant_joined")
    assert world.pending is None
    assert world.call.mode == "sfu"
    assert world.forwarding
    assert world.rows.call["changes"] == 1


@pytest.mark.parametrize("plays", [False, True])
def test_the_third_comes_while_the_first_path_is_made(plays: bool) -> None:
    world = World()
    world.join("bob")
    if plays:
        swapped(world, "ann", "bob", 1)
    world.join("cid")
    # What plays already is not taken away before the SFU can take over.
    assert world.client("ann").methods()[-3:-1] == (
        ["participant.joined", "epoch.commit"] if plays else ["participant.joined", "epoch.abort"]
    )
    prepare = world.pending
    assert prepare is not None
    assert (prepare.epoch, prepare.from_mode, prepare.to_mode) == (2, "p2p", "sfu")
    world.swap_all()
    assert world.call.mode == "sfu"


def test_a_newcomer_in_mid_epoch_joins_it_and_holds_nothing_up() -> None:
    world = p2p_world()
    world.join("cid")
    world.join("dan")
    assert world.client("dan").pending is not None
    assert world.client("dan").pending.epoch == 2
    for one in ("ann", "bob", "cid"):
        for other in ("ann", "bob", "cid"):
            if one != other:
                swapped(world, one, other, 2)
    assert world.call.mode == "sfu"
    assert world.client("dan").mode == "sfu"
    assert world.rows.people[world.id("dan")]["sfu"] is not None


def test_one_who_leaves_in_mid_epoch_holds_nothing_up() -> None:
    world = p2p_world()
    world.join("cid")
    swapped(world, "ann", "bob", 2)
    swapped(world, "bob", "ann", 2)
    assert world.call.mode == "p2p"
    world.call.leave(world.id("cid"), world.now)
    world.run()
    assert world.call.mode == "sfu"


def test_one_of_two_leaves_while_p2p_is_made() -> None:
    world = World()
    world.join("bob")
    world.call.leave(world.id("bob"), world.now)
    world.run()
    assert world.client("ann").last("epoch.abort").reason == "participant_left"
    world.join("bob")
    assert world.pending is not None
    assert world.pending.epoch == 2


def test_the_reconnecting_hold_no_commit_but_keep_their_old_path() -> None:
    world = p2p_world()
    world.call.detach(world.id("bob"), world.now)
    world.run()
    world.join("cid")
    swapped(world, "ann", "cid", 2)
    swapped(world, "cid", "ann", 2)
    assert world.call.mode == "sfu"
    stragglers = world.client("ann").last("epoch.commit").stragglers
    assert {(one.receiver, one.sender) for one in stragglers} == {
        (world.id("ann"), world.id("bob")), (world.id("bob"), world.id("ann")),
    }  # fmt: skip
    world.advance(10)
    world.call.attach(world.id("bob"), world.now)
    world.run()
    for receiver, sender in [("bob", "ann"), ("ann", "bob")]:
        swapped(world, receiver, sender, 2)
    assert world.client("ann").methods()[-1] == "epoch.release"


def test_p2p_is_not_made_with_somebody_whose_connection_is_cut() -> None:
    world = World()
    world.join("bob")
    world.call.detach(world.id("bob"), world.now)
    world.run()
    world.advance(6)
    assert world.client("ann").last("epoch.abort").reason == "timeout"
    world.advance(10)
    assert world.pending is None
    world.call.attach(world.id("bob"), world.now)
    world.run()
    assert world.pending is not None
    assert (world.pending.epoch, world.pending.to_mode) == (2, "p2p")


def test_gaps_are_stored_as_the_largest() -> None:
    world = p2p_world()
    world.join("cid")
    ann, bob, cid = world.id("ann"), world.id("bob"), world.id("cid")

    def measured(receiver: str, sender: str, video: float | None, audio: float | None) -> None:
        said = m.EpochMeasured(2, sender, video, audio)
        world.call.measured(receiver, said, world.now)
        world.run()

    measured(ann, bob, 100, 10)  # before the commit
    assert world.rows.transitions == []
    world.swap_all()
    assert (world.rows.transitions[0]["video"], world.rows.transitions[0]["audio"]) == (100, 10)
    measured(bob, ann, 134, None)
    measured(bob, ann, 90, 40)
    assert (world.rows.transitions[0]["video"], world.rows.transitions[0]["audio"]) == (134, 40)
    assert world.client("ann").last("switch.recorded").max_audio_gap_ms == 40
    measured(cid, ann, 9000, 9000)  # had no old path: that was a start, no gap
    measured(ann, ann, 9000, 9000)
    assert world.rows.transitions[0]["video"] == 134


def test_a_transport_that_breaks_before_the_commit_takes_its_pairs_back() -> None:
    world = p2p_world()
    world.join("cid")
    swapped(world, "ann", "bob", 2)
    world.call.transport_state(world.id("ann"), "recv", m.TransportChanged("recv", "failed"), world.now)
    world.run()
    for receiver, sender in [("bob", "ann"), ("bob", "cid"), ("cid", "ann"), ("cid", "bob"), ("ann", "cid")]:
        swapped(world, receiver, sender, 2)
    assert world.call.mode == "p2p"
    swapped(world, "ann", "bob", 2)
    assert world.call.mode == "sfu"


def test_swaps_that_make_no_sense_change_nothing() -> None:
    world = p2p_world()
    world.join("cid")
    ann = world.id("ann")
    for epoch, sender in [(1, world.id("bob")), (3, world.id("bob")), (2, ann), (2, "nobody")]:
        world.call.swapped(ann, m.EpochSwapped(epoch, sender), world.now)
        assert world.call.effects() == []


def test_ids_that_change_in_sfu_mode_are_facts() -> None:
    world = p2p_world()
    ann = world.id("ann")
    fresh = SfuIds(participant_id=ann, send_transport_id="s", recv_transport_id="r", screen_producer_id="x")
    world.call.sfu_ids(fresh, world.now)
    assert world.call.effects() == []  # not in P2P
    world.join("cid")
    world.swap_all()
    assert world.rows.people[ann]["sfu"] == fresh
    changed = SfuIds(participant_id=ann, send_transport_id="s", recv_transport_id="r")
    world.call.sfu_ids(changed, world.now)
    world.run()
    assert world.rows.people[ann]["sfu"] == changed


def test_a_snapshot_tells_the_epoch_under_way() -> None:
    world = p2p_world()
    world.join("cid")
    ann = world.id("ann")
    assert world.call.snapshot(ann).pending_epoch is None
    state = world.call.snapshot(ann, pending=True)
    assert state.pending_epoch == world.pending
    assert (state.epoch, state.mode) == (1, "p2p")


def test_everybody_leaves_in_mid_epoch() -> None:
    world = p2p_world()
    world.join("cid")
    for pid in list(world.clients):
        world.call.leave(pid, world.now)
    world.run()
    world.advance(11)
    assert world.call.over
    assert world.rows.present == set()
