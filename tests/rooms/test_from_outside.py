"""What applications may do to calls through the directory, beside the people who are in them."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from server.db import changes
from server.errors import ClientError
from server.rooms.directory import Directory
from server.session.opening import Ahead, NewCall
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.rooms.conftest import House, settle


def new_call(room: str = "room", **more: Any) -> NewCall:
    given: dict[str, Any] = {
        "call_id": f"call-{room}",
        "room_id": room,
        "call_type": "VIDEO",
        "initiator": Ahead(wait_s=30, user_id="ann", name="Ann"),
    }
    return NewCall(**(given | more))


def refused(directory: Directory, new: NewCall) -> str:
    with pytest.raises(ClientError) as caught:
        directory.open_ahead(new)
    return caught.value.code


async def test_a_call_is_opened_and_people_find_it(house: House) -> None:
    opened = house.directory.open_ahead(new_call(settings={"topic": "x"}, policy="sfu"))
    assert (opened.status, opened.participants, opened.policy) == ("INITIATED", [], "sfu")
    created = house.recorder.of(changes.CallCreated)[0]
    assert (created.initiator_id, created.settings) == ("ann", {"topic": "x", "policy": "sfu"})
    assert (created.status, created.mode, created.sfu_room_id) == ("INITIATED", "sfu", house.router.id)
    bob = house.client("bob")
    state = await bob.join()
    assert (state.call_id, state.status) == (opened.call_id, "ACTIVE")
    assert [one.call_id for one in house.directory.live()] == [opened.call_id]
    seen = house.directory.live_call(opened.call_id)
    assert seen is not None
    assert [one.user_id for one in seen.participants] == ["bob"]


async def test_it_rings_those_who_are_there_and_who_come(house: House) -> None:
    bob = house.client("bob")
    opened = house.directory.open_ahead(new_call(invite=["bob", "cid"]))
    await settle()
    cid = house.client("cid")
    assert bob.last("call.incoming").call_id == cid.last("call.incoming").call_id == opened.call_id
    await bob.ask("call.answer", m.CallAnswer(opened.call_id))
    await cid.ask("call.answer", m.CallAnswer(opened.call_id))
    seen = house.directory.live_call(opened.call_id)
    assert seen is not None
    assert seen.status == "ACTIVE"


async def test_a_room_has_one_call(house: House) -> None:
    house.directory.open_ahead(new_call())
    assert refused(house.directory, new_call(call_id="other")) == "bad_state"
    assert refused(house.directory, new_call("other", settings={"x": "y" * 5000})) == "too_large"
    house.directory.drain(100)
    assert refused(house.directory, new_call("third")) == "draining"


@pytest.mark.parametrize("settings", [CallSettings(max_rooms=1)])
async def test_the_server_has_so_many_calls(house: House) -> None:
    house.directory.open_ahead(new_call("a"))
    assert refused(house.directory, new_call("b")) == "room_limit"


async def test_nobody_comes(autojump_clock: MockClock, house: House) -> None:
    house.directory.open_ahead(new_call())
    await trio.sleep(31)
    assert list(house.directory.live()) == []
    assert house.recorder.of(changes.CallEnded)[0].status == "MISSED"
    assert house.router.closed


async def test_two_end_it_at_once(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    call_id = (await ann.join()).call_id
    await bob.join()
    outcomes = []

    async def close(reason: str) -> None:
        outcomes.append((await house.directory.close(call_id, ended_by=None, reason=reason), reason))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close, "one")
        nursery.start_soon(close, "two")
    (winner,) = [reason for done, reason in outcomes if done is not None and done[0]]
    assert {done[1] for done, _ in outcomes if done is not None} == {m.CallOver(call_id, winner, "ENDED")}
    (ended,) = house.recorder.of(changes.CallEnded)
    assert ended.reason == winner
    assert [one.last("call.ended").reason for one in (ann, bob)] == [winner, winner]
    assert house.directory.live_call(call_id) is None
    assert await house.directory.close(call_id, ended_by=None) is None
    assert await house.directory.close("never", ended_by=None) is None


async def test_somebody_is_taken_out_and_told(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    call_id = (await ann.join()).call_id
    await bob.join()
    pid = bob.pid
    assert await house.directory.expel(call_id, pid)
    assert bob.last("call.ended") == m.CallOver(call_id, "removed", "ACTIVE")
    assert bob.session.room is None
    assert ann.last("participant.left") == m.ParticipantGone(pid, "removed")
    assert not await house.directory.expel(call_id, pid)
    assert not await house.directory.expel("never", pid)
    assert (await bob.join()).call_id == call_id


async def test_live_calls_by_room_by_user_and_in_pages(house: House) -> None:
    for n in range(5):
        house.directory.open_ahead(new_call(f"r{n}", initiator=Ahead(wait_s=30, user_id=f"u{n % 2}")))
    bob, cid = house.client("bob"), house.client("cid")
    await bob.join("r3")
    house.directory.open_ahead(new_call("ringing", invite=["cid"]))

    def found(**more: Any) -> list[str]:
        return [one.room_id for one in house.directory.live(**more)]

    assert found() == ["ringing", "r4", "r3", "r2", "r1", "r0"]
    assert found(room_id="r1") == ["r1"]
    assert found(room_id="none") == []
    assert found(user_id="u1") == ["r3", "r1"]
    assert found(user_id="bob") == ["r3"]
    assert found(user_id="cid") == ["ringing"]
    await cid.ask("call.reject", m.CallRef("call-ringing"))
    assert found(user_id="cid") == []
    (one,) = house.directory.live(room_id="r2")
    assert found(before=(one.opened_at, one.call_id)) == ["r1", "r0"]
    assert (house.directory.unattended("u1"), house.directory.unattended("u0")) == (1, 3)
