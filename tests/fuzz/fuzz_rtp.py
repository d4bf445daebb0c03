"""RTP packets and RTX payloads: parsed, or RtpError."""

from __future__ import annotations

from rtp_core import rtp

SEEDS = [
    bytes.fromhex("80601234 89abcdef 01020304") + b"payload",
    bytes.fromhex("b3e01234 89abcdef 01020304") + bytes(12) + bytes.fromhex("bede0001 10610000 aabb 000003"),
    bytes.fromhex("9f601234 89abcdef 01020304") + bytes(60) + bytes.fromhex("10000000 1234"),
    bytes.fromhex("a0601234 89abcdef 01020304") + bytes(254) + b"\xff",
]


def fuzz_one(data: bytes) -> None:
    rtp.kind_of(data)
    for encrypted in (False, True):
        try:
            header = rtp.parse_untrusted(data, encrypted=encrypted)
        except rtp.RtpError:
            continue
        assert 12 <= header.header_len <= len(data)
        assert header.header_len + header.payload_len + header.padding == len(data)
        assert header.payload_len >= 0
        assert header.extension_offset + header.extension_len <= header.header_len
    try:
        original = rtp.unwrap_rtx_untrusted(data, payload_type=96, ssrc=1)
    except rtp.RtpError:
        return
    assert len(original) == len(data) - 2
    header = rtp.parse_untrusted(data)
    wrapped = rtp.wrap_rtx(
        original, payload_type=header.payload_type, ssrc=header.ssrc, sequence=header.sequence
    )
    assert wrapped == data
