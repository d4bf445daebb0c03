"""The first call: two people peer to peer, three through the SFU, and back; seen, heard and in the rows."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.harness.browsers import Callers
from tests.harness.server_process import ServerProcess

_CALL = """
SELECT s.status::text, s.mode, s."sfuRoomId", s."modeChangeCount", s."endedAt", m."modeTransitions"
  FROM call_sessions s LEFT JOIN call_metrics m ON m."callSessionId" = s.id WHERE s.id = $1
"""
_PEOPLE = """
SELECT p.status, p."leftAt", p."sfuSendTransportId", p."sfuAudioProducerId", p."sfuVideoProducerId", a.name
  FROM call_participants p JOIN anonymous_participants a ON a.id = p."anonymousUserId"
 WHERE p."callSessionId" = $1 ORDER BY p."joinedAt"
"""

# What the camera in view is decoded from.
_CODEC = """async () => {
  const [remote] = tandem.call.shown;
  const reports = await remote.active.connection.pc.getStats();
  const id = remote.active.stream.getVideoTracks()[0].id;
  for (const one of reports.values()) {
    if (one.type === 'inbound-rtp' && one.trackIdentifier === id) return reports.get(one.codecId)?.mimeType;
  }
}"""


def test_two_then_three_then_two(opened: Callers, room: str, server_process: ServerProcess) -> None:
    ada = opened.join(room, "Ada")
    ada.wait("call", lambda state: state["callId"])
    ben = opened.join(room, "Ben")
    for one in (ada, ben):
        state = one.wait_mode("p2p", 2)
        one.wait_playing(1)
        assert [p["name"] for p in state["participants"] if p["self"]] == [one.name]
        assert state["switches"] == []  # the first connection is no switch
    call_id = ada.state()["callId"]
    [call] = server_process.rows(_CALL, call_id)
    assert (call["status"], call["mode"], call["sfuRoomId"]) == ("ACTIVE", "p2p", None)

    cleo = opened.join(room, "Cleo")
    for one in (ada, ben, cleo):
        one.wait_mode("sfu", 3)
        seen = one.wait_playing(2)
        assert all(what["cameras"] <= 2 and what["camera"]["path"] == "sfu" for what in seen.values())
    _steady(ada, 2)
    [call] = server_process.rows(_CALL, call_id)
    assert (call["status"], call["mode"], call["modeChangeCount"]) == ("ACTIVE", "sfu", 1)
    assert call["sfuRoomId"]
    people = server_process.rows(_PEOPLE, call_id)
    assert [one["name"] for one in people] == ["Ada", "Ben", "Cleo"]
    assert all(
        one["sfuSendTransportId"] and one["sfuAudioProducerId"] and one["sfuVideoProducerId"]
        for one in people
    )

    cleo.leave()
    for one in (ada, ben):
        one.wait_mode("p2p", 2, 20)
        one.wait_playing(1)
    # What the switches cost is told about two seconds after them, by one client after the other, and stored.
    ada.wait("both switches measured", lambda now: len(_measured(now)) == 2)
    ada.page.wait_for_timeout(1_500)
    to_sfu, to_p2p = _measured(ada.state())
    assert (to_sfu["from"], to_sfu["to"], to_sfu["reason"]) == ("p2p", "sfu", "participant_joined")
    assert (to_p2p["from"], to_p2p["to"], to_p2p["reason"]) == ("sfu", "p2p", "participant_left")
    [call] = server_process.rows(_CALL, call_id)
    assert (call["mode"], call["sfuRoomId"], call["modeChangeCount"]) == ("p2p", None, 2)
    same = ("epoch", "from", "to", "reason", "maxVideoGapMs", "maxAudioGapMs")
    told = [{key: one[key] for key in same} for one in (to_sfu, to_p2p)]
    assert [{key: one[key] for key in same} for one in call["modeTransitions"]] == told
    people = server_process.rows(_PEOPLE, call_id)
    assert [one["leftAt"] is None for one in people] == [True, True, False]
    assert all(one["sfuSendTransportId"] is None for one in people)
    assert ada.errors + ben.errors + cleo.errors == []


def test_two_are_connected_within_two_seconds(opened: Callers) -> None:
    """From opening the link to seeing and hearing one another; best of three, as the machine is shared."""
    best = float("inf")
    for attempt in range(3):
        room = f"quick-{attempt}"
        ada = opened.join(room, "Ada")
        ada.wait("call", lambda state: state["callId"])
        began = time.monotonic()
        ben = opened.join(room, "Ben")
        ben.wait_mode("p2p", 2)
        ada.wait_mode("p2p", 2)
        best = min(best, time.monotonic() - began)
        for one in (ada, ben):
            one.wait_playing(1)
        for one in (ada, ben):
            one.close()
    assert best < 2.0


def test_six_in_one_call(opened: Callers, room: str) -> None:
    people = [opened.join(room, f"Person {number}", viewport=(480, 360)) for number in range(1, 7)]
    for one in people:
        one.wait_mode("sfu", 6, 40)
    for one in people:
        one.wait_playing(5, 20)
    assert not any(one.errors for one in people)


def _steady(one: Any, others: int) -> None:
    """Soon after a switch there is exactly one camera element for each other participant."""
    one.page.wait_for_function(
        """(count) =>
          document.querySelectorAll('video[data-source=camera][data-participant-id]').length === count""",
        arg=others,
        timeout=8_000,
    )


def _measured(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        one
        for one in state["switches"]
        if one["maxVideoGapMs"] is not None and one["maxAudioGapMs"] is not None
    ]


@pytest.mark.parametrize("codec", ["VP9", "H264", "AV1"])
def test_a_preferred_codec_is_used_on_both_paths(opened: Callers, room: str, codec: str) -> None:
    ada, ben = opened.join(room, "Ada", codec=codec), opened.join(room, "Ben", codec=codec)
    for mode in ("p2p", "sfu"):
        if mode == "sfu":
            ada.call("requestMode('sfu')")
        for one in (ada, ben):
            one.wait_mode(mode, 2)
            one.wait_playing(1)
            assert one.page.evaluate(_CODEC) == f"video/{codec}"
