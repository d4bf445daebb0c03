"""Each kind of token against each operation; and what a token may see of what it may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from server.rest.access import NOTHING, Scope, check, scope_of
from server.rest.problems import Problem
from server.rest.routes import OPERATIONS
from server.session.identity import Grants, Identity
from tests.rest import rows
from tests.rest.house import House, serving, until

# A token's claims: grants, room, user. All are for the call FULL of room "team", which ann made.
TOKENS: dict[str, tuple[tuple[str, ...], str, str | None]] = {
    "admin": (("admin",), "*", None),
    "reader": (("read",), "*", None),
    "room": (("start", "publish", "end"), rows.ROOM, None),
    "room reader": (("read",), rows.ROOM, "zed"),
    "ann": (("start", "publish", "end"), "*", "ann"),
    "ann without": ((), "*", "ann"),
    "stranger": (("start", "publish", "end"), "*", "zed"),
    "other room": (("start", "publish", "end"), "nowhere", "zed"),
    "anybody": (("start", "publish"), "*", None),
}
Y, N, F = 200, 404, 403  # done, not found, forbidden
C = 409  # there is a call, but not one of this server

# operation: (path, body, status by token in the order of TOKENS)
EXPECTED: dict[str, tuple[str, Any, list[int]]] = {
    "listCalls": ("calls", None, [Y, Y, Y, Y, Y, Y, Y, Y, F]),
    "listLiveCalls": ("live-calls", None, [Y, Y, Y, Y, Y, Y, Y, Y, F]),
    "listActiveSfuCalls": ("active-sfu-calls", None, [Y, Y, Y, Y, Y, Y, Y, Y, F]),
    "getCall": ("calls/cfull", None, [Y, Y, Y, Y, Y, Y, N, N, F]),
    "endCall": ("calls/cfull/end", {}, [Y, F, Y, F, Y, F, N, N, F]),
    "listParticipants": ("calls/cfull/participants", None, [Y, Y, Y, Y, Y, Y, N, N, F]),
    "removeParticipant": ("calls/cfull/participants/cfull-bob", None, [N, N, N, N, N, N, N, N, F]),
    "metricsOfCall": ("calls/cfull/metrics", None, [Y, Y, Y, Y, Y, Y, N, N, F]),
    "transitionsOfCall": ("calls/cfull/transitions", None, [Y, Y, Y, Y, Y, Y, N, N, F]),
    "analyticsOfCall": ("calls/cfull/analytics", None, [Y, Y, Y, Y, Y, Y, N, N, F]),
    "recordingOfCall": ("calls/cfull/recording", None, [Y, Y, Y, Y, Y, Y, N, N, F]),
    "transcriptionsOfCall": ("calls/cfull/transcriptions", None, [Y, Y, Y, Y, Y, Y, N, N, F]),
    "callsOfRoom": ("rooms/team/calls", None, [Y, Y, Y, Y, Y, Y, Y, F, F]),
    "callsOfUser": ("users/ann/calls", None, [Y, Y, F, Y, Y, Y, F, F, F]),
    "listRecordings": ("recordings", None, [Y, Y, Y, Y, F, F, F, Y, F]),
    "callOfSfuRoom": ("sfu-rooms/router-csfu/call", None, [Y, Y, F, F, F, F, F, F, F]),
    "participantOfProducer": ("producers/a-csfu-bob/participant", None, [Y, Y, F, F, F, F, F, F, F]),
    "participantOfTransport": ("transports/s-csfu-cid/participant", None, [Y, Y, F, F, F, F, F, F, F]),
    "transitionStatistics": ("statistics/transitions", None, [Y, Y, F, F, F, F, F, F, F]),
    "callStatistics": ("statistics/calls", None, [Y, Y, Y, Y, F, F, F, Y, F]),
    "exportUser": ("users/ann/export", None, [Y, F, F, F, Y, Y, F, F, F]),
    "eraseUser": ("users/nobody", None, [N, F, F, F, F, F, F, F, F]),
    "makeToken": ("tokens", {"roomId": "x"}, [201, F, F, F, F, F, F, F, F]),
    "openCall": ("calls", {"roomId": rows.ROOM}, [201, F, C, F, C, F, C, F, C]),
}


def test_the_table_is_whole() -> None:
    assert set(EXPECTED) == {one.id for one in OPERATIONS}
    assert all(len(statuses) == len(TOKENS) for _, _, statuses in EXPECTED.values())


async def test_each_token_and_each_operation(house: House) -> None:
    methods = {one.id: one.method for one in OPERATIONS}
    found: dict[tuple[str, str], int] = {}
    wanted: dict[tuple[str, str], int] = {}
    for operation, (path, body, statuses) in EXPECTED.items():
        for (name, (can, room, user)), status in zip(TOKENS.items(), statuses, strict=True):
            token = house.token(*can, room=room, user=user)
            answer = await house.ask(methods[operation], path, body, token=token)
            wanted[operation, name], found[operation, name] = status, answer.status
            if status >= 400 and answer.status == status:
                assert answer.code in ("forbidden", "not_found", "bad_state")
    assert found == wanted


async def test_nothing_without_a_token(house: House) -> None:
    for one in OPERATIONS:
        path, body, _ = EXPECTED[one.id]
        for header in ("", "Basic YTpi", "Bearer", "Bearer x.y.z", house.token("admin")):
            answer = await house.ask(one.method, path, body, authorization=header)
            assert answer.status == 401, one.id
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.code in ("token_missing", "token_invalid")


async def test_dev_opens_nothing_here(data_dir: Any, url: str) -> None:
    async with serving(data_dir, url, ("dev", "1")) as house:
        assert (await house.ask("GET", "calls")).code == "token_missing"
        twice = f"GET /api/v1/calls HTTP/1.1\r\nhost: localhost:{house.port}\r\nconnection: close\r\n" + 2 * (
            f"authorization: Bearer {house.token('admin')}\r\n"
        )
        assert (await house.raw(twice.encode() + b"\r\n")).startswith(b"HTTP/1.1 401")


async def listed(house: House, token: str, path: str = "calls") -> list[str]:
    return sorted(call["id"] for call in (await house.ask("GET", path, token=token)).body["calls"])


async def test_lists_hold_only_what_is_the_tokens(house: House) -> None:
    team = sorted([rows.FULL, "cmissed"])
    assert await listed(house, house.token("read")) == sorted([*team, rows.SFU, "cplain"])
    assert await listed(house, house.token(room=rows.ROOM)) == team
    assert await listed(house, house.token(user="ann")) == team
    assert await listed(house, house.token(user="cid")) == sorted([rows.SFU, "cplain"])
    assert await listed(house, house.token(user="cid"), "calls?userId=ann") == []
    assert await listed(house, house.token(room=rows.ROOM), "calls?roomId=other") == []
    assert await listed(house, house.token(user="bob", room=rows.ROOM), "users/bob/calls") == [rows.FULL]
    assert await listed(house, house.token(user="bob"), "active-sfu-calls") == [rows.SFU]
    assert await listed(house, house.token(user="ann"), "active-sfu-calls") == []


async def test_devices_and_quality_of_others_are_for_applications(house: House) -> None:
    for token, shown in (
        (house.token(user="bob"), None),
        (house.token(room=rows.ROOM), None),
        (house.token("read", room=rows.ROOM), {"browser": "ann"}),
        (house.token("admin"), {"browser": "ann"}),
    ):
        call = (await house.ask("GET", f"calls/{rows.FULL}", token=token)).body
        ann = next(one for one in call["participants"] if one["user"] and one["user"]["id"] == "ann")
        assert ann["deviceInfo"] == shown
        assert ann["qualityMetrics"] == (shown and {"rttMs": 31.5})


async def test_users_call_as_themselves(house: House) -> None:
    zed = house.token("start", user="zed", name="Zed")
    for more, field in (
        ({"initiatorId": "ann"}, "initiatorId"),
        ({"initiatorName": "The King"}, "initiatorName"),
        ({"waitS": 3600}, "waitS"),
    ):
        refused = await house.ask("POST", "calls", {"roomId": "r", **more}, token=zed)
        assert (refused.code, refused.body["field"]) == ("forbidden", field)
    async with house.person("bob") as bob:
        body = {"roomId": "r", "invite": ["bob"]}
        opened = await house.ask("POST", "calls", body, token=zed)
        assert opened.body["call"]["initiatorId"] == "zed"
        assert (await until(bob, "call.incoming"))["fromName"] == "Zed"
        seen = await house.ask("GET", f"calls/{opened.body['call']['id']}", token=house.token(user="bob"))
        assert seen.body["live"]["ringing"] == ["bob"]
        rest = await house.ask("GET", f"calls/{opened.body['call']['id']}", token=house.token(user="ann"))
        assert rest.code == "not_found"
    for n in range(4):
        assert (await house.ask("POST", "calls", {"roomId": f"r{n}"}, token=zed)).status == 201
    assert (await house.ask("POST", "calls", {"roomId": "r9"}, token=zed)).code == "rate_limited"


async def test_one_may_take_oneself_out(house: House) -> None:
    async with house.person("bob") as bob, house.person("ann") as ann:
        call = (await bob.request("call.join", {"roomId": "r"}))["result"]["call"]
        other = (await ann.request("call.join", {"roomId": "r"}))["result"]["call"]["participantId"]
        token = house.token(user="bob")
        path = f"calls/{call['callId']}/participants"
        assert (await house.ask("DELETE", f"{path}/{other}", token=token)).code == "forbidden"
        assert (await house.ask("DELETE", f"{path}/{call['participantId']}", token=token)).status == 204
        moderator = house.token("end", room="r")
        assert (await house.ask("DELETE", f"{path}/{other}", token=moderator)).status == 204


@pytest.mark.parametrize(
    ("grants", "user", "scope"),
    [
        (Grants(room="r", admin=True), None, Scope()),
        (Grants(room="*", read=True), None, Scope()),
        (Grants(room="r", read=True), "ann", Scope(room_id="r")),
        (Grants(room="r"), None, Scope(room_id="r")),
        (Grants(room="*"), "ann", Scope(user_id="ann")),
        (Grants(room="*", start=True, end=True), None, NOTHING),
    ],
)
def test_scopes(grants: Grants, user: str | None, scope: Scope) -> None:
    who = Identity(user_id=user, name="x", guest=user is None, grants=grants)
    assert scope_of(who) == scope
    if scope == NOTHING:
        with pytest.raises(Problem):
            check(who, "end")
