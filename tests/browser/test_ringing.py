"""Ringing, with tokens: somebody is called, answers or declines; and a user who joins twice is in once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.harness.browsers import Caller
from tests.harness.server_process import ROOT, ServerProcess

_CALLS = """
    SELECT status::text AS status, "endReason" AS reason, "initiatorId" AS initiator, duration,
           "startedAt" IS NOT NULL AS started
      FROM call_sessions WHERE "roomId" = $1 ORDER BY "createdAt"
"""
_USERS = """
    SELECT p."userId" AS "user", p.role
      FROM call_participants p JOIN call_sessions s ON s.id = p."callSessionId"
     WHERE s."roomId" = $1 ORDER BY p."joinedAt"
"""


def mint(server: ServerProcess, user: str, can: str = "start,publish,end") -> str:
    command = [sys.executable, "-m", "server", "token", "--json", "--data-dir", str(server.data_dir)]
    command += ["--user", user, "--name", user.title(), "--room", "*", "--can", can]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    token: str = json.loads(done.stdout)["token"]
    return token


@pytest.fixture
def people(chromium: Browser, own_server: ServerProcess) -> Iterator[tuple[Caller, Caller]]:
    """Ada and Ben in their lobbies, connected by their tokens."""
    contexts = []
    callers = []
    for user in ("ada", "ben"):
        context = chromium.new_context(viewport={"width": 800, "height": 600})
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{own_server.url}#token={mint(own_server, user)}")
        page.wait_for_function("() => window.tandem?.identity?.userId")
        callers.append(Caller(page, user))
    yield callers[0], callers[1]
    for context in contexts:
        context.close()


def ring(caller: Caller, room: str, user: str) -> None:
    caller.page.evaluate("() => tandem.media.open()")
    caller.page.evaluate("([roomId, user]) => tandem.start({ roomId, invite: [user] })", [room, user])


def test_a_ring_is_answered(people: tuple[Caller, Caller], own_server: ServerProcess, room: str) -> None:
    ada, ben = people
    ring(ada, room, "ben")
    dialog = ben.page.get_by_role("dialog", name="Ada is calling")
    expect(dialog).to_be_visible()
    [ringing] = own_server.rows(_CALLS, room)
    assert (ringing["status"], ringing["started"]) == ("INITIATED", False)
    ben.page.keyboard.press("Enter")  # the answer button has the focus
    for one in people:
        one.wait_mode("p2p", 2)
        assert not one.errors
    [answered] = own_server.rows(_CALLS, room)
    assert (answered["status"], answered["initiator"], answered["started"]) == ("ACTIVE", "ada", True)
    assert own_server.rows(_USERS, room) == [
        {"user": "ada", "role": "host"},
        {"user": "ben", "role": "participant"},
    ]
    ada.call("end()")
    ben.wait("the end", lambda state: state["callId"] is None)
    [ended] = own_server.rows(_CALLS, room)
    assert (ended["status"], ended["reason"]) == ("ENDED", "ended")


def test_a_ring_is_declined(people: tuple[Caller, Caller], own_server: ServerProcess, room: str) -> None:
    ada, ben = people
    ring(ada, room, "ben")
    expect(ben.page.get_by_role("dialog", name="Ada is calling")).to_be_visible()
    ben.page.keyboard.press("Escape")
    ada.wait("the refusal", lambda state: state["callId"] is None)
    expect(ben.page.get_by_role("dialog", name="Ada is calling")).to_be_hidden()
    [declined] = own_server.rows(_CALLS, room)
    assert (declined["status"], declined["reason"], declined["started"]) == ("REJECTED", "rejected", False)
    assert declined["duration"] is None


def test_a_second_tab_of_the_same_user_takes_over(
    people: tuple[Caller, Caller], own_server: ServerProcess, room: str
) -> None:
    ada, ben = people
    for one in people:
        one.page.evaluate("async (roomId) => { await tandem.media.open(); await tandem.join(roomId); }", room)
    for one in people:
        one.wait_mode("p2p", 2)
    page = ada.page.context.new_page()
    page.goto(f"{own_server.url}?room={room}&autojoin=1#token={mint(own_server, 'ada')}")
    page.wait_for_function("() => window.tandem !== undefined")
    again = Caller(page, "ada")
    for one in (again, ben):
        one.wait_mode("p2p", 2)
        one.wait_playing(1)
    assert ada.state()["callId"] is None
    expect(ada.page.get_by_text("You are in this call elsewhere")).to_be_visible()
    assert [one["user"] for one in own_server.rows(_USERS, room)] == ["ada", "ben"]  # one row a user
