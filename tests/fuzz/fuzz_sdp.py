"""Session descriptions, alone and as the offer and the answer of a negotiation."""

from __future__ import annotations

import contextlib
from pathlib import Path

from server.errors import ClientError
from server.rtc.capabilities import router_capabilities
from server.rtc.negotiation import RecvNegotiation, SendNegotiation
from server.rtc.parameters import Fingerprint, IceCandidate, IceParameters
from server.rtc.sdp import SdpError, parse_untrusted

_FIXTURES = Path(__file__).parents[1] / "rtc" / "fixtures"
SEEDS = [path.read_bytes() for path in sorted(_FIXTURES.glob("*.sdp"))]

_CAPS = router_capabilities()
_ICE = IceParameters("ufrag", "p" * 24, [IceCandidate("1", 1, "192.0.2.1", 9, "udp")])
_FINGERPRINT = Fingerprint("sha-256", "0A:" * 31 + "FF")


def fuzz_one(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        description = parse_untrusted(text)
    except SdpError:
        return
    again = parse_untrusted(description.to_text())
    assert again == description

    send = SendNegotiation(_CAPS)
    recv = RecvNegotiation(_CAPS)
    recv.set_ssrc(recv.add("audio", stream_id="s", track_id="a"), 1, None, "c")
    if len(description.media) > 1:
        recv.set_ssrc(recv.add("video", stream_id="s", track_id="v"), 2, 3, "c")
    if len(description.media) > 2:
        recv.add("video", stream_id="s", track_id="w")
    recv.offer(ice=_ICE, fingerprint=_FINGERPRINT)
    with contextlib.suppress(ClientError):
        answer = send.answer(text, ice=_ICE, fingerprint=_FINGERPRINT)
        parse_untrusted(answer.sdp)
        assert not send.restarts_ice_untrusted(text)
    with contextlib.suppress(ClientError):
        recv.accept_untrusted(text)
