"""Settings of the TCP port. Units are part of the names; an error message tells `Meta.description`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65_535, description="a port, 0 to 65535 (0: any free one)")]
Seconds = Annotated[float, Meta(gt=0, le=86_400, description="seconds, above 0 and at most 86400")]
Amount = Annotated[int, Meta(ge=1, le=10_000_000, description="a whole number from 1 to 10000000")]
Addresses = Annotated[list[str], Meta(description="a list of IP addresses")]
Origins = Annotated[list[str], Meta(description="a list of origins such as https://example.org")]


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The one TCP port of the page, the API and the WebSocket."""

    addresses: Addresses = []  # to listen on; empty: all, IPv4 and IPv6
    port: Port = 8443
    public_host: str | None = None  # the name people use for this server, for links; detected otherwise
    certificate: Path | None = None  # PEM with the chain; a self-signed one is made without it
    key: Path | None = None
    allow_plain: bool = False  # serve plain HTTP to other machines too (behind a TLS proxy)
    allowed_origins: Origins = []  # of pages on other hosts that may open the WebSocket
    metrics_token: str | None = None  # lets other machines read /metrics
    max_connections: Amount = 4096
    max_connections_per_address: Amount = 256
    max_header_bytes: Amount = 16_384
    max_body_bytes: Amount = 65_536
    request_timeout_s: Seconds = 10.0  # TLS handshake, or one whole request, or writing its answer
    idle_timeout_s: Seconds = 60.0  # between two requests
