"""pylibsrtp's own Python API is the oracle: whatever it seals we open, and the other way round."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pylibsrtp import Error, Policy, Session

from rtp_core import rtp, srtp
from rtp_core.srtp import Profile, SrtpError, SrtpPair, Verdict

PROFILES = list(Profile)
each_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
CM = Profile.AES128_CM_SHA1_80
GCM = Profile.AEAD_AES_128_GCM


def key(profile: Profile, seed: int) -> bytes:
    return bytes((seed * 37 + i * 11) % 256 for i in range(profile.key_len + profile.salt_len))


def pairs(profile: Profile) -> tuple[SrtpPair, SrtpPair]:
    return SrtpPair(profile, key(profile, 1), key(profile, 2)), SrtpPair(
        profile, key(profile, 2), key(profile, 1)
    )


def oracle(profile: Profile, seed: int, *, outbound: bool) -> Session:
    direction = Policy.SSRC_ANY_OUTBOUND if outbound else Policy.SSRC_ANY_INBOUND
    return Session(Policy(key=key(profile, seed), ssrc_type=direction, srtp_profile=int(profile)))


def packet(sequence: int = 1, ssrc: int = 7, payload: bytes = b"payload") -> bytes:
    return rtp.build(payload_type=96, sequence=sequence, timestamp=90, ssrc=ssrc, payload=payload)


def report(ssrc: int = 7) -> bytes:
    return struct.pack(">BBHIIIIII", 0x80, 200, 6, ssrc, 1, 2, 3, 4, 5)


@each_profile
@given(st.integers(0, 65535), st.integers(0, 2**32 - 1), st.binary(max_size=1200), st.booleans())
def test_rtp_agrees_with_the_oracle(
    profile: Profile, sequence: int, ssrc: int, payload: bytes, extension: bool
) -> None:
    plain = rtp.build(
        payload_type=96,
        sequence=sequence,
        timestamp=1,
        ssrc=ssrc,
        payload=payload,
        extension=b"\xbe\xde\x00\x01\x10\x61\x00\x00" if extension else b"",
    )
    pair, _ = pairs(profile)
    sealed = pair.seal_rtp(plain)
    assert sealed == oracle(profile, 1, outbound=True).protect(plain)
    assert len(sealed) == len(plain) + profile.overhead
    assert oracle(profile, 1, outbound=False).unprotect(sealed) == plain
    theirs = oracle(profile, 2, outbound=True).protect(plain)
    assert pair.open_rtp_untrusted(theirs) == plain


@each_profile
@given(st.integers(0, 2**32 - 1), st.integers(0, 30))
def test_rtcp_agrees_with_the_oracle(profile: Profile, ssrc: int, words: int) -> None:
    plain = struct.pack(">BBHI", 0x80, 201, 1 + words, ssrc) + bytes(range(4 * words))
    pair, _ = pairs(profile)
    sealed = pair.seal_rtcp(plain)
    assert sealed == oracle(profile, 1, outbound=True).protect_rtcp(plain)
    assert len(sealed) == len(plain) + profile.rtcp_overhead
    assert oracle(profile, 1, outbound=False).unprotect_rtcp(sealed) == plain
    assert pair.open_rtcp_untrusted(oracle(profile, 2, outbound=True).protect_rtcp(plain)) == plain


@each_profile
def test_the_rtcp_index_counts_up(profile: Profile) -> None:
    ours, theirs = pairs(profile)
    reference = oracle(profile, 1, outbound=True)
    for index in range(1, 6):
        sealed = ours.seal_rtcp(report())
        assert sealed == reference.protect_rtcp(report())
        tail = profile.rtcp_overhead if profile is CM else 4  # RFC 7714 puts the index behind the tag
        word = int.from_bytes(sealed[len(sealed) - tail :][:4], "big")
        assert word == 0x80000000 | index, "encrypted, and counting from one"
        assert theirs.open_rtcp_untrusted(sealed) == report()


@each_profile
def test_the_rollover_counter_follows_the_sequence_around(profile: Profile) -> None:
    ours, theirs = pairs(profile)
    reference = oracle(profile, 1, outbound=True)
    for index in range(0, 3 * 65536, 997):
        plain = packet(index % 65536)
        sealed = ours.seal_rtp(plain)
        assert sealed == reference.protect(plain)
        assert theirs.open_rtp_untrusted(sealed) == plain
    late = SrtpPair(profile, key(profile, 2), key(profile, 1))
    with pytest.raises(SrtpError, match="AUTH_FAIL"):  # joined after two wraps: RFC 3711 section 3.3.1
        late.open_rtp_untrusted(ours.seal_rtp(packet((index + 1) % 65536)))


@each_profile
def test_a_late_packet_across_the_wrap_is_opened(profile: Profile) -> None:
    ours, theirs = pairs(profile)
    sealed = [ours.seal_rtp(packet(index % 65536)) for index in range(65530, 65542)]
    for data in (sealed[0], sealed[-1], *reversed(sealed[1:-1])):
        assert theirs.open_rtp_untrusted(data)[12:] == b"payload"


@each_profile
def test_replays_are_refused(profile: Profile) -> None:
    ours, theirs = pairs(profile)
    media, feedback = ours.seal_rtp(packet()), ours.seal_rtcp(report())
    theirs.open_rtp_untrusted(media)
    theirs.open_rtcp_untrusted(feedback)
    for _ in range(2):
        with pytest.raises(SrtpError, match="REPLAY"):
            theirs.open_rtp_untrusted(media)
        with pytest.raises(SrtpError, match="REPLAY"):
            theirs.open_rtcp_untrusted(feedback)


@each_profile
def test_the_window_is_1024_packets(profile: Profile) -> None:
    ours, theirs = pairs(profile)
    sealed = {sequence: ours.seal_rtp(packet(sequence)) for sequence in (1000, 1001, 2024)}
    theirs.open_rtp_untrusted(sealed[2024])
    assert theirs.open_rtp_untrusted(sealed[1001])
    with pytest.raises(SrtpError, match="REPLAY"):
        theirs.open_rtp_untrusted(sealed[1000])


@each_profile
def test_no_bit_may_flip(profile: Profile) -> None:
    ours, theirs = pairs(profile)
    for sealed, unseal in (
        (ours.seal_rtp(packet()), theirs.open_rtp_untrusted),
        (ours.seal_rtcp(report()), theirs.open_rtcp_untrusted),
    ):
        for bit in range(len(sealed) * 8):
            bad = bytearray(sealed)
            bad[bit // 8] ^= 0x80 >> bit % 8
            with pytest.raises(SrtpError) as caught:
                unseal(bytes(bad))
            assert caught.value.verdict in {Verdict.AUTH_FAIL, Verdict.BAD}
        assert theirs.ssrcs == [], "a forgery leaves no state behind"
    assert theirs.open_rtp_untrusted(ours.seal_rtp(packet(2))) == packet(2)


@each_profile
def test_every_cut_is_refused(profile: Profile) -> None:
    ours, theirs = pairs(profile)
    media, feedback = ours.seal_rtp(packet()), ours.seal_rtcp(report())
    for cut in range(len(media)):
        with pytest.raises(SrtpError) as caught:
            theirs.open_rtp_untrusted(media[:cut])
        assert caught.value.verdict is (Verdict.BAD if cut < 12 + profile.overhead else Verdict.AUTH_FAIL), (
            f"cut at {cut}"
        )
    for cut in range(len(feedback)):
        with pytest.raises(SrtpError) as caught:
            theirs.open_rtcp_untrusted(feedback[:cut])
        assert caught.value.verdict in {Verdict.BAD, Verdict.AUTH_FAIL}


@pytest.mark.parametrize("profile", [GCM, Profile.AEAD_AES_256_GCM])
def test_gcm_never_seals_a_number_twice(profile: Profile) -> None:
    """A nonce used twice gives away the authentication key (RFC 7714 section 11)."""
    ours, _ = pairs(profile)
    ours.seal_rtp(packet(payload=b"one"))
    with pytest.raises(SrtpError, match="REPLAY"):
        ours.seal_rtp(packet(payload=b"two"))


def test_aes_cm_may_send_the_same_packet_again() -> None:
    ours, _ = pairs(CM)
    assert ours.seal_rtp(packet()) == ours.seal_rtp(packet())


@each_profile
def test_sealing_stays_within_its_buffer(profile: Profile) -> None:
    ours, _ = pairs(profile)
    need = len(packet()) + profile.overhead
    with pytest.raises(SrtpError, match="NO_ROOM"):
        ours.seal_rtp(packet(), capacity=need - 1)
    assert len(ours.seal_rtp(packet(), capacity=need)) == need
    need = len(report()) + profile.rtcp_overhead
    with pytest.raises(SrtpError, match="NO_ROOM"):
        ours.seal_rtcp(report(), capacity=need - 1)
    assert len(ours.seal_rtcp(report(), capacity=need)) == need


@pytest.mark.parametrize("data", [b"", packet()[:11], b"\x40" + packet()[1:], b"\x8f" + packet()[1:]])
def test_what_is_no_rtp_is_not_sealed(data: bytes) -> None:
    ours, _ = pairs(GCM)
    with pytest.raises(SrtpError, match="BAD"):
        ours.seal_rtp(data)


@pytest.mark.parametrize("data", [b"", report()[:7], b"\x40" + report()[1:]])
def test_what_is_no_rtcp_is_not_sealed(data: bytes) -> None:
    ours, _ = pairs(GCM)
    with pytest.raises(SrtpError, match="BAD"):
        ours.seal_rtcp(data)


@each_profile
def test_inbound_ssrcs_are_bounded(profile: Profile) -> None:
    ours, theirs = pairs(profile)
    for ssrc in range(srtp.MAX_SSRCS):
        theirs.open_rtp_untrusted(ours.seal_rtp(packet(ssrc=ssrc)))
    assert theirs.ssrcs == list(range(srtp.MAX_SSRCS))
    extra = ours.seal_rtp(packet(ssrc=1000))
    with pytest.raises(SrtpError, match="TOO_MANY"):
        theirs.open_rtp_untrusted(extra)
    with pytest.raises(SrtpError, match="TOO_MANY"):
        theirs.open_rtcp_untrusted(ours.seal_rtcp(report(1000)))
    assert theirs.open_rtp_untrusted(ours.seal_rtp(packet(2, ssrc=5))), "those that are known go on"
    assert theirs.open_rtcp_untrusted(ours.seal_rtcp(report(5)))
    assert theirs.forget_in(5)
    assert theirs.open_rtp_untrusted(extra)
    assert sorted(theirs.ssrcs) == sorted({*range(srtp.MAX_SSRCS), 1000} - {5})


def test_rtp_and_rtcp_of_one_ssrc_are_one_stream() -> None:
    ours, theirs = pairs(GCM)
    theirs.open_rtcp_untrusted(ours.seal_rtcp(report(9)))
    theirs.open_rtp_untrusted(ours.seal_rtp(packet(ssrc=9)))
    assert theirs.ssrcs == [9]


def test_forgetting() -> None:
    ours, theirs = pairs(GCM)
    assert not theirs.forget_in(7)
    assert not ours.forget_out(7)
    sealed = ours.seal_rtp(packet())
    theirs.open_rtp_untrusted(sealed)
    assert theirs.forget_in(7)
    assert theirs.ssrcs == []
    assert theirs.open_rtp_untrusted(sealed) == packet(), "its replay window went too, as the interface says"
    assert ours.forget_out(7)
    assert not ours.forget_out(7)


@each_profile
def test_exported_keys_are_split_as_rfc_5764_says(profile: Profile) -> None:
    size, salt = profile.key_len, profile.salt_len
    block = b"C" * size + b"S" * size + b"c" * salt + b"s" * salt
    assert len(block) == profile.exporter_len
    assert srtp.split_exported(profile, block) == (b"C" * size + b"c" * salt, b"S" * size + b"s" * salt)
    for wrong in (block[:-1], block + b"x", b""):
        with pytest.raises(ValueError, match="keying material"):
            srtp.split_exported(profile, wrong)


@pytest.mark.parametrize(
    ("profile", "lengths"),
    [(CM, (60, 10, 14)), (GCM, (56, 16, 20)), (Profile.AEAD_AES_256_GCM, (88, 16, 20))],
)
def test_lengths_of_the_profiles(profile: Profile, lengths: tuple[int, int, int]) -> None:
    """RFC 5764 section 4.1.2 and RFC 7714 section 12."""
    assert (profile.exporter_len, profile.overhead, profile.rtcp_overhead) == lengths


def test_profiles_have_openssls_names() -> None:
    assert set(srtp.PROFILE_OF_NAME.values()) == set(Profile)
    assert all(name == b"SRTP_" + profile.name.encode() for name, profile in srtp.PROFILE_OF_NAME.items())


def test_wrong_keys_are_refused() -> None:
    good = key(GCM, 1)
    with pytest.raises(ValueError, match="28 bytes"):
        SrtpPair(GCM, good[:-1], good)
    with pytest.raises(ValueError, match="28 bytes"):
        SrtpPair(GCM, good, good + b"x")
    with pytest.raises(ValueError, match="not a valid Profile"):
        SrtpPair(2, good, good)


def test_a_pair_keeps_its_sessions_as_long_as_its_address_is_given_out() -> None:
    ours, theirs = pairs(GCM)
    assert ours.context_address != theirs.context_address
    assert ours.profile is GCM
    with pytest.raises(TypeError, match="twice"):
        ours.__init__(GCM, key(GCM, 3), key(GCM, 3))  # type: ignore[misc]
    assert theirs.open_rtp_untrusted(ours.seal_rtp(packet())) == packet()


def test_an_unkeyed_pair_refuses_everything() -> None:
    bare = SrtpPair.__new__(SrtpPair)
    with pytest.raises(SrtpError, match="NO_CONTEXT"):
        bare.seal_rtp(packet())
    with pytest.raises(SrtpError, match="NO_CONTEXT"):
        bare.open_rtp_untrusted(packet())
    assert not bare.forget_in(7)
    assert not bare.forget_out(7)


def test_the_oracle_would_notice() -> None:
    """The tests above compare with pylibsrtp; this one shows that another key doesn't pass it."""
    ours, _ = pairs(CM)
    with pytest.raises(Error):
        oracle(CM, 9, outbound=False).unprotect(ours.seal_rtp(packet()))


@each_profile
@given(st.lists(st.integers(-400, 900), min_size=1, max_size=60))
def test_any_order_is_judged_as_the_oracle_does(profile: Profile, steps: list[int]) -> None:
    """Late, repeated and far packets, over several rollovers: the same ones pass."""
    ours, _ = pairs(profile)
    sender, receiver = oracle(profile, 2, outbound=True), oracle_window(profile, 2)
    sealed: dict[int, bytes] = {}
    index = 30_000
    for index in range(30_000, 30_000 + 60 * 900, 100):
        sealed[index] = sender.protect(packet(index % 65536))
    at = 30_000
    for step in steps:
        at = max(30_000, at + step * 100)
        if at not in sealed:
            continue
        try:
            expected = receiver.unprotect(sealed[at])
        except Error:
            expected = b""
        try:
            found = ours.open_rtp_untrusted(sealed[at])
        except SrtpError:
            found = b""
        assert found == expected


def oracle_window(profile: Profile, seed: int) -> Session:
    policy = Policy(key=key(profile, seed), ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=int(profile))
    policy.window_size = 1024
    return Session(policy)


def test_a_late_packet_is_sealed_once() -> None:
    ours, _ = pairs(GCM)
    reference = oracle(GCM, 1, outbound=True)
    for sequence in (5, 9, 7):
        assert ours.seal_rtp(packet(sequence)) == reference.protect(packet(sequence))
    for sequence in (5, 7, 9):
        with pytest.raises(SrtpError, match="REPLAY"):
            ours.seal_rtp(packet(sequence, payload=b"else"))


def test_outbound_streams_are_known_until_they_are_forgotten() -> None:
    ours, _ = pairs(GCM)
    for ssrc in (3, 4, 5):
        ours.seal_rtp(packet(ssrc=ssrc))
    assert sorted(ours.outbound_ssrcs) == [3, 4, 5]
    assert ours.forget_out(4)
    assert sorted(ours.outbound_ssrcs) == [3, 5]


def test_unencrypted_srtcp_is_refused() -> None:
    ours, theirs = pairs(GCM)
    sealed = bytearray(ours.seal_rtcp(report()))
    sealed[-4] &= 0x7F
    with pytest.raises(SrtpError, match="AUTH_FAIL"):
        theirs.open_rtcp_untrusted(bytes(sealed))
