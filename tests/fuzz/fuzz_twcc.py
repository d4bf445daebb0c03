"""Transport-wide feedback: refused, or as many statuses as it says, each after the one before."""

from __future__ import annotations

from rtp_core import twcc

SEEDS = [
    bytes.fromhex("0005 0004 ffffff 07 2003 8000 010203"),
    bytes.fromhex("0001 0004 000000 00 d880 00 0190 ff38 00"),
    bytes.fromhex("0000 012e 000000 00 a000 011f 2001 00 01"),
    bytes.fromhex("ffff 0014 000014 00 2014") + bytes(20),
]


def fuzz_one(data: bytes) -> None:
    feedback = twcc.read_feedback(data)
    if feedback is None:
        return
    base, _, _, statuses = feedback
    assert len(statuses) == int.from_bytes(data[2:4])
    assert all(seq == (base + n) % 65536 for n, (seq, *_) in enumerate(statuses))
    assert sum(received for _, received, _, _ in statuses) <= len(data), "each delta has a byte at least"
