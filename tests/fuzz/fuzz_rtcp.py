"""Compound RTCP: whatever comes is a list of packets, and never more of them than there are words."""

from __future__ import annotations

from rtp_core import rtcp

SEEDS = [
    bytes.fromhex(
        "81c8000c 0000000a e1c5a7f0 80000000 00015f90 00000064 0000c350"
        "0000000b 40fffffe 00010203 00000090 11223344 00008000"
        "82ca0006 0000000a 01016100 0000000b 010462636465 0000 00000000"
    ),
    bytes.fromhex("80c90001 0000000a 81cd0004 0000000a 0000000b fffe8005 000f0000 81cb0001 0000000a"),
    bytes.fromhex("81ce0002 0000000a 0000000b 84ce0004 0000000a 00000000 0000000b 07000000"),
    bytes.fromhex(
        "8fce0005 0000000a 00000000 52454d42 010bffff 0000000b a1ce0003 0000000a 0000000b 00000004"
    ),
    bytes.fromhex("80cf0007 0000000a 04000002 e1c5a7f080000000 05000003 0000000b 00000002 00000003"),
]


def fuzz_one(data: bytes) -> None:
    packets, intact = rtcp.read(data)
    assert len(packets) <= len(data) // 4
    assert intact or len(data) > 0
    for kind, _, _, content in packets:
        if kind == "nack":
            assert len(content) <= len(data) // 4 * 17
