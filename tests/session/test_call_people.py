"""Joining, leaving, coming back, ringing and the end of a call."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import ClientError
from server.session.lifecycle import Event
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.session.world import START, World, joiner, p2p_world


def refused(code: str, call: Any, *args: Any, **more: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        call(*args, **more)
    assert caught.value.code == code
    return caught.value


def test_a_link_room_is_active_from_its_first_join() -> None:
    world = World()
    assert world.call.status == "ACTIVE"
    assert world.rows.call["started_at"] == START
    assert world.rows.people[world.id("ann")]["user"] == "ann"
    assert [one.role for one in world.call.snapshot(world.id("ann")).participants] == ["host"]
    world.join("bob")
    assert world.client("ann").others[world.id("bob")].role == "participant"


def test_a_guest_has_an_anonymous_id() -> None:
    world = World(joiner("g", user_id=None, anonymous_id="anon"))
    assert world.rows.users == set()
    assert world.rows.people[world.id("g")]["user"] == "anon"


def test_the_last_to_leave_ends_the_call_after_the_grace() -> None:
    world = p2p_world()
    ann, bob = world.id("ann"), world.id("bob")
    world.call.leave(bob, world.now)
    world.run()
    assert world.client("ann").last("participant.left") == m.ParticipantGone(bob, "left")
    assert "s-bob" in world.dismissed
    world.call.leave(ann, world.now)
    world.run()
    world.advance(9.9)
    assert not world.call.over
    world.advance(0.2)
    assert world.call.over
    assert world.rows.call["reason"] == "empty"
    assert world.rows.call["status"] == "ENDED"
    assert world.call.next_timeout(world.now) is None


def test_coming_back_within_the_grace_keeps_the_call_and_the_id() -> None:
    world = World()
    ann = world.id("ann")
    world.call.leave(ann, world.now)
    world.run()
    world.advance(5)
    assert world.join("ann", session="s2") == ann
    world.advance(60)
    assert not world.call.over
    assert world.rows.people[ann]["left_at"] is None


def test_the_same_user_again_replaces_the_session_and_keeps_the_id() -> None:
    world = p2p_world()
    bob = world.id("bob")
    assert world.join("bob", session="s-bob-2") == bob
    assert world.session_news == [("s-bob", "call.replaced", m.Replaced("call"))]
    assert world.dismissed == ["s-bob"]
    gone, joined = world.client("ann").got[-3:-1]
    assert gone == ("participant.left", m.ParticipantGone(bob, "replaced"))
    assert joined[0] == "participant.joined"
    # The new page needs a new P2P connection.
    assert world.pending is not None
    assert (world.pending.from_mode, world.pending.to_mode) == (None, "p2p")
    assert world.rows.call["changes"] == 0


def test_the_same_session_may_join_again() -> None:
    world = World()
    ann = world.id("ann")
    assert world.join("ann") == ann
    assert world.session_news == []
    assert world.dismissed == []
    assert world.peers == {ann}


def test_a_call_has_room_for_so_many() -> None:
    world = World(settings=CallSettings(max_participants=2))
    world.join("bob")
    refused("call_full", world.call.join, joiner("cid"), world.now)
    assert world.join("bob", session="other")  # a replacement needs no further place
    world = World(settings=CallSettings(policy="p2p"))
    world.join("bob")
    refused("call_full", world.call.join, joiner("cid"), world.now)


def test_a_cut_connection_has_30_seconds() -> None:
    world = p2p_world()
    bob = world.id("bob")
    world.call.detach(bob, world.now)
    world.run()
    assert world.client("ann").others[bob].status == "reconnecting"
    world.advance(29.9)
    world.call.attach(bob, world.now)
    world.run()
    assert world.client("ann").others[bob].status == "connected"
    world.call.detach(bob, world.now)
    world.run()
    world.advance(30)
    assert world.rows.people[bob]["reason"] == "timeout"
    assert world.rows.present == {world.id("ann")}
    world.call.end(world.id("ann"), world.now)
    world.run()
    assert world.rows.metrics is not None
    assert world.rows.metrics.reconnections == 1


def test_the_end_for_all() -> None:
    world = p2p_world()
    ann = world.client("ann")
    world.call.end(ann.id, world.now)
    world.run()
    assert ann.last("call.ended") == m.CallOver("call", "ended", "ENDED")
    assert sorted(world.dismissed) == ["s-ann", "s-bob"]
    assert world.rows.metrics is not None
    assert world.rows.metrics.peak_participants == 2
    assert world.rows.metrics.total_participants == 2
    refused("not_in_call", world.call.leave, ann.id, world.now)
    world.call.stop(Event.SERVER_SHUTDOWN, world.now)
    assert world.call.effects() == []


@pytest.mark.parametrize(
    ("event", "reason"),
    [(Event.SERVER_SHUTDOWN, "server_shutdown"), (Event.SERVER_ERROR, "server_error")],
)
@pytest.mark.parametrize("invite", [[], ["bob"]])
def test_the_server_ends_a_call(event: Event, reason: str, invite: list[str]) -> None:
    world = World(invite=invite)
    world.call.stop(event, world.now)
    world.run()
    assert (world.rows.call["status"], world.rows.call["reason"]) == ("ENDED", reason)


# ---- ringing ----------------------------------------------------------------------------------------------


def test_ringing_and_an_answer() -> None:
    world = World(invite=["bob", "cid"])
    assert world.call.status == "INITIATED"
    assert world.rows.call["started_at"] is None
    assert [(user, method) for user, method, _ in world.user_news] == [
        ("bob", "call.incoming"), ("cid", "call.incoming"),
    ]  # fmt: skip
    assert world.call.incoming_for("cid") is not None
    assert world.call.incoming_for("dan") is None
    world.advance(3)
    world.join("bob")
    assert world.call.status == "ACTIVE"
    assert world.client("ann").status == "ACTIVE"
    assert world.rows.call["started_at"] == START + 3
    assert world.user_news[2:] == [("bob", "call.cancelled", m.Cancelled("call", "answered_elsewhere"))]
    # Cid goes on ringing until the time is up.
    world.swap_all()
    world.advance(27)
    assert world.user_news[3:] == [("cid", "call.cancelled", m.Cancelled("call", "missed"))]
    assert not world.call.over


def test_nobody_answers() -> None:
    world = World(invite=["bob"])
    world.advance(30)
    assert (world.rows.call["status"], world.rows.call["reason"]) == ("MISSED", "ring_timeout")
    assert world.user_news[-1] == ("bob", "call.cancelled", m.Cancelled("call", "missed"))
    assert world.rows.call["started_at"] is None


def test_all_decline() -> None:
    world = World(invite=["bob", "cid"])
    world.call.reject("bob", "s-bob", world.now)
    world.run()
    assert not world.call.over
    refused("bad_state", world.call.reject, "bob", "s-bob", world.now)
    refused("bad_state", world.call.reject, "dan", "s-dan", world.now)
    world.call.reject("cid", "s-cid", world.now)
    world.run()
    assert (world.rows.call["status"], world.rows.call["reason"]) == ("REJECTED", "rejected")


def test_the_caller_gives_up() -> None:
    world = World(invite=["bob"])
    world.call.leave(world.id("ann"), world.now)
    world.run()
    assert (world.rows.call["status"], world.rows.call["reason"]) == ("MISSED", "cancelled")
    assert world.user_news[-1] == ("bob", "call.cancelled", m.Cancelled("call", "cancelled"))


def test_the_caller_reloads_the_page_while_it_rings() -> None:
    world = World(invite=["bob"])
    world.join("ann", session="s2")
    assert world.call.status == "INITIATED"
    assert not world.call.over


def test_a_decline_of_one_does_not_end_an_answered_call() -> None:
    world = World(invite=["bob", "cid"])
    world.join("bob")
    world.call.reject("cid", "s-cid", world.now)
    world.run()
    assert not world.call.over


# ---- state, chat, stats -----------------------------------------------------------------------------------


def test_media_state_is_told_and_stored() -> None:
    world = p2p_world()
    ann = world.id("ann")
    world.call.update(ann, m.ParticipantUpdate(audio_enabled=False, screen_share_enabled=True), world.now)
    world.run()
    seen = world.client("bob").others[ann]
    assert (seen.audio_enabled, seen.video_enabled, seen.screen_share_enabled) == (False, True, True)
    assert world.rows.people[ann]["audio"] is False
    assert world.rows.people[ann]["screen"] is True
    world.call.update(ann, m.ParticipantUpdate(audio_enabled=False), world.now)
    assert world.call.effects() == []  # nothing new


def test_one_without_the_grant_sends_nothing() -> None:
    world = World()
    world.join("bob", publish=False)
    seen = world.client("ann").others[world.id("bob")]
    assert (seen.audio_enabled, seen.video_enabled) == (False, False)


def test_chat_goes_to_all_in_one_order() -> None:
    world = p2p_world()
    world.call.chat(world.id("ann"), "hello", world.now)
    world.run()
    said = m.ChatMessage(world.id("ann"), "ann", "hello", round(START * 1000))
    assert world.client("ann").last("chat.message") == said
    assert world.client("bob").last("chat.message") == said


def test_signals_go_to_the_other_side_only() -> None:
    world = World()
    world.join("bob")
    ann, bob = world.id("ann"), world.id("bob")
    offer = m.Description("offer", "v=0")
    world.call.signal(ann, m.P2pSignal(bob, 1, description=offer))
    world.run()
    assert world.client("bob").last("p2p.signal") == m.P2pSignalled(ann, 1, offer)
    assert "p2p.signal" not in world.client("ann").methods()
    world.call.signal(ann, m.P2pSignal(bob, 7, description=offer))
    assert world.call.effects() == []  # another epoch
    refused("invalid", world.call.signal, ann, m.P2pSignal(bob, 1))
    refused("not_found", world.call.signal, ann, m.P2pSignal("nobody", 1, description=offer))
    refused("not_found", world.call.signal, ann, m.P2pSignal(ann, 1, description=offer))


def test_metrics_sum_up_what_clients_report() -> None:
    world = p2p_world()
    ann, bob = world.id("ann"), world.id("bob")
    reports = [
        (ann, m.ClientStats(packet_loss=0.1, rtt_ms=20, bytes_sent=1000, bytes_received=10)),
        (bob, m.ClientStats(packet_loss=0.3, jitter_ms=4, bytes_sent=500)),
        (ann, m.ClientStats(bytes_sent=1500, bytes_received=20, bitrate_kbps=800)),
        (ann, m.ClientStats(bytes_sent=100, bytes_received=5)),  # the page was loaded anew
    ]
    for who, stats in reports:
        world.call.stats(who, stats, world.now)
    world.call.end(ann, world.now)
    world.run()
    row = world.rows.metrics
    assert row is not None
    assert row.avg_packet_loss == pytest.approx(0.2)
    assert (row.avg_rtt, row.avg_jitter, row.avg_bitrate) == (20, 4, 800)
    assert (row.total_data_sent, row.total_data_received) == (1500 + 100 + 500, 25)


def test_metrics_are_stored_now_and_then_while_clients_report() -> None:
    world = p2p_world()
    ann = world.id("ann")
    stored = []
    for second in range(95):
        world.call.stats(ann, m.ClientStats(bytes_sent=second, rtt_ms=second), world.now)
        world.run()
        if world.rows.metrics is not None and world.rows.metrics not in stored:
            stored.append(world.rows.metrics)
        world.advance(1.0)
    assert [round(one.at - world.now + 95) for one in stored] == [30, 60, 90]
    assert [one.total_data_sent for one in stored] == [30, 60, 90]
    assert (stored[0].reports or {})["rtt"] == 31


def test_transports_tell_their_state() -> None:
    world = World()
    ann = world.id("ann")
    world.call.transport_state(ann, "send", m.TransportChanged("send", "connected", "udp"), world.now)
    world.run()
    assert world.client("ann").last("sfu.transport") == m.TransportChanged("send", "connected", "udp")
    assert world.rows.people[ann]["status"] == "connected"
    world.call.transport_state(ann, "recv", m.TransportChanged("recv", "failed"), world.now)
    world.call.transport_state(ann, "send", m.TransportChanged("send", "closed"), world.now)  # no error
    world.call.end(ann, world.now)
    world.run()
    assert world.rows.metrics is not None
    assert world.rows.metrics.transport_errors == 1
