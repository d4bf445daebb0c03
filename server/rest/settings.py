"""Settings of the REST API. Units are part of the names."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Rate = Annotated[float, Meta(gt=0, le=100_000, description="above 0, at most 100000")]
Amount = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")]
Seconds = Annotated[float, Meta(gt=0, le=60, description="seconds, above 0 and at most 60")]
Origins = Annotated[list[str], Meta(description="a list of origins such as https://example.org")]


class RestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one token may ask, and whose pages may ask with one."""

    allowed_origins: Origins = []  # of pages on other hosts whose scripts may use the API (CORS)
    requests_per_s: Rate = 50.0  # of one token's user or room
    request_burst: Amount = 200
    timeout_s: Seconds = 3.0  # for an answer of the database
