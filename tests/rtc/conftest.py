from __future__ import annotations

from pathlib import Path

import pytest

from server.rtc.certificate import Certificate
from server.rtc.parameters import IceCandidate, IceParameters

FIXTURES = Path(__file__).parent / "fixtures"
NOW = 1_800_000_000.0


@pytest.fixture(scope="session")
def certificate() -> Certificate:
    return Certificate.generate(NOW)


@pytest.fixture(scope="session")
def ice() -> IceParameters:
    return IceParameters(
        "serverufrag",
        "server-password-of-some-length",
        [
            IceCandidate("1", 2130706431, "192.0.2.1", 40000, "udp"),
            IceCandidate("2", 2130706430, "2001:db8::1", 40000, "udp"),
            IceCandidate("3", 1671430143, "192.0.2.1", 40000, "tcp", tcp_type="passive"),
        ],
    )


def fixture(name: str) -> str:
    """A description that a real browser wrote, with its own line ends."""
    return (FIXTURES / f"{name}.sdp").read_bytes().decode()
