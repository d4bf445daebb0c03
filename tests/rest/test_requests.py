"""What comes in is typed or refused, byte by byte; and what browsers' pages may do."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from server.db.records import Records
from server.http.exchange import Peer, Request
from server.rest import asked, decode, paging
from server.rest.api import Api
from server.rest.calls import utc
from server.rest.openapi import document
from server.rest.problems import Problem
from tests.rest.house import House, serving

PEER = Peer("127.0.0.1", 1, secure=False, loopback=True)


def request(target: str = "/", body: bytes = b"", **headers: str) -> Request:
    given = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request("GET", target, given, PEER, body)


def refused(code: str, *args: Any, **more: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        args[0](*args[1:], **more)
    assert caught.value.code == code
    return caught.value


def test_a_query() -> None:
    query = decode.query_untrusted(
        request("/x?limit=7&roomId=a&since=2026-01-01T00:00:00%2B01:00&status=ENDED"), asked.CallsQuery
    )
    assert (query.limit, query.room_id, query.status) == (7, "a", "ENDED")
    assert isinstance(query.since, datetime)
    assert query.mode is not None
    assert not query.mode


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1e1", "limit"),
        ("limit=%201", "limit"),
        ("limit=", "limit"),
        ("limit=null", "limit"),
        ("limit=1&limit=2", None),
        ("lmit=1", "lmit"),
        ("status=ended", "status"),
        ("since=2026-01-01T00:00:00", "since"),
        ("since=yesterday", "since"),
        ("roomId=a%0A", "roomId"),
        ("roomId=", "roomId"),
        ("userId=%00", "userId"),
        ("cursor=x", "cursor"),
        ("cursor=1.", "cursor"),
        ("userId=%ff", None),
        ("&".join(f"a{n}=1" for n in range(40)), None),
    ],
)
def test_a_query_that_is_refused(query: str, field: str | None) -> None:
    problem = refused("invalid_params", decode.query_untrusted, request(f"/x?{query}"), asked.CallsQuery)
    assert problem.field == field


BODY = b'{"roomId": "r"}'


@pytest.mark.parametrize(
    ("body", "kind", "code", "field"),
    [
        (b"{", "application/json", "malformed", None),
        (b'{"roomId": "\\ud800"}', "application/json", "malformed", None),
        (b"\xff\xfe", "application/json", "malformed", None),
        (b'{"roomId": ' + b"[" * 5000, "application/json", "invalid", "roomId"),
        (b'{"settings": ' + b'{"a":' * 5000, "application/json", "malformed", None),
        (b"[]", "application/json", "invalid", None),
        (b"", "", "invalid", None),
        (b'{"roomId": "a b"}', "application/json", "invalid", "roomId"),
        (b'{"roomId": "r\\n"}', "application/json", "invalid", "roomId"),
        (b'{"roomId": "r", "rooms": 1}', "application/json", "invalid", "rooms"),
        (b'{"roomId": "r", "invite": ["\\u0000"]}', "application/json", "invalid", "invite[0]"),
        (b'{"roomId": "r", "waitS": 1e9}', "application/json", "invalid", "waitS"),
        (b'{"roomId": "r", "policy": "tcp"}', "application/json", "invalid", "policy"),
        (BODY, "", "unsupported_media_type", None),
        (BODY, "text/plain", "unsupported_media_type", None),
        (BODY, "application/x-www-form-urlencoded", "unsupported_media_type", None),
        (BODY, "application/json; charset=utf-16", "unsupported_media_type", None),
    ],
)
def test_a_body_that_is_refused(body: bytes, kind: str, code: str, field: str | None) -> None:
    problem = refused(code, decode.body_untrusted, request(body=body, content_type=kind), asked.OpenCall)
    assert problem.field == field


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=UTF-8"])
def test_a_body(kind: str) -> None:
    assert decode.body_untrusted(request(body=BODY, content_type=kind), asked.OpenCall).room_id == "r"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_body_or_refused(body: bytes) -> None:
    with contextlib.suppress(Problem):
        decode.body_untrusted(request(body=body, content_type="application/json"), asked.OpenCall)


@given(st.text(st.characters(codec="latin-1"), max_size=80))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    with contextlib.suppress(Problem):
        decode.query_untrusted(request("/x?" + text), asked.CallsQuery)


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(5000, 1, 1)),
    st.text(st.characters(min_codepoint=32, exclude_characters="\x7f"), min_size=1, max_size=64),
)
def test_a_cursor_is_the_place_that_it_was_made_of(time: datetime, row_id: str) -> None:
    place = (utc(time.replace(tzinfo=paging._EPOCH.tzinfo)), row_id)
    assert paging.decode(paging.encode(place)) == place


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
async def test_the_edges_of_time(house: House, text: str) -> None:
    """A `+` in a query is quoted."""
    token = house.token("admin")
    for path in ("calls", "statistics/calls", "statistics/transitions"):
        for name in ("since", "until"):
            answer = await house.ask("GET", f"{path}?{name}={text.replace('+', '%2B')}", token=token)
            assert answer.status == 200


async def test_paths_that_lead_nowhere(house: House) -> None:
    for method in ("GET", "POST", "OPTIONS", "PROPFIND"):
        answer = await house.ask(method, "/api/v1/nothing")
        assert (answer.status, answer.code) == (404, "not_found")
    answer = await house.ask("PATCH", "calls")
    assert (answer.status, answer.code, answer.headers["allow"]) == (
        405,
        "method_not_allowed",
        "GET, POST, HEAD",
    )
    head = await house.ask("HEAD", "live-calls", token=house.token("admin"))
    assert (head.status, head.body) == (200, "")
    assert int(head.headers["content-length"]) > 0
    assert (await house.ask("GET", "/api/v2")).status == 404
    large = await house.ask("POST", "calls", b"x" * 70_000, token=house.token("admin"))
    assert large.status == 413


async def test_the_api_tells_what_it_is_without_a_token(house: House) -> None:
    told = await house.ask("GET", "openapi.json")
    assert (told.status, told.headers["content-type"], told.body["openapi"]) == (
        200,
        "application/json",
        "3.1.0",
    )
    assert told.body["paths"] == json.loads(msgspec.json.encode(document("")))["paths"]
    page = await house.ask("GET", "docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "Operations" in page.body


async def test_ids_of_all_kinds(house: House) -> None:
    token = house.token("admin")
    for quoted in ("%2F", "..%2F..%2Fetc", "a%20b", "%E2%82%AC", "'%20OR%201=1", "x" * 64):
        assert (await house.ask("GET", f"calls/{quoted}", token=token)).code == "not_found"
        assert (await house.ask("GET", f"users/{quoted}/calls", token=token)).body["calls"] == []
    for quoted in ("%00", "a%0A", "x" * 65):
        answer = await house.ask("GET", f"calls/{quoted}", token=token)
        assert (answer.status, answer.code, answer.body["field"]) == (400, "invalid_params", "callId")


async def test_pages_of_other_hosts(data_dir: Any, url: str) -> None:
    allowed, other = "https://app.example", "https://evil.example"
    async with serving(data_dir, url, ("rest.allowed_origins", allowed)) as house:
        preflight = {
            "access_control_request_method": "POST",
            "access_control_request_headers": "authorization",
        }
        answer = await house.ask("OPTIONS", "calls", origin=allowed, **preflight)
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == allowed
        assert "Authorization" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers
        answer = await house.ask("OPTIONS", "calls", origin=other, **preflight)
        assert "access-control-allow-origin" not in answer.headers
        for origin in (allowed, other):
            answer = await house.ask("GET", "calls", origin=origin, token=house.token("admin"))
            assert answer.status == 200
            assert (answer.headers.get("access-control-allow-origin") == origin) == (origin == allowed)
            assert answer.headers["vary"] == "Origin"


async def test_a_failure_of_ours_leaks_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(Records, "calls", fail)
    answer = await house.ask("GET", "calls", token=house.token("admin"))
    assert (answer.status, answer.code) == (500, "internal")
    assert "secret" not in str(answer.body)
    assert len(answer.body["incident"]) == 8


async def test_what_is_stuck_is_given_up(data_dir: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: Any, **__: Any) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(Records, "calls", hang)
    monkeypatch.setattr(Api, "LIMIT_S", 0.05)
    async with serving(data_dir, url, ("rest.timeout_s", "0.05")) as house:
        answer = await house.ask("GET", "calls", token=house.token("admin"))
        assert (answer.status, answer.code) == (503, "too_busy")
        assert "retry-after" in answer.headers
