"""What hostile hosts send: packets for `bench.native.flood`, of each kind that the media port refuses."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bench.load import namespace
from bench.load.joiner import AUDIO_SSRC, Joiner, Lane
from server.rtc.dtls import DtlsSession
from server.rtc.parameters import Fingerprint
from tests.harness import stun
from tests.harness.sdp_client import OPUS

_SOURCES = 200  # ports that strangers send from
_DIFFERENT = 256  # packets of one flood
BATCH = 8  # packets that a source sends before the next one's turn
BY_MANY = "valid STUN by many"


@dataclass
class Attack:
    fds: list[int]
    packets: list[bytes]
    prepare: Callable[[], None] = lambda: None  # right before it begins


def attacks(stack: ExitStack, victims: list[Joiner]) -> dict[str, Attack]:
    """By name. Victims are speakers whose address, user fragments and packets the attacker knows.

    All but BY_MANY are about the first of them.
    """
    victim = victims[0]
    lanes = [one.sending for one in victims if one.sending is not None]
    lane = lanes[0]
    strangers = [_stranger(stack, lane.remote.address).fileno() for _ in range(_SOURCES)]
    own = [lane.socket.fileno()]
    forged = [_rtp(number, secrets.token_bytes(1100)) for number in range(_DIFFERENT)]
    genuine = _genuine(victim, lane)

    def send_genuine() -> None:
        for packet in genuine:
            lane.socket.send(packet)

    hello = _client_hello(victim, lane)
    return {
        "junk": Attack(strangers, [secrets.token_bytes(1200) for _ in range(_DIFFERENT)]),
        "junk like RTP": Attack(strangers, forged),
        "plain STUN": Attack(strangers, [_plain() for _ in range(_DIFFERENT)]),
        "STUN of nobody": Attack(strangers, [_check("nobody00", "x" * 32) for _ in range(_DIFFERENT)]),
        "STUN of wrong integrity": Attack(
            strangers, [_check(lane.remote.ufrag, "x" * 32) for _ in range(_DIFFERENT)]
        ),
        "ClientHello": Attack(strangers, [hello]),
        "forged SRTP": Attack(own, forged),
        "replayed SRTP": Attack(own, genuine, send_genuine),
        "forged SRTCP": Attack(own, [b"\x81\xc9" + secrets.token_bytes(90) for _ in range(_DIFFERENT)]),
        "valid STUN checks": Attack(
            own, [_check(lane.remote.ufrag, lane.remote.pwd) for _ in range(_DIFFERENT)]
        ),
        # Each sends its own.
        BY_MANY: Attack(
            [one.socket.fileno() for one in lanes],
            [packet for one in lanes for packet in [_check(one.remote.ufrag, one.remote.pwd)] * BATCH],
        ),
        "DTLS by a participant": Attack(own, [hello]),
    }


def _stranger(stack: ExitStack, server: tuple[str, int]) -> socket.socket:
    one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # nobody reads answers
    one.bind((namespace.WITNESS, 0))
    one.connect(server)
    return one


def _rtp(number: int, body: bytes) -> bytes:
    head = b"\x80" + bytes([OPUS]) + number.to_bytes(2, "big") + number.to_bytes(4, "big")
    return head + AUDIO_SSRC.to_bytes(4, "big") + body


def _genuine(victim: Joiner, lane: Lane) -> list[bytes]:
    assert lane.pair is not None
    return [lane.pair.seal_rtp(_rtp(number, bytes(80))) for number in range(1, _DIFFERENT + 1)]


def _plain() -> bytes:
    return stun.encode(stun.Message(stun.BINDING_REQUEST))


def _check(ufrag: str, password: str) -> bytes:
    request = stun.Message(stun.BINDING_REQUEST)
    request.attributes = [
        (stun.USERNAME, f"{ufrag}:bench".encode()),
        (stun.ICE_CONTROLLING, bytes(8)),
        (stun.PRIORITY, b"\x6e\x7f\x1e\xff"),
    ]
    return stun.encode(request, password=password)


def _client_hello(victim: Joiner, lane: Lane) -> bytes:
    session = DtlsSession(victim.certificate, "client", [Fingerprint("sha-256", lane.remote.fingerprint)])
    session.start(time.monotonic())
    return session.datagrams_to_send()[0]
