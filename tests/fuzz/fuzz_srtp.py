"""SRTP and SRTCP: only what the peer sealed gets through; everything else is an SrtpError."""

from __future__ import annotations

from rtp_core import rtp, srtp

KEYS = {profile: bytes(range(profile.key_len + profile.salt_len)) for profile in srtp.Profile}
PLAIN = rtp.build(payload_type=96, sequence=1, timestamp=2, ssrc=3, payload=b"payload" * 9)
EXTENDED = rtp.build(
    payload_type=96, sequence=2, timestamp=2, ssrc=3, extension=b"\xbe\xde\x00\x01\x10\x61\x00\x00"
)
REPORT = bytes.fromhex("80c80006 00000003") + bytes(20)


def seal(profile: srtp.Profile) -> list[bytes]:
    pair = srtp.SrtpPair(profile, KEYS[profile], KEYS[profile])
    return [pair.seal_rtp(PLAIN), pair.seal_rtp(EXTENDED), pair.seal_rtcp(REPORT)]


GENUINE = {profile: seal(profile) for profile in srtp.Profile}
SEEDS = [packet for packets in GENUINE.values() for packet in packets]
# Kept from input to input: forgeries must not add up to anything either.
RECEIVERS = {profile: srtp.SrtpPair(profile, KEYS[profile], KEYS[profile]) for profile in srtp.Profile}


def fuzz_one(data: bytes) -> None:
    for profile, receiver in RECEIVERS.items():
        for unseal in (receiver.open_rtp_untrusted, receiver.open_rtcp_untrusted):
            try:
                unseal(data)
            except srtp.SrtpError:
                continue
            assert data in GENUINE[profile]
        assert set(receiver.ssrcs) <= {3}
        try:
            sealed = receiver.seal_rtcp(data)
        except srtp.SrtpError:
            continue
        assert len(sealed) == len(data) + profile.rtcp_overhead
