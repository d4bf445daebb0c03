"""Calls that an application opens ahead of their people, ends, and takes people out of."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import ClientError
from server.session.opening import Ahead
from server.session.overview import overview
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.session.world import START, World, joiner, p2p_world, sfu_world

ANN = Ahead(wait_s=30, user_id="ann", name="Ann")


def ahead(who: Ahead = ANN, **more: Any) -> World:
    return World(who, **more)


def test_a_link_room_waits_for_its_first_join() -> None:
    world = ahead()
    assert (world.call.status, world.call.participants) == ("INITIATED", [])
    assert world.rows.call["started_at"] is None
    world.advance(29)
    world.join("bob")
    assert (world.call.status, world.call.started_at) == ("ACTIVE", START + 29)
    assert world.call.next_timeout(world.now) is None
    world.call.leave(world.id("bob"), world.now)
    world.run()
    world.advance(11)
    assert (world.rows.call["status"], world.rows.call["reason"]) == ("ENDED", "empty")


def test_nobody_comes() -> None:
    world = ahead()
    assert world.call.next_timeout(world.now) == (START + 30, "wait")
    world.advance(31)
    assert (world.rows.call["status"], world.rows.call["reason"]) == ("MISSED", "ring_timeout")
    assert world.call.next_timeout(world.now) is None


def test_the_initiator_is_the_host_whoever_comes_first() -> None:
    world = ahead()
    world.join("bob")
    world.join("ann")
    roles = {one.name: one.role for one in world.call.participants}
    assert roles == {"bob": "participant", "ann": "host"}
    world = ahead(Ahead(wait_s=30))
    world.join("bob")
    assert [one.role for one in world.call.participants] == ["host"]


def test_it_rings_until_two_are_there() -> None:
    world = ahead(invite=["bob", "cid"])
    assert [(user, method) for user, method, _ in world.user_news] == [
        ("bob", "call.incoming"), ("cid", "call.incoming"),
    ]  # fmt: skip
    rung = world.user_news[0][2]
    assert isinstance(rung, m.Incoming)
    assert (rung.from_name, rung.from_user_id, rung.expires_at) == ("Ann", "ann", (START + 30) * 1000)
    world.join("bob")
    assert (world.call.status, world.call.rung) == ("INITIATED", ["cid"])
    world.join("ann")
    assert (world.call.status, world.call.started_at) == ("ACTIVE", START)
    world.advance(31)
    assert world.call.status == "ACTIVE"


def test_who_answers_and_stays_alone_is_not_kept_for_ever() -> None:
    world = ahead(invite=["bob"])
    world.join("bob")
    client = world.client("bob")
    world.advance(31)
    assert client.last("call.ended") == m.CallOver("call", "ring_timeout", "MISSED")
    assert world.dismissed == ["s-bob"]


def test_who_leaves_before_the_others_come_does_not_end_it() -> None:
    world = ahead(invite=["bob", "cid"])
    world.call.leave(world.join("bob"), world.now)
    world.run()
    assert world.call.status == "INITIATED"
    world.join("cid")
    world.join("ann")
    assert world.call.status == "ACTIVE"


def test_all_decline() -> None:
    world = ahead(invite=["bob"])
    world.call.reject("bob", "s-bob", world.now)
    world.run()
    assert (world.rows.call["status"], world.rows.call["reason"]) == ("REJECTED", "rejected")


@pytest.mark.parametrize(("policy", "mode"), [("sfu", "sfu"), ("p2p", "p2p"), ("auto", "p2p")])
def test_its_own_policy(policy: Any, mode: str) -> None:
    world = ahead(policy=policy, settings=CallSettings(policy="sfu" if policy != "sfu" else "auto"))
    assert (world.call.mode, world.call.policy) == (mode, policy)
    world.join("ann")
    assert world.call.snapshot(world.id("ann")).policy == policy
    assert world.forwarding == (mode == "sfu")


def test_an_application_ends_it_with_its_own_word() -> None:
    world = sfu_world()
    clients = list(world.clients.values())
    world.call.close(world.now, ended_by=None, reason="time_is_up")
    world.run()
    assert {client.last("call.ended").reason for client in clients} == {"time_is_up"}
    assert (world.rows.call["status"], world.rows.call["reason"]) == ("ENDED", "time_is_up")
    world.call.close(world.now, ended_by=None, reason="again")
    assert world.call.effects() == []


def test_it_is_taken_back_while_it_rings() -> None:
    world = ahead(invite=["bob"])
    world.call.close(world.now, ended_by="ann")
    world.run()
    assert (world.rows.call["status"], world.rows.call["reason"]) == ("MISSED", "cancelled")
    assert world.user_news[-1][:2] == ("bob", "call.cancelled")


def test_somebody_is_taken_out() -> None:
    world = p2p_world()
    ann, bob = world.client("ann"), world.id("bob")
    world.call.expel(bob, world.now)
    world.run()
    assert world.session_news == [("s-bob", "call.ended", m.CallOver("call", "removed", "ACTIVE"))]
    assert world.dismissed == ["s-bob"]
    assert ann.last("participant.left") == m.ParticipantGone(bob, "removed")
    assert world.rows.people[bob]["reason"] == "removed"
    with pytest.raises(ClientError, match="not in this call"):
        world.call.expel(bob, world.now)
    assert world.join("bob") == bob  # may come again, by the same right as before


def test_the_overview_is_what_there_is() -> None:
    world = ahead(invite=["bob", "cid"], policy="sfu")
    world.join("bob")
    seen = overview(world.call)
    assert (seen.initiator_id, seen.opened_at, seen.started_at) == ("ann", START, None)
    assert (seen.mode, seen.policy, seen.epoch, seen.ringing) == ("sfu", "sfu", 0, ["cid"])
    assert [one.user_id for one in seen.participants] == ["bob"]
    assert overview(World(joiner("ann")).call).started_at == START
