"""Header-extension blocks: parsed, or ExtError; whatever was parsed can be written for a consumer."""

from __future__ import annotations

import contextlib

from rtp_core import ext

ONE_BYTE = ext.Map({(i % 14) + 1: kind for i, kind in enumerate(ext.Kind)})
TWO_BYTE = ext.Map({i + 14: kind for i, kind in enumerate(ext.Kind)})

# The first two bytes are the profile.
SEEDS = [
    bytes.fromhex("bede 1061 2285aabbcc 00 3faabbccddeeff00112233445566778899 00"),
    bytes.fromhex("1000 0e0161 0f02aabb 00 1000 20ff") + bytes(255),
    bytes.fromhex("100f 0e00 0f00"),
    bytes.fromhex("bede 1061 f161 2285"),
]


def fuzz_one(data: bytes) -> None:
    profile, block = int.from_bytes(data[:2], "big"), data[2:]
    for map in (ONE_BYTE, TWO_BYTE):
        view = ext.parse_untrusted(block, profile, map, partial=True)
        with contextlib.suppress(ext.ExtError):
            assert ext.parse_untrusted(block, profile, map) == view
        for out in (ONE_BYTE, TWO_BYTE):
            try:
                written, _, _ = ext.write(view, out, mid=data[:3], capacity=len(data))
            except ext.ExtError:
                continue
            assert len(written) <= len(data)
            if written:
                ext.parse_untrusted(written[4:], int.from_bytes(written[:2], "big"), out)
