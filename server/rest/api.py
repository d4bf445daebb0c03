"""`/api/v1/`: from an HTTP request to an operation and back.

Always by token: there is no cookie, so no page can use another's right by making its visitor's browser send
a request; and what pages of other hosts may read is for the setting to say (CORS), never for everybody.
"""

from __future__ import annotations

import functools
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable

import msgspec
import structlog
import trio

from server.errors import ClientError, Unavailable
from server.http.exchange import Handler, Headers, Request, Response, Router, allow
from server.rest import access, decode
from server.rest.desk import Ask, Desk
from server.rest.openapi import KEY, KEY_LIMIT, document
from server.rest.page import page
from server.rest.problems import Problem, problem_of, too_many
from server.rest.routes import BASE, OPERATIONS, Operation
from server.rest.settings import RestSettings
from server.session.identity import Identity
from server.signaling.bucket import TokenBucket
from server.signaling.messages import Hello

log = structlog.get_logger("rest")
CALLERS = 4096  # whose buckets are kept
_JSON: Headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


def _encoded(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


class Api:
    """The handler of everything below `/api/`. `counters` only grow."""

    # And twice the database's time: longer than an operation's own waits together. What this ends is stuck.
    LIMIT_S = 4.0

    def __init__(
        self,
        desk: Desk,
        authenticate: Callable[[Hello], Identity],  # raises ClientError
        settings: RestSettings,
        version: str,
    ) -> None:
        self._desk = desk
        self._authenticate = authenticate
        self._settings = settings
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self.counters: Counter[str] = Counter()
        routes: list[tuple[str, str, Handler]] = [
            (one.method, BASE + one.path, functools.partial(self._answer, one)) for one in OPERATIONS
        ]
        html = [(b"content-type", b"text/html; charset=utf-8")]
        routes.append(("GET", f"{BASE}/openapi.json", _made(_JSON, lambda: _encoded(document(version)))))
        routes.append(("GET", f"{BASE}/docs", _made(html, lambda: page(version))))
        self._router = Router(routes, _nothing_here, not_allowed=_not_allowed, fallback_takes_all=True)

    async def __call__(self, request: Request) -> Response:
        self.counters["requests"] += 1
        asks_before = request.header(b"access-control-request-method") is not None
        if request.method == "OPTIONS" and asks_before and request.header(b"origin") is not None:
            response = Response(204)
        else:
            response = await self._router(request)
        self.counters[f"answers_{response.status // 100}xx"] += 1
        return self._for_pages(request, response)

    async def _answer(self, operation: Operation, request: Request) -> Response:
        try:
            with trio.move_on_after(self.LIMIT_S + 2 * self._settings.timeout_s):
                return await self._operate(operation, request)
            raise Problem("too_busy", "That took too long here: come back in a moment.")
        except Problem as problem:
            return problem.response()
        except ClientError as error:
            return problem_of(error).response()
        except Unavailable as error:
            log.warning("records_unavailable", operation=operation.id, error=str(error))
            return Problem("database_away", "The records cannot be read now; live calls can.").response()
        except Exception:
            incident = secrets.token_hex(4)
            log.exception("operation_failed", operation=operation.id, incident=incident)
            return Problem("internal", "That went wrong here.", incident=incident).response()

    async def _operate(self, operation: Operation, request: Request) -> Response:
        who = self._who(request)
        key = (
            decode.header_untrusted(request, KEY.lower().encode(), limit=KEY_LIMIT)
            if operation.keyed
            else None
        )
        scope = access.scope_of(who)
        ask = Ask(request, who, scope, path=None, query=None, body=None, key=key)
        self._count(ask.caller)
        access.check(who, operation.need)
        path = decode.path_untrusted(request, operation.in_path)
        query = decode.query_untrusted(request, operation.query)
        body = None if operation.body is None else decode.body_untrusted(request, operation.body)
        ask = Ask(request, who, scope, path=path, query=query, body=body, key=key)
        result = await operation.run(self._desk, ask)
        if result is None:
            return Response(operation.status, [(b"cache-control", b"no-store")])
        headers = _JSON
        if operation.made_at is not None:
            headers = [*_JSON, (b"location", (BASE + operation.made_at(result)).encode())]
        return Response(operation.status, headers, _encoded(result))

    def _who(self, request: Request) -> Identity:
        """Never a guest of `--dev`: without a token there is nothing here."""
        scheme, _, token = (request.header(b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Problem("token_missing", "A token is needed here: `Authorization: Bearer` and the token.")
        return self._authenticate(Hello(token=token.strip()))

    def _count(self, caller: str) -> None:
        now = trio.current_time()
        bucket = self._buckets.get(caller)
        if bucket is None:
            rate, burst = self._settings.requests_per_s, self._settings.request_burst
            bucket = self._buckets[caller] = TokenBucket(rate=rate, burst=burst, now=now)
            while len(self._buckets) > CALLERS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(caller)
        if not bucket.take(1, now):
            raise too_many(bucket.wait_s(1))

    def _for_pages(self, request: Request, response: Response) -> Response:
        """Lets scripts of allowed origins read it (the CORS protocol of the Fetch standard)."""
        origin = request.header(b"origin")
        headers: Headers = [*response.headers, (b"vary", b"Origin")]
        if origin is not None and origin in self._settings.allowed_origins:
            headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-allow-methods", b"GET, POST, DELETE"),
                (b"access-control-allow-headers", b"Authorization, Content-Type, Idempotency-Key"),
                (b"access-control-expose-headers", b"Location, Retry-After"),
                (b"access-control-max-age", b"600"),
            ]
        return Response(response.status, headers, response.body)


def _made(headers: Headers, make: Callable[[], bytes]) -> Handler:
    """What never changes, made when it is first asked for."""
    kept = functools.cache(make)

    async def handler(request: Request) -> Response:
        return Response(200, headers, kept())

    return handler


async def _nothing_here(request: Request) -> Response:
    return Problem("not_found", f"There is nothing here: {BASE}/docs tells what there is.").response()


def _not_allowed(request: Request, methods: list[str]) -> Response:
    return Problem("method_not_allowed", "Not by this method.", headers=[allow(methods)]).response()
