"""Sessions, resuming, and the way into and out of calls."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from server.db import changes
from server.db.changes import CallMetricsUpdate
from server.errors import ClientError
from server.session.identity import Grants, Identity
from server.session.opening import Resumed
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.rooms.conftest import ALL, Client, House, settle


async def refused(code: str, client: Client, method: str, params: m.Wire | None = None) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await client.ask(method, params)
    assert caught.value.code == code
    return caught.value


async def test_hello_says_who_one_is(house: House) -> None:
    ann = house.client("ann", device={"os": "x"})
    assert ann.hello.user_id == "ann"
    assert ann.hello.name == "Ann"
    assert ann.hello.grants == ["join", "start", "publish", "end", "room:*"]
    assert (ann.hello.resumed, ann.hello.resync, ann.hello.call) == (False, False, None)
    guest = Client(house, Identity(user_id=None, name="Guest 7", guest=True, grants=ALL))
    assert guest.connect(name=" Zoë ").hello.name == "Zoë"
    assert guest.connect().hello.name == "Guest 7"
    assert guest.hello.guest


async def test_hello_has_limits(house: House) -> None:
    with pytest.raises(ClientError) as caught:
        house.client("ann", device={"x": "y" * 5000})
    assert (caught.value.code, caught.value.field) == ("too_large", "device")


@pytest.mark.parametrize("settings", [CallSettings(max_sessions=2)])
async def test_so_many_sessions(autojump_clock: MockClock, house: House) -> None:
    house.client("a")
    b = house.client("b")
    with pytest.raises(ClientError) as caught:
        house.client("c")
    assert caught.value.code == "busy"
    b.cut()
    await trio.sleep(32)  # forgotten after the grace
    assert house.client("c").hello.session_id


async def test_two_join_by_link(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    state = await ann.join(video_enabled=False)
    assert (state.status, state.mode, state.epoch) == ("ACTIVE", "p2p", 0)
    assert state.media == m.MediaPath(["192.0.2.1"], 8444, 8444)
    assert [one.video_enabled for one in state.participants] == [False]
    state = await bob.join()
    assert [one.name for one in state.participants] == ["Ann", "Bob"]
    assert ann.last("participant.joined").participant.participant_id == bob.pid
    assert ann.last("epoch.prepare") == bob.last("epoch.prepare")
    assert house.directory.stats() == {
        "sessions": 2, "attached": 2, "calls": 1, "participants": 2, "p2p_calls": 1, "sfu_calls": 0,
    }  # fmt: skip
    kinds = [type(change).__name__ for change in house.recorder.changes[:5]]
    assert kinds == ["UserSeen", "CallCreated", "CallStarted", "ParticipantJoined", "UserSeen"]


async def test_an_answer_comes_before_the_notifications_it_causes(house: House) -> None:
    ann = house.client("ann")
    with ann.session.answering():
        await house.directory.request(ann.session, "call.join", m.CallJoin("room"))
        await settle()
        assert ann.wire.got == []
    assert "sfu.offer" in ann.methods()


async def test_leaving_and_the_end_of_an_empty_call(autojump_clock: MockClock, house: House) -> None:
    ann = house.client("ann")
    first = await ann.join()
    await ann.ask("call.leave")
    assert ann.session.room is None
    await refused("not_in_call", ann, "call.leave")
    await trio.sleep(11)
    assert house.directory.stats()["calls"] == 0
    assert house.recorder.of(changes.CallEnded)[0].reason == "empty"
    assert house.router.closed
    assert (await ann.join()).call_id != first.call_id


async def test_a_join_that_meets_the_end_begins_anew(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    first = await ann.join()
    states: list[m.CallState] = []

    async def join() -> None:
        states.append(await bob.join())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ann.ask, "call.end")
        nursery.start_soon(join)
    if bob.session.room is None:  # bob was in time to be in the call that ended
        assert bob.last("call.ended").reason == "ended"
    else:
        assert states[0].call_id != first.call_id


async def test_a_call_that_the_last_server_left_open_goes_on(house: House) -> None:
    so_far = CallMetricsUpdate(at=0.0, call_id="c-before", avg_rtt=50.0, peak_participants=5, reconnections=2,
                               total_data_sent=1000, reports={"rtt": 3})  # fmt: skip
    kept = {"captions": "off", "policy": "sfu", "theme": "dark"}
    house.interrupted["room"] = Resumed(call_id="c-before", settings=kept, metrics=so_far)
    ann, bob = house.client("ann"), house.client("bob")
    state = await ann.join()
    assert (state.call_id, state.captions, state.policy) == ("c-before", "off", "sfu")
    assert (await bob.join()).call_id == "c-before"
    await ann.ask("stats", m.ClientStats(rtt_ms=10, bytes_sent=7))
    await ann.ask("call.end")
    await settle()
    [metrics] = house.recorder.of(CallMetricsUpdate)
    assert (metrics.avg_rtt, metrics.reports["rtt"], metrics.total_data_sent) == (40.0, 4, 1007)
    assert (metrics.peak_participants, metrics.reconnections) == (5, 2)
    assert (await ann.join()).call_id != "c-before"


async def test_other_rooms_are_other_calls(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    one, two = await ann.join("one"), await bob.join("two")
    assert one.call_id != two.call_id
    error = await refused("bad_state", ann, "call.join", m.CallJoin("two"))
    assert error.data["callId"] == one.call_id
    assert ann.count("participant.joined") == 0


@pytest.mark.parametrize("settings", [CallSettings(max_rooms=1, max_participants=1)])
async def test_limits_of_rooms_and_participants(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    await ann.join("one")
    await refused("room_limit", bob, "call.join", m.CallJoin("two"))
    await refused("call_full", bob, "call.join", m.CallJoin("one"))


@pytest.mark.parametrize(
    ("grants", "method", "params"),
    [
        (Grants(room="other"), "call.join", m.CallJoin("room")),
        (Grants(join=False), "call.join", m.CallJoin("room")),
        (Grants(start=False), "call.start", m.CallStart("room", invite=["bob"])),
    ],
)
async def test_grants_are_kept(house: House, grants: Grants, method: str, params: m.Wire) -> None:
    await refused("forbidden", house.client("ann", grants), method, params)
    assert house.recorder.changes == []


async def test_grants_within_a_call(house: House) -> None:
    ann = house.client("ann", Grants(publish=False, end=False))
    state = await ann.join()
    assert not state.participants[0].audio_enabled
    await refused("forbidden", ann, "call.end")
    await refused("forbidden", ann, "participant.update", m.ParticipantUpdate(audio_enabled=True))
    with pytest.raises(ClientError, match="publish"):
        await ann.publish()
    await ann.ask("participant.update", m.ParticipantUpdate(audio_enabled=False))
    await refused("forbidden", ann, "caption.send", m.CaptionSend("1", "hello"))


async def test_captions_are_for_those_who_are_there(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    await ann.join()
    await bob.join()
    bob.cut()
    await ann.ask("caption.send", m.CaptionSend("1", "hel"))
    await ann.ask("caption.send", m.CaptionSend("1", "hello", is_final=True))
    bob.resume()
    captions = [params.text for name, params, _ in bob.wire.got if name == "call.caption"]
    assert captions == ["hello"]  # what was not final is of no use any more
    assert ann.count("call.caption") == 0
    bad = m.CallStart("other", settings={"captions": "loud"})
    await refused("invalid", house.client("cem"), "call.start", bad)
    assert house.directory.stats()["calls"] == 1


async def test_what_is_refused_outside_a_call(house: House) -> None:
    ann = house.client("ann")
    for method, (params, _) in m.METHODS.items():
        if method in ("sfu.restart", "call.state", "call.leave", "call.end"):
            await refused("not_in_call", ann, method, params())
    await refused("bad_state", ann, "hello", m.Hello())
    await refused("not_found", ann, "call.answer", m.CallAnswer("nothing"))
    await refused("not_found", ann, "call.reject", m.CallRef("nothing"))


# ---- ringing ----------------------------------------------------------------------------------------------


async def test_ringing_reaches_all_devices(house: House) -> None:
    ann, bob, phone = house.client("ann"), house.client("bob"), house.client("bob")
    state = (await ann.ask("call.start", m.CallStart("room", invite=["bob", "ann"]))).call
    assert state.status == "INITIATED"
    ring = bob.last("call.incoming")
    assert (ring.call_id, ring.from_name, ring.from_user_id) == (state.call_id, "Ann", "ann")
    assert phone.last("call.incoming") == ring
    late = house.client("bob")  # comes while it rings
    assert late.last("call.incoming") == ring
    await refused("not_found", house.client("eve"), "call.answer", m.CallAnswer(state.call_id))
    answered = (await bob.ask("call.answer", m.CallAnswer(state.call_id))).call
    assert answered.status == "ACTIVE"
    assert ann.last("call.updated").status == "ACTIVE"
    for device in (phone, late):
        assert device.last("call.cancelled") == m.Cancelled(state.call_id, "answered_elsewhere")
    assert bob.count("call.cancelled") == 0


async def test_declining(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    state = (await ann.ask("call.start", m.CallStart("room", invite=["bob"]))).call
    await bob.ask("call.reject", m.CallRef(state.call_id))
    await settle()
    assert ann.last("call.ended") == m.CallOver(state.call_id, "rejected", "REJECTED")
    assert ann.session.room is None


async def test_nobody_answers(autojump_clock: MockClock, house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    state = (await ann.ask("call.start", m.CallStart("room", invite=["bob"]))).call
    await trio.sleep(30.5)
    assert ann.last("call.ended") == m.CallOver(state.call_id, "ring_timeout", "MISSED")
    assert bob.last("call.cancelled").reason == "missed"


async def test_a_second_start_names_the_call_that_is_there(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    state = await ann.join()
    error = await refused("bad_state", bob, "call.start", m.CallStart("room"))
    assert error.data["callId"] == state.call_id
    await refused("too_large", bob, "call.start", m.CallStart("else", settings={"x": "y" * 5000}))


# ---- a connection is cut ----------------------------------------------------------------------------------


async def test_resume_restores_all(autojump_clock: MockClock, house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    await ann.enter()
    await bob.enter()
    transports = {one.id for one in house.router.open_transports}
    bob.cut()
    await settle()
    assert ann.last("participant.updated").participant.status == "reconnecting"
    await ann.ask("chat.send", m.ChatSend("are you there?"))
    before = bob.wire
    await trio.sleep(20)
    hello = bob.resume(before.got[-1][2])
    assert (hello.resumed, hello.resync, hello.call) == (True, False, None)
    await settle()
    assert bob.last("chat.message").text == "are you there?"
    assert [seq for _, _, seq in bob.wire.got] == list(range(before.got[-1][2] + 1, bob.wire.got[-1][2] + 1))
    assert ann.last("participant.updated").participant.status != "reconnecting"
    assert {one.id for one in house.router.open_transports} == transports


async def test_a_session_that_was_away_too_long_is_gone(autojump_clock: MockClock, house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    await ann.enter()
    await bob.enter()
    bob.cut()
    await trio.sleep(32)
    assert ann.last("participant.left").reason == "timeout"
    with pytest.raises(ClientError) as caught:
        bob.resume()
    assert caught.value.code == "resume_unknown"
    assert len(house.router.open_transports) == 2


@pytest.mark.parametrize("wrong", ["session", "token", "user"])
async def test_only_its_owner_resumes_a_session(house: House, wrong: str) -> None:
    ann = house.client("ann")
    resume = m.Resume(
        "cunknown" if wrong == "session" else ann.session.id,
        "guess" if wrong == "token" else ann.session.resume_token,
        0,
    )
    mallory = house.client("mallory" if wrong == "user" else "ann")
    with pytest.raises(ClientError) as caught:
        mallory.connect(resume=resume)
    assert caught.value.code == "resume_unknown"
    assert ann.wire.closed is None


async def test_a_second_connection_takes_over(autojump_clock: MockClock, house: House) -> None:
    ann = house.client("ann")
    await ann.enter()
    first = ann.wire
    ann.resume()
    assert first.closed == 4001
    house.directory.detach(ann.session, first)  # its end changes nothing
    await trio.sleep(40)
    assert ann.session.room is not None


async def test_too_much_was_missed(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    await ann.enter()
    await bob.enter()
    bob.cut()
    for n in range(300):
        await ann.ask("chat.send", m.ChatSend(str(n)))
    hello = bob.resume(1)
    assert hello.resync
    assert hello.call is not None
    assert [one.participant_id for one in hello.call.participants] == [ann.pid, bob.pid]
    assert hello.call.pending_epoch is not None
    await ann.ask("chat.send", m.ChatSend("and now"))
    await settle()
    assert [params.text for name, params, _ in bob.wire.got if name == "chat.message"] == ["and now"]


async def test_the_same_user_elsewhere_takes_the_place(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    await ann.enter()
    await bob.enter()
    pid = bob.pid
    phone = house.client("bob")
    await phone.enter()
    assert phone.pid == pid
    assert bob.last("call.replaced").call_id
    assert bob.session.room is None
    assert len(house.router.open_transports) == 4
    await refused("not_in_call", bob, "chat.send", m.ChatSend("hm"))
    await phone.ask("chat.send", m.ChatSend("me"))
    assert bob.count("chat.message") == 0


# ---- failures and the end ---------------------------------------------------------------------------------


async def test_a_room_that_fails_ends_alone(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ann, bob, cid = house.client("ann"), house.client("bob"), house.client("cid")
    await ann.join("one")
    await bob.join("one")
    await cid.join("two")

    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    room = ann.session.room
    assert room is not None
    monkeypatch.setattr(room.call, "chat", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        await ann.ask("chat.send", m.ChatSend("x"))
    await settle()
    assert bob.last("call.ended").reason == "server_error"
    assert bob.session.room is None
    assert house.recorder.of(changes.CallEnded)[0].reason == "server_error"
    await cid.ask("chat.send", m.ChatSend("still here"))
    assert cid.last("chat.message").text == "still here"
    assert house.directory.stats()["calls"] == 1


async def test_a_router_that_cannot_be_made_leaves_nothing(house: House) -> None:
    ann = house.client("ann")
    house.media.fail_routers = True
    with pytest.raises(RuntimeError):
        await ann.join()
    assert ann.session.room is None
    house.media.fail_routers = False
    assert (await ann.join()).status == "ACTIVE"


async def test_the_server_stops(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    await ann.join("one")
    await bob.join("two")
    house.directory.drain(1500)
    assert ann.last("server.draining") == m.Draining(1500)
    await refused("draining", house.client("cid"), "call.join", m.CallJoin("three"))
    await house.directory.shutdown()
    assert [one.reason for one in house.recorder.of(changes.CallEnded)] == ["server_shutdown"] * 2
    assert bob.last("call.ended").reason == "server_shutdown"
    assert house.directory.stats()["calls"] == 0
    assert all(router.closed for router in house.media.routers)
