"""Which handler a path leads to, and what is answered where none is."""

from __future__ import annotations

import pytest

from server.http.exchange import Handler, Headers, Peer, Request, Response, Router, allow, text

PEER = Peer("127.0.0.1", 1, secure=False, loopback=True)


def names(word: str) -> Handler:
    async def handler(request: Request) -> Response:
        said = ",".join(f"{name}={value}" for name, value in request.in_path.items())
        return text(200, f"{word} {said}".strip())

    return handler


ROUTES = [
    ("GET", "/calls", names("list")),
    ("POST", "/calls", names("create")),
    ("GET", "/calls/mine", names("mine")),
    ("GET", "/calls/{callId}", names("one")),
    ("DELETE", "/calls/{callId}", names("gone")),
    ("POST", "/calls/{callId}/people/{id}/mute", names("mute")),
]
ROUTER = Router(ROUTES, names("page"), below={"/files/": names("files")})


async def ask(method: str, target: str) -> tuple[int, str, Headers]:
    response = await ROUTER(Request(method, target, [], PEER))
    return response.status, response.body.decode().strip(), response.headers


@pytest.mark.parametrize(
    ("method", "target", "said"),
    [
        ("GET", "/calls", "list"),
        ("HEAD", "/calls?x=1", "list"),
        ("POST", "/calls", "create"),
        ("GET", "/calls/mine", "mine"),
        ("GET", "/calls/c1", "one callId=c1"),
        ("GET", "/calls/c%201?a=b/c", "one callId=c 1"),
        ("GET", "/calls/a%2Fb", "one callId=a/b"),
        ("GET", "/calls/%ff", "one callId=\ufffd"),
        ("GET", "/calls/{callId}", "one callId={callId}"),
        ("DELETE", "/calls/c1", "gone callId=c1"),
        ("POST", "/calls/c1/people/p2/mute", "mute callId=c1,id=p2"),
        ("GET", "/calls/", "page"),
        ("GET", "/calls//", "page"),
        ("GET", "/other", "page"),
        ("HEAD", "/calls/c1/people", "page"),
        ("PATCH", "/files/a/b", "files"),
    ],
)
async def test_where_a_path_leads(method: str, target: str, said: str) -> None:
    assert (await ask(method, target))[:2] == (200, said)


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PUT", "/calls", b"GET, POST, HEAD"),
        ("POST", "/calls/c1", b"DELETE, GET, HEAD"),
        ("HEAD", "/calls/c1/people/p/mute", b"POST"),
        ("POST", "/other", b"GET, HEAD"),
    ],
)
async def test_a_method_that_a_path_does_not_have(method: str, target: str, allowed: bytes) -> None:
    status, _, headers = await ask(method, target)
    assert status == 405
    assert (b"allow", allowed) in headers


async def test_somebody_elses_words_for_it() -> None:
    router = Router(
        ROUTES, names("page"), not_allowed=lambda request, methods: Response(405, [allow(methods)], b"no")
    )
    assert (await router(Request("PUT", "/calls", [], PEER))).body == b"no"


async def test_a_fallback_that_takes_every_method() -> None:
    router = Router(ROUTES, names("nothing"), fallback_takes_all=True)
    response = await router(Request("PUT", "/other", [], PEER))
    assert (response.status, response.body) == (200, b"nothing\n")
    assert (await router(Request("PUT", "/calls", [], PEER))).status == 405
