"""What is answered instead: RFC 9457 problem details, with a stable code, the field and what to do.

`PROBLEMS` lists every code with its status. Those of `ClientError` come from the rest of the server, which
refuses here what it refuses over the WebSocket.
"""

from __future__ import annotations

import http
from typing import Any

import msgspec

from server.errors import ClientError
from server.http.exchange import Headers, Response

CONTENT_TYPE = b"application/problem+json"
DOCUMENTED_AT = "/api/v1/docs"
RETRY_S = 2  # for what is away or busy

# code: (status, what it means and what to do)
PROBLEMS: dict[str, tuple[int, str]] = {
    "malformed": (400, "the body is not JSON, or a header is said twice or not as it must be"),
    "invalid_params": (400, "`field`, in the path or the query, is not as the schema says"),
    "token_missing": (401, "send `Authorization: Bearer` with a token; `tandem token` makes one"),
    "token_invalid": (401, "the token was not signed for this server, or its claims are unusable"),
    "token_expired": (401, "get a new token"),
    "forbidden": (403, "the token does not grant this"),
    "not_found": (404, "there is no such thing, or it is none of this token's"),
    "method_not_allowed": (405, "the header `Allow` has the methods of this path"),
    "bad_state": (409, "not possible now; `callId` names the call that is in the way"),
    "unsupported_media_type": (415, "send the body as `application/json`"),
    "invalid": (422, "`field`, in the body, is not as the schema says, or makes no sense beside the others"),
    "too_large": (422, "`field` is larger than `limit` bytes as JSON"),
    "key_reused": (422, "this Idempotency-Key came with another body before: use a new one"),
    "rate_limited": (429, "too many requests; wait `Retry-After` seconds"),
    "internal": (500, "our failure; look for `incident` in the server's log"),
    "database_away": (503, "the records cannot be read now; live calls can; come back after `Retry-After`"),
    "too_busy": (503, "that took too long here; come back after `Retry-After`"),
    "room_limit": (503, "the server has as many calls as it takes"),
    "draining": (503, "the server is about to stop: come back in a moment"),
}


class ProblemDetails(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """RFC 9457: what went wrong and what to do about it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    call_id: str | None = None
    limit: int | None = None
    incident: str | None = None


class Problem(Exception):
    """A refusal; `code` is one of `PROBLEMS`."""

    def __init__(
        self, code: str, detail: str, *, field: str | None = None, headers: Headers | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field
        self.headers = headers or []
        self.more = more

    def response(self) -> Response:
        status, _ = PROBLEMS[self.code]
        details = ProblemDetails(
            type=f"{DOCUMENTED_AT}#{self.code}",
            title=http.HTTPStatus(status).phrase,
            status=status,
            detail=self.detail,
            code=self.code,
            field=self.field,
            **self.more,
        )
        headers = [(b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store"), *self.headers]
        if status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="tandem"'))
        if status in (429, 503) and not any(name == b"retry-after" for name, _ in headers):
            headers.append((b"retry-after", str(RETRY_S).encode()))
        return Response(status, headers, msgspec.json.encode(details) + b"\n")


def problem_of(error: ClientError) -> Problem:
    """What the rest of the server refuses, in this API's words."""
    code = error.code if error.code in PROBLEMS else "bad_state"
    more = {"call_id": error.data.get("callId"), "limit": error.data.get("limit")}
    return Problem(code, error.message, field=error.field, **more)


def too_many(wait_s: float) -> Problem:
    seconds = max(1, round(wait_s + 0.5))
    return Problem(
        "rate_limited",
        "Too many requests: wait and send again.",
        headers=[(b"retry-after", str(seconds).encode())],
    )
