"""Settings of tokens and of one WebSocket. Units are part of the names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, le=86_400, description="seconds, above 0 and at most 86400")]
Amount = Annotated[int, Meta(ge=1, le=10_000_000, description="a whole number from 1 to 10000000")]
Rate = Annotated[float, Meta(gt=0, le=100_000, description="above 0, at most 100000")]
Leeway = Annotated[float, Meta(ge=0, le=300, description="seconds, 0 to 300")]
Secret = Annotated[str, Meta(min_length=32, description="a secret of at least 32 characters")]


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call. Tokens are JWTs: HS256 by `secret`, or signed by a holder of one of `public_keys`."""

    secret: Secret | None = None
    public_keys: list[Path] = []  # PEM files, RSA or EC or Ed25519
    issuer: str | None = None  # a token's "iss" must be this
    audience: str | None = None  # a token's "aud" must contain this
    leeway_s: Leeway = 5.0


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one WebSocket may cost."""

    message_bytes: Amount = 393_216  # the largest SDP, as JSON
    requests_per_s: Rate = 50.0
    request_burst: Amount = 200
    pending_requests: Amount = 256
    outbound_messages: Amount = 1024  # waiting for a slow reader
    outbound_bytes: Amount = 4_000_000
    hello_timeout_s: Seconds = 10.0
    ping_interval_s: Seconds = 20.0
    ping_timeout_s: Seconds = 20.0
