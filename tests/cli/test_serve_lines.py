"""What `tandem serve` tells at its start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.app import Started
from server.cli.serve import _lines


def lines(**changed: Any) -> str:
    plain: dict[str, Any] = {
        "version": "1",
        "port": 8443,
        "addresses": [],
        "public_host": None,
        "self_signed": True,
        "media_ports": [8444],
        "media_tcp": True,
        "database": "external",
        "dev": False,
        "data_dir": Path("/data"),
    }
    return "\n".join(_lines(Started(**{**plain, **changed})))


@pytest.mark.parametrize(
    ("ports", "tcp", "told"),
    [
        ([8444], True, "UDP and TCP port 8444"),
        ([8444], False, "UDP port 8444"),
        ([8444, 8445, 8446], True, "UDP and TCP ports 8444 to 8446"),
        ([40001, 50003], True, "UDP and TCP ports 40001, 50003"),
    ],
)
def test_all_media_ports_are_told(ports: list[int], tcp: bool, told: str) -> None:
    assert f" {told}\n" in lines(media_ports=ports, media_tcp=tcp)
