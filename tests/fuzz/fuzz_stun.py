"""STUN messages: parsed, or StunError; whatever was parsed can be judged and answered."""

from __future__ import annotations

from rtp_core import stun

ID = bytes(range(12))
REQUEST = stun.build_request(
    ID, username=b"ufrag:peer", password=b"pw", priority=1, role=1, tie_breaker=2, use_candidate=True
)
SEEDS = [
    REQUEST,
    stun.build_request(ID),
    stun.parse_untrusted(REQUEST).success(("192.0.2.1", 1), b"pw"),
    stun.parse_untrusted(REQUEST).success(("2001:db8::1", 1), b"pw"),
    stun.parse_untrusted(REQUEST).error(420),
    bytes.fromhex("00010008 2112a442") + ID + bytes.fromhex("00030004 00000000"),
]


def framed(data: bytes) -> bytes:
    """`data` under a header whose cookie and length are right, so that mutations reach the attributes."""
    body = data[20 : 20 + (len(data) - 20) // 4 * 4] if len(data) > 20 else b""
    return data[:2].ljust(2, b"\0") + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + ID + body


def fuzz_one(data: bytes) -> None:
    try_one(data)
    try_one(framed(data))
    try_one(framed(data[:-8]))  # a fingerprint rarely survives a mutation


def try_one(data: bytes) -> None:
    try:
        message = stun.parse_untrusted(data)
    except stun.StunError:
        return
    assert len(message.transaction_id) == 12
    assert message.cls in stun.Class
    assert len(message.unknown) <= 8
    for name in ("username", "ufrag", "priority", "role", "tie_breaker", "error_code", "mapped"):
        getattr(message, name)
    triage = message.triage()
    assert message.check(b"pw") in {0, 401, 420, 487}
    assert not message.check_integrity(b"other"), "nobody guesses a MAC"
    if triage is not stun.Triage.DROP:
        for answer in (message.success(("::1", 1)), message.error(420, b"pw"), message.error(400)):
            assert stun.parse_untrusted(answer).triage() is stun.Triage.DROP, "answers are never answered"
