"""Lost connections and a killed server: media goes on, people come back by themselves, rows are true."""

from __future__ import annotations

from playwright.sync_api import Browser

from tests.harness.browsers import Callers, callers
from tests.harness.relay import Relay
from tests.harness.server_process import ServerProcess

_CALLS = """
SELECT id, status::text, "endReason", "endedAt" FROM call_sessions WHERE "roomId" = $1 ORDER BY "createdAt"
"""
_HERE = 'SELECT count(*)::int AS here FROM call_participants WHERE "callSessionId" = $1 AND "leftAt" IS NULL'

# The longest time without a newly presented frame of the other participant, whichever element shows it.
_WATCH = """
window.longestGapMs = 0;
let last = null;
const follow = (video) => video.requestVideoFrameCallback((now) => {
  if (video.dataset.active === 'true') {
    if (last !== null) window.longestGapMs = Math.max(window.longestGapMs, now - last);
    last = now;
  }
  follow(video);
});
const followed = new WeakSet();
new MutationObserver(() => {
  for (const video of document.querySelectorAll('video[data-source=camera][data-participant-id]')) {
    if (followed.has(video)) continue;
    followed.add(video);
    follow(video);
  }
}).observe(document, { childList: true, subtree: true });
"""


def test_a_websocket_cut_for_ten_seconds_stops_no_media(
    opened: Callers, room: str, server_process: ServerProcess
) -> None:
    with Relay(server_process.http_port) as relay:
        ada = opened.join(room, "Ada", url=relay.url, init_script=_WATCH)
        ben = opened.join(room, "Ben", init_script=_WATCH)
        for one in (ada, ben):
            one.wait_mode("p2p", 2)
            one.wait_playing(1)
        me = ada.id
        for one in (ada, ben):
            one.page.evaluate("() => { window.longestGapMs = 0; }")
        relay.cut()
        ada.wait("cut", lambda state: not state["connected"])
        ben.wait("reconnecting", lambda state: _status(state, me) == "reconnecting")
        assert ada.page.is_visible("text=The server is away")
        ada.page.wait_for_timeout(10_000)
        relay.mend()
        ada.wait("connection", lambda state: state["connected"], 15)
        ben.wait("resumption", lambda state: _status(state, me) == "connected")
        assert ada.id == me
        for one in (ada, ben):
            one.wait_playing(1)
            assert one.page.evaluate("() => window.longestGapMs") < 1_000
        ada.leave()
        ben.wait("departure", lambda state: len(state["participants"]) == 1)


def test_a_killed_server_comes_back_with_its_calls(
    chromium: Browser, own_server: ServerProcess, room: str
) -> None:
    with callers(chromium, own_server.url) as opened:
        ada, ben = opened.join(room, "Ada", init_script=_WATCH), opened.join(room, "Ben", init_script=_WATCH)
        for one in (ada, ben):
            one.wait_mode("p2p", 2)
            one.wait_playing(1)
        [first] = own_server.rows(_CALLS, room)
        before = {ada.id, ben.id}
        for one in (ada, ben):
            one.page.evaluate("() => { window.longestGapMs = 0; }")
        own_server.kill()
        for one in (ada, ben):
            one.wait("loss", lambda state: not state["connected"])
            one.wait_playing(1)  # straight from one to the other
        own_server.start()
        for one in (ada, ben):
            one.wait("return", lambda state: state["connected"] and state["participantId"] not in before, 20)
            one.wait_mode("p2p", 2, 20)
            one.wait_playing(1)
            assert one.page.evaluate("() => window.longestGapMs") < 1_000
            assert not one.errors
        [again] = own_server.rows(_CALLS, room)
        assert again["id"] == first["id"]  # closed at the start, and opened again by those who came back
        assert (again["status"], again["endedAt"], again["endReason"]) == ("ACTIVE", None, None)
        assert own_server.rows(_HERE, first["id"]) == [{"here": 2}]
        ada.leave()
        ben.leave()


def test_three_come_back_to_the_sfu(chromium: Browser, own_server: ServerProcess, room: str) -> None:
    with callers(chromium, own_server.url) as opened:
        people = [opened.join(room, name) for name in ("Ada", "Ben", "Cleo")]
        for one in people:
            one.wait_mode("sfu", 3)
        before = {one.id for one in people}
        own_server.kill()
        own_server.start()
        for one in people:
            one.wait("return", lambda state: state["connected"] and state["participantId"] not in before, 30)
        for one in people:
            one.wait_mode("sfu", 3, 30)
            one.wait_playing(2, 15)
            assert not one.errors


def test_a_server_that_stops_in_order_is_waited_for(
    chromium: Browser, own_server: ServerProcess, room: str
) -> None:
    with callers(chromium, own_server.url) as opened:
        ada, ben = opened.join(room, "Ada"), opened.join(room, "Ben")
        for one in (ada, ben):
            one.wait_mode("p2p", 2)
        first = ada.state()["callId"]
        assert own_server.stop() == 0
        own_server.start()
        for one in (ada, ben):
            one.wait("new call", lambda state: state["connected"] and state["callId"] != first, 30)
            one.wait_mode("p2p", 2, 20)
            one.wait_playing(1)


def _status(state: dict[str, list[dict[str, str]]], participant_id: str) -> str | None:
    return next(
        (one["status"] for one in state["participants"] if one["participantId"] == participant_id), None
    )
