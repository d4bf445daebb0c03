"""What an endpoint says of itself to servers that are no lite ICE agents: they ask where to check."""

from __future__ import annotations

from typing import Any

from bench.load.endpoint import Endpoint


def side(endpoint: Endpoint) -> dict[str, Any]:
    """What tests.harness.sdp_client wants of it."""
    fingerprint = endpoint.certificate.fingerprint("sha-256")
    return {"ufrag": endpoint.ufrag, "pwd": endpoint.pwd, "fingerprint": fingerprint}


def candidate(endpoint: Endpoint) -> str:
    """Lines for the last section of an SDP."""
    host, port = endpoint.address
    return f"a=candidate:1 1 udp 2130706431 {host} {port} typ host\r\na=end-of-candidates\r\n"
