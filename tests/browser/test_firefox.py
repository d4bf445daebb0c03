"""Firefox and Chromium in one call."""

from __future__ import annotations

from playwright.sync_api import Browser

from tests.harness.browsers import Callers, callers
from tests.harness.server_process import ServerProcess


def test_firefox_joins_chromium(
    opened: Callers, firefox: Browser, server_process: ServerProcess, room: str
) -> None:
    ada = opened.join(room, "Ada")
    ada.wait("call", lambda state: state["callId"])
    with callers(firefox, server_process.url) as foxes:
        finn = foxes.join(room, "Finn")
        for one in (ada, finn):
            one.wait_mode("p2p", 2, 20)
            one.wait_playing(1, 15)
        cleo = opened.join(room, "Cleo")
        for one in (ada, finn, cleo):
            one.wait_mode("sfu", 3, 20)
            one.wait_playing(2, 15)
        cleo.leave()
        for one in (ada, finn):
            one.wait_mode("p2p", 2, 20)
            one.wait_playing(1, 15)
            assert not one.errors
