"""Blocked paths: P2P goes to the SFU by itself, UDP to TCP, and with nothing left the user is told."""

from __future__ import annotations

from tests.harness.browsers import Callers
from tests.harness.server_process import ServerProcess

_CALL = """
SELECT s.mode, m."modeTransitions" FROM call_sessions s
  LEFT JOIN call_metrics m ON m."callSessionId" = s.id WHERE s.id = $1
"""

# No candidate of the other participant is used. The SFU's come in its descriptions, which are left alone.
NO_P2P = "RTCPeerConnection.prototype.addIceCandidate = async () => {};"


def _without_sfu_candidates(*protocols: str) -> str:
    """As a firewall that drops packets to the media port: these candidates of the SFU lead nowhere."""
    candidates = rf"^a=candidate:\S+ \d+ (?:{'|'.join(protocols)}) .*\r\n"
    return """
const original = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
  if (sdp.includes('a=ice-lite')) sdp = sdp.replace(/PATTERN/gim, '');
  return original.call(this, { type, sdp });
};
""".replace("PATTERN", rf"{candidates}|^a=end-of-candidates\r\n")


def test_a_blocked_p2p_path_goes_to_the_sfu(
    opened: Callers, room: str, server_process: ServerProcess
) -> None:
    ada = opened.join(room, "Ada", init_script=NO_P2P)
    ben = opened.join(room, "Ben", init_script=NO_P2P)
    for one in (ada, ben):
        one.wait_mode("sfu", 2, 20)
        one.wait_playing(1)
        assert not one.errors
    [row] = server_process.rows(_CALL, ada.state()["callId"])
    assert row["mode"] == "sfu"
    ada.page.wait_for_timeout(7_000)  # longer than the way back takes: P2P is not tried again in this call
    assert ada.state()["mode"] == "sfu"


def test_a_blocked_udp_port_falls_back_to_tcp(opened: Callers, room: str) -> None:
    ada = opened.join(room, "Ada", init_script=_without_sfu_candidates("udp"))
    ben, cleo = opened.join(room, "Ben"), opened.join(room, "Cleo")
    for one in (ada, ben, cleo):
        one.wait_mode("sfu", 3, 20)
        one.wait_playing(2)
    ada.wait("TCP", lambda state: state["sfu"]["protocol"] == "tcp")
    assert ben.state()["sfu"]["protocol"] == "udp"


def test_with_both_blocked_the_user_is_told_the_port(
    opened: Callers, room: str, server_process: ServerProcess
) -> None:
    ada = opened.join(room, "Ada", init_script=_without_sfu_candidates("udp", "tcp"))
    ben = opened.join(room, "Ben")
    ada.page.wait_for_selector("text=The media port of the server cannot be reached", timeout=15_000)
    told = ada.page.inner_text('[data-key="blocked"]')
    assert f"UDP port {server_process.media_port}" in told
    assert f"TCP port {server_process.media_port}" in told
    for one in (ada, ben):  # two can talk all the same
        one.wait_mode("p2p", 2)
        one.wait_playing(1)
    assert not ben.page.is_visible('[data-key="blocked"]')


def test_the_way_to_the_sfu_is_found_anew_by_an_ice_restart(opened: Callers, room: str) -> None:
    """As after a change of network: both connections look for the server again, and media goes on."""
    ada, ben = opened.join(room, "Ada"), opened.join(room, "Ben")
    for one in (ada, ben):
        one.wait_mode("p2p", 2)
    ada.call("requestMode('sfu')")
    for one in (ada, ben):
        one.wait_mode("sfu", 2)
        one.wait_playing(1)
    ufrags = r"""() => [tandem.call.send, tandem.call.receive].map(
        (one) => /ufrag:(\S+)/.exec(one.pc.remoteDescription.sdp)[1])"""
    before = ada.page.evaluate(ufrags)
    ada.page.evaluate(
        "async () => { await tandem.call.send.restart(); await tandem.call.receive.restart(); }"
    )
    ada.page.wait_for_function(
        f"(before) => ({ufrags})().every((one, index) => one !== before[index])", arg=before
    )
    for one in (ada, ben):
        one.wait_playing(1)
        assert one.state()["sfu"] == {"send": "connected", "recv": "connected", "protocol": "udp"}
