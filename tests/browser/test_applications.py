"""An application opens a call over REST, and the people in their browsers hear of all that it does to it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.test_ringing import mint
from tests.harness.browsers import Caller
from tests.harness.server_process import ServerProcess


class Application:
    """Asks the REST API with a token that may do everything."""

    def __init__(self, server: ServerProcess) -> None:
        self._base = f"{server.url}api/v1/"
        self._headers = {"Content-Type": "application/json"}
        self._headers["Authorization"] = f"Bearer {mint(server, 'backend', 'admin')}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, self._headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None


@pytest.fixture
def people(chromium: Browser, server_process: ServerProcess) -> Iterator[list[Caller]]:
    """Cleo and Dan in their lobbies, connected by their tokens."""
    contexts = []
    found = []
    for user in ("cleo", "dan"):
        context = chromium.new_context(viewport={"width": 800, "height": 600})
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{server_process.url}#token={mint(server_process, user)}")
        page.wait_for_function("() => window.tandem?.identity?.userId")
        found.append(Caller(page, user))
    yield found
    for context in contexts:
        context.close()


def test_an_application_brings_two_together_and_parts_them(
    people: list[Caller], server_process: ServerProcess, room: str
) -> None:
    cleo, dan = people
    application = Application(server_process)
    body = {"roomId": room, "invite": ["cleo", "dan"], "initiatorName": "Reception", "policy": "sfu"}
    call = application.ask("POST", "calls", body)["call"]
    for one in people:
        expect(one.page.get_by_role("dialog", name="Reception is calling")).to_be_visible()
        one.page.keyboard.press("Enter")
    for one in people:
        one.wait_mode("sfu", 2)
    seen = application.ask("GET", f"calls/{call['id']}")
    assert (seen["status"], seen["mode"], seen["live"]["ringing"]) == ("ACTIVE", "sfu", [])
    ids = {one["userId"]: one["id"] for one in seen["live"]["participants"]}
    application.ask("DELETE", f"calls/{call['id']}/participants/{ids['dan']}")
    expect(dan.page.get_by_text("You are no longer in the call")).to_be_visible()
    cleo.wait("to be alone", lambda state: len(state["participants"]) == 1)
    ended = application.ask("POST", f"calls/{call['id']}/end", {"reason": "closing_time"})
    assert ended["ended"]
    expect(cleo.page.get_by_text("The call has ended")).to_be_visible()
    seen = application.ask("GET", f"calls/{call['id']}")
    assert (seen["status"], seen["endReason"], seen["live"]) == ("ENDED", "closing_time", None)
    reasons = {one["user"]["id"]: one["leftReason"] for one in seen["participants"]}
    assert reasons == {"cleo": None, "dan": "removed"}
