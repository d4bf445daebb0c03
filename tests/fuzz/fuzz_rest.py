"""A REST request's target and body: typed values that can be answered with, or one `Problem`."""

from __future__ import annotations

import msgspec

from server.http.exchange import Handler, Peer, Request, Response, Router
from server.rest import asked, decode, paging
from server.rest.problems import CONTENT_TYPE, Problem
from server.rest.routes import OPERATIONS, Operation

PEER = Peer("127.0.0.1", 1, secure=False, loopback=True)
_BODY = b'{"roomId": "r", "invite": ["u\\u00e9"], "waitS": 5, "settings": {"a": [null]}, "reason": "over"}'
_QUERIES = (
    b"?limit=7&roomId=a&since=2026-01-01T00:00:00%2B01:00&status=ENDED",
    b"?cursor=1760000300000000.c%20m&language=en-GB",
    b"?userId=%E2%82%AC&mode=sfu&callType=AUDIO&until=2026-01-01T00:00:00Z",
)
# The method, the target and the body, a line each.
SEEDS = [
    b"\n".join([one.method.encode(), b"/api/v1" + one.path.encode() + query, _BODY])
    for one in OPERATIONS
    for query in _QUERIES
]


def _decoding(operation: Operation) -> Handler:
    async def handler(request: Request) -> Response:
        try:
            values = [decode.path_untrusted(request, operation.in_path)]
            values.append(decode.query_untrusted(request, operation.query))
            if operation.body is not None:
                values.append(decode.body_untrusted(request, operation.body))
        except Problem as problem:
            return problem.response()
        for value in values:
            msgspec.json.encode(value)
            if isinstance(value, asked.Paged) and value.cursor:
                place = paging.decode(value.cursor)
                assert paging.decode(paging.encode(place)) == place
        return Response(200)

    return handler


async def _nothing(request: Request) -> Response:
    return Response(404)


_ROUTER = Router([(one.method, "/api/v1" + one.path, _decoding(one)) for one in OPERATIONS], _nothing)


def fuzz_one(data: bytes) -> None:
    method, target, body = [*data.split(b"\n", 2), b"", b""][:3]
    headers = [(b"content-type", b"application/json")]
    request = Request(method.decode("latin-1"), target.decode("latin-1"), headers, PEER, body)
    answering = _ROUTER(request)
    try:
        answering.send(None)  # nothing in it waits
    except StopIteration as done:
        response: Response = done.value
        assert response.status in (200, 400, 404, 405, 415, 422)
        if response.status in (400, 422):
            assert (b"content-type", CONTENT_TYPE) in response.headers
    else:
        raise AssertionError("it waits")
