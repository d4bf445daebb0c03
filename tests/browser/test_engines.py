"""A call whose people are on two media engines: nobody notices."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.harness.browsers import callers
from tests.harness.postgres import public_dir
from tests.harness.server_process import ServerProcess


@pytest.fixture
def two_engines() -> Iterator[ServerProcess]:
    with public_dir() as folder:
        flags = [part for one in ("media.engines=2", "media.spread_above=0") for part in ("--set", one)]
        server = ServerProcess(folder / "data", *flags).start()
        yield server
        server.stop()


def figures(server: ServerProcess) -> dict[str, float]:
    with urllib.request.urlopen(server.url + "metrics", timeout=5) as answer:
        found = re.findall(r"^tandem_media_(\w+) (\S+)$", answer.read().decode(), re.M)
    return {name: float(value) for name, value in found}


def test_three_on_two_engines(chromium: Browser, two_engines: ServerProcess, room: str) -> None:
    with callers(chromium, two_engines.url) as opened:
        people = [opened.join(room, name) for name in ("Ada", "Ben", "Cleo")]
        for one in people:
            one.wait_mode("sfu", 3)
            one.wait_playing(2)
        found = figures(two_engines)
        assert found["engines"] == 2
        assert found["engine_0_forwarded"] > 0
        assert found["engine_1_forwarded"] > 0, "everybody receives on the same engine"
        assert found["relayed_in"] > 0
        assert found["relay_video_dropped"] == found["relay_audio_dropped"] == 0
        people[2].leave()
        for one in people[:2]:
            one.wait_mode("p2p", 2, 20)
            one.wait_playing(1)
