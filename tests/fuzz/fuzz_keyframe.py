"""Payload descriptors of all codecs: a verdict on any bytes, and none that changes with what follows."""

from __future__ import annotations

from rtp_core.keyframe import CODECS, flags

SEEDS = [
    bytes.fromhex("90e091223344009d012a"),
    bytes.fromhex("d811030302008349834200"),
    bytes.fromhex("a8912200050082498342"),
    bytes.fromhex("7800026742000268ce00026588"),
    bytes.fromhex("7c8588"),
    bytes.fromhex("28020a013210"),
    bytes.fromhex("08020a01"),
]


def fuzz_one(data: bytes) -> None:
    for codec in CODECS:
        start, key = flags(codec, data)
        assert start or not key
        if start and codec != "H264":
            assert flags(codec, data + b"\0") == (start, key)
