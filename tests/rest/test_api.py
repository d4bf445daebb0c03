"""Live calls over REST: opened, watched and ended, with people at their WebSockets who hear of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.rest import rows
from tests.rest.house import House, serving, until

CALL = {"roomId": "daily", "callType": "AUDIO", "initiatorId": "ann", "initiatorName": "Ann"}


@pytest.fixture
def admin(house: House) -> str:
    return house.token("admin")


async def open_call(house: House, token: str, **more: Any) -> dict[str, Any]:
    answer = await house.ask("POST", "calls", CALL | more, token=token)
    assert answer.status == 201, answer
    call: dict[str, Any] = answer.body["call"]
    return call


async def test_a_link_room_from_its_opening_to_its_end(house: House, admin: str) -> None:
    answer = await house.ask("POST", "calls", {**CALL, "policy": "sfu", "settings": {"a": 1}}, token=admin)
    base = f"http://localhost:{house.port}"
    assert answer.body["join"] == {
        "roomId": "daily",
        "link": f"{base}/?room=daily",
        "webSocket": f"ws{base[4:]}/ws",
    }
    opened = answer.body["call"]
    assert (opened["status"], opened["mode"], opened["stored"]) == ("INITIATED", "sfu", True)
    path = f"calls/{opened['id']}"
    assert answer.headers["location"] == f"/api/v1/{path}"
    seen = (await house.ask("GET", path, token=admin)).body
    assert (seen["status"], seen["initiatorId"], seen["settings"]) == (
        "INITIATED",
        "ann",
        {"a": 1, "policy": "sfu"},
    )
    assert seen["live"] == {"epoch": 0, "policy": "sfu", "ringing": [], "participants": []}
    async with house.person("bob") as bob:
        joined = await bob.request("call.join", {"roomId": "daily"})
        assert joined["result"]["call"]["callId"] == opened["id"]
        (live,) = (await house.ask("GET", "live-calls", token=admin)).body["calls"]
        assert (live["status"], [one["userId"] for one in live["live"]["participants"]]) == (
            "ACTIVE",
            ["bob"],
        )
        ended = await house.ask("POST", f"{path}/end", {"reason": "time_is_up"}, token=admin)
        how = {"id": opened["id"], "ended": True, "status": "ENDED", "endReason": "time_is_up"}
        assert (ended.status, ended.body) == (200, how)
        assert (await until(bob, "call.ended"))["reason"] == "time_is_up"
    page = await house.ask("GET", "calls?roomId=daily&status=ENDED", token=admin)
    assert [call["id"] for call in page.body["calls"]] == [opened["id"]]  # the row follows before the answer
    seen = (await house.ask("GET", path, token=admin)).body
    assert (seen["status"], seen["endReason"], seen["live"]) == ("ENDED", "time_is_up", None)
    assert [one["user"]["id"] for one in seen["participants"]] == ["bob"]
    again = await house.ask("POST", f"{path}/end", token=admin)
    assert again.body == {**how, "ended": False}


async def test_it_rings_and_is_answered(house: House, admin: str) -> None:
    async with house.person("bob") as bob, house.person("ann") as ann:
        call = await open_call(house, admin, invite=["bob", "cid", "ann", "bob"])
        assert call["live"]["ringing"] == ["bob", "cid"]  # the caller is not rung
        rung = await until(bob, "call.incoming")
        assert (rung["callId"], rung["fromName"], rung["fromUserId"]) == (call["id"], "Ann", "ann")
        await bob.request("call.answer", {"callId": call["id"]})
        await ann.request("call.join", {"roomId": "daily"})
        seen = (await house.ask("GET", f"calls/{call['id']}", token=admin)).body
        assert (seen["status"], seen["live"]["ringing"]) == ("ACTIVE", ["cid"])
        roles = {one["userId"]: one["role"] for one in seen["live"]["participants"]}
        assert roles == {"bob": "participant", "ann": "host"}


async def test_two_end_it_at_once(house: House, admin: str) -> None:
    async with house.person("bob") as bob:
        call = await open_call(house, admin)
        await bob.request("call.join", {"roomId": "daily"})
        answers = []

        async def end(reason: str) -> None:
            answers.append(
                await house.ask("POST", f"calls/{call['id']}/end", {"reason": reason}, token=admin)
            )

        async with trio.open_nursery() as nursery:
            for n in range(4):
                nursery.start_soon(end, f"reason{n}")
        assert [one.status for one in answers] == [200] * 4
        assert sorted(one.body["ended"] for one in answers) == [False, False, False, True]
        (reason,) = {one.body["endReason"] for one in answers}
        assert (await until(bob, "call.ended"))["reason"] == reason
    assert (await house.ask("GET", f"calls/{call['id']}", token=admin)).body["endReason"] == reason


async def test_somebody_is_taken_out(house: House, admin: str) -> None:
    async with house.person("bob") as bob, house.person("ann") as ann:
        call = await open_call(house, admin)
        mine = (await bob.request("call.join", {"roomId": "daily"}))["result"]["call"]["participantId"]
        await ann.request("call.join", {"roomId": "daily"})
        path = f"calls/{call['id']}/participants/{mine}"
        removed = await house.ask("DELETE", path, token=admin)
        assert (removed.status, removed.body) == (204, "")
        assert "content-length" not in removed.headers
        told = await until(bob, "call.ended")
        assert (told["callId"], told["reason"], told["status"]) == (call["id"], "removed", "ACTIVE")
        assert (await until(ann, "participant.left"))["reason"] == "removed"
        assert (await house.ask("DELETE", path, token=admin)).code == "not_found"
        people = (await house.ask("GET", f"calls/{call['id']}/participants", token=admin)).body
        reasons = {one["user"]["id"]: one["leftReason"] for one in people["participants"]}
        assert reasons == {"bob": "removed", "ann": None}


async def test_a_room_has_one_call(house: House, admin: str) -> None:
    call = await open_call(house, admin)
    refused = await house.ask("POST", "calls", CALL, token=admin)
    assert (refused.status, refused.code, refused.body["callId"]) == (409, "bad_state", call["id"])
    large = await house.ask("POST", "calls", CALL | {"settings": {"x": "y" * 5000}}, token=admin)
    assert (large.code, large.body["field"], large.body["limit"]) == ("too_large", "settings", 4096)


async def test_a_key_opens_one_call(house: House, admin: str) -> None:
    answers = []

    async def ask(body: dict[str, Any], key: str) -> None:
        answers.append(await house.ask("POST", "calls", body, token=admin, idempotency_key=key))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask, CALL, "k1")
    assert {one.status for one in answers} == {201}
    assert len({one.body["call"]["id"] for one in answers}) == 1
    await ask(CALL | {"roomId": "elsewhere"}, "k1")
    assert (answers[-1].status, answers[-1].code) == (422, "key_reused")
    await ask(CALL, "k2")
    assert answers[-1].code == "bad_state"
    await ask(CALL, "k\t2")
    assert answers[-1].code == "malformed"


async def test_a_key_is_known_after_a_restart(data_dir: Path, url: str) -> None:
    async with serving(data_dir, url) as house:
        first = await house.ask("POST", "calls", CALL, token=house.token("admin"), idempotency_key="k")
    async with serving(data_dir, url) as house:
        token = house.token("admin")
        again = await house.ask("POST", "calls", CALL, token=token, idempotency_key="k")
        assert again.body["call"]["id"] == first.body["call"]["id"]
        assert (again.body["call"]["status"], again.body["call"]["endReason"]) == ("ENDED", "server_shutdown")
        other = CALL | {"roomId": "elsewhere"}
        assert (
            await house.ask("POST", "calls", other, token=token, idempotency_key="k")
        ).code == "key_reused"


async def test_what_is_open_elsewhere_cannot_be_ended_here(house: House, admin: str) -> None:
    refused = await house.ask("POST", f"calls/{rows.SFU}/end", token=admin)
    assert (refused.status, refused.code, refused.body["callId"]) == (409, "bad_state", rows.SFU)


async def test_tokens_are_made(house: House, admin: str) -> None:
    body = {"roomId": "daily", "userId": "bob", "name": "Bob", "can": ["publish"], "ttlS": 60}
    made = await house.ask("POST", "tokens", body, token=admin)
    assert made.status == 201
    assert made.body["link"].endswith(f"/?room=daily#token={made.body['token']}")
    seen = await house.ask("GET", "rooms/daily/calls", token=made.body["token"])
    assert seen.status == 200
    assert (await house.ask("POST", "tokens", body, token=made.body["token"])).code == "forbidden"
    too_much = await house.ask("POST", "tokens", body | {"can": ["admin"]}, token=admin)
    assert (too_much.status, too_much.body["field"]) == (422, "can[0]")


async def test_pages(house: House, admin: str) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await house.ask("GET", f"calls?limit=1{cursor}", token=admin)).body
        seen += [call["id"] for call in page["calls"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
        await open_call(house, admin, roomId=f"room{len(seen)}")  # goes before all of them
    assert seen == ["cplain", "cmissed", rows.SFU, rows.FULL]
    page = (await house.ask("GET", f"calls/{rows.FULL}/transcriptions?limit=2", token=admin)).body
    rest = await house.ask(
        "GET", f"calls/{rows.FULL}/transcriptions?limit=2&cursor={page['nextCursor']}", token=admin
    )
    said = [one["text"] for one in page["transcriptions"] + rest.body["transcriptions"]]
    assert said == ["sentence 0", "sentence 1", "sentence 2"]
    assert rest.body["nextCursor"] is None


async def test_live_calls_in_pages(house: House, admin: str) -> None:
    for n in range(5):
        await open_call(house, admin, roomId=f"r{n}", initiatorId=None)
    seen, cursor = [], ""
    while cursor is not None:
        page = (await house.ask("GET", f"live-calls?limit=2{cursor}", token=admin)).body
        seen += [call["roomId"] for call in page["calls"]]
        cursor = page["nextCursor"] and f"&cursor={page['nextCursor']}"
    assert seen == ["r4", "r3", "r2", "r1", "r0"]
    (one,) = (await house.ask("GET", "live-calls?roomId=r3", token=admin)).body["calls"]
    assert one["roomId"] == "r3"
    bound = house.token(room="r3")
    assert (await house.ask("GET", "live-calls", token=bound)).body["calls"] == [one]
    assert (await house.ask("GET", "live-calls?roomId=r1", token=bound)).body["calls"] == []


async def test_recordings(house: House, admin: str) -> None:
    for path in ("recordings", f"recordings?roomId={rows.ROOM}&status=ready", "recordings?limit=1"):
        page = (await house.ask("GET", path, token=admin)).body
        assert [one["callSessionId"] for one in page["recordings"]] == [rows.FULL]
        assert page["nextCursor"] is None
    assert (await house.ask("GET", "recordings?roomId=none", token=admin)).body["recordings"] == []
    refused = await house.ask("GET", "recordings?roomId=other", token=house.token(room=rows.ROOM))
    assert refused.code == "forbidden"


async def test_so_many_requests(data_dir: Path, url: str) -> None:
    few = (("rest.request_burst", "3"), ("rest.requests_per_s", "0.01"))
    async with serving(data_dir, url, *few) as house:
        ann, bob = house.token(user="ann"), house.token(user="bob")
        answers = [(await house.ask("GET", "live-calls", token=ann)).status for _ in range(4)]
        assert answers == [200, 200, 200, 429]
        refused = await house.ask("GET", "live-calls", token=house.token("start", user="ann"))
        assert refused.code == "rate_limited"
        assert int(refused.headers["retry-after"]) > 60
        assert (await house.ask("GET", "live-calls", token=bob)).status == 200
