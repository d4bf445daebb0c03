"""Mute, camera, screen share and another device: seen by the others and in the rows."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.harness.browsers import Caller, Callers
from tests.harness.server_process import ServerProcess

_ME = """
SELECT "audioEnabled", "videoEnabled", "screenShareEnabled", "wasMuted", "hadVideo", "qualityMetrics"
  FROM call_participants WHERE "callSessionId" = $1 AND id = $2
"""


def _of(state: dict[str, Any], participant_id: str) -> dict[str, Any]:
    return next(one for one in state["participants"] if one["participantId"] == participant_id)


def _row(server: ServerProcess, caller: Caller, **wanted: Any) -> dict[str, Any]:
    """The caller's row, as soon as it has these values: changes are written in order, a moment later."""
    state = caller.state()
    for _ in range(40):
        [row] = server.rows(_ME, state["callId"], state["participantId"])
        if all(row[key] == value for key, value in wanted.items()):
            return row
        time.sleep(0.1)
    raise AssertionError(f"{row} never became {wanted}")


@pytest.mark.parametrize("mode", ["p2p", "sfu"])
def test_what_one_switches_is_seen_by_the_other(
    opened: Callers, room: str, server_process: ServerProcess, mode: str
) -> None:
    ada, ben = opened.join(room, "Ada"), opened.join(room, "Ben")
    for one in (ada, ben):
        one.wait_mode("p2p", 2)
        one.wait_playing(1)
    if mode == "sfu":
        ada.call("requestMode('sfu')")
        for one in (ada, ben):
            one.wait_mode("sfu", 2)
            one.wait_playing(1)
    me = ada.id

    ada.call("setMicrophone(false)")
    ben.wait("mute", lambda state: not _of(state, me)["audioEnabled"])
    ben.wait("silence", lambda state: not _of(state, me)["speaking"])
    _row(server_process, ada, audioEnabled=False, wasMuted=True)
    ada.call("setMicrophone(true)")
    ben.wait("speech", lambda state: _of(state, me)["audioEnabled"] and _of(state, me)["speaking"])

    ada.call("setCamera(false)")
    ben.wait("camera off", lambda state: not _of(state, me)["videoEnabled"])
    ben.page.wait_for_selector(f'.tile:has(video[data-participant-id="{me}"]) .avatar >> visible=true')
    _row(server_process, ada, videoEnabled=False, hadVideo=True)
    ada.call("setCamera(true)")
    ben.wait("camera on", lambda state: _of(state, me)["videoEnabled"])
    ben.wait_playing(1)

    assert ada.call("setScreen(true)") is True
    ben.wait("screen", lambda state: _of(state, me)["screenShareEnabled"])
    ben.page.wait_for_function(
        """(id) =>
          document.querySelector(`video[data-source=screen][data-participant-id='${id}']`)?.videoWidth > 0""",
        arg=me,
    )
    assert ben.observe()[me]["screen"]["path"] == mode
    _row(server_process, ada, screenShareEnabled=True)
    ada.call("setScreen(false)")
    ben.wait("no screen", lambda state: not _of(state, me)["screenShareEnabled"])
    ben.page.wait_for_function("() => !document.querySelector('video[data-source=screen]')")
    assert ada.errors + ben.errors == []


def test_another_microphone_without_a_gap_in_the_call(opened: Callers, room: str) -> None:
    ada, ben = opened.join(room, "Ada"), opened.join(room, "Ben")
    for one in (ada, ben):
        one.wait_mode("p2p", 2)
    before = ada.page.evaluate("() => tandem.media.tracks.microphone.id")
    ada.page.evaluate("""async () => {
        const current = tandem.media.deviceOf('microphone');
        const all = (await tandem.media.devices()).filter((one) => one.kind === 'audioinput');
        await tandem.useDevice('microphone', all.find((one) => one.deviceId !== current).deviceId);
    }""")
    assert ada.page.evaluate("() => tandem.media.tracks.microphone.id") != before
    ben.wait_playing(1)
    me = ada.id
    ben.wait("speech", lambda state: _of(state, me)["speaking"])


def test_quality_is_reported_and_stored(opened: Callers, room: str, server_process: ServerProcess) -> None:
    ada, ben = opened.join(room, "Ada"), opened.join(room, "Ben")
    for one in (ada, ben):
        one.wait_mode("p2p", 2)
    state = ada.state()
    for _ in range(100):
        [row] = server_process.rows(_ME, state["callId"], state["participantId"])
        metrics = row["qualityMetrics"] or {}
        if metrics.get("bytesReceived") or metrics.get("bytes_received"):
            return
        ada.page.wait_for_timeout(100)
    raise AssertionError(f"no quality metrics came: {row}")
