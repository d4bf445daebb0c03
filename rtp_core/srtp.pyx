"""SRTP as Python sees it: profiles, keys out of the DTLS exporter, and the owner of a context."""

from enum import IntEnum
from typing import NamedTuple

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc

from rtp_core.protect cimport (
    SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM, SRTP_AES128_CM_SHA1_80, SRTP_AUTH_FAIL, SRTP_BAD, SRTP_FAILED,
    SRTP_MAX_OVERHEAD, SRTP_MAX_SSRCS, SRTP_NO_CONTEXT, SRTP_NO_ROOM, SRTP_OK, SRTP_REPLAY, SRTP_TOO_MANY,
    SrtpContext, SrtpOut, srtp_forget_in, srtp_forget_out, srtp_free, srtp_key_gcm, srtp_open_rtcp, srtp_open_rtp,
    srtp_seal_rtcp, srtp_seal_rtp,
)
from rtp_core.replay cimport REPLAY_WINDOW

from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi


class Profile(IntEnum):
    AES128_CM_SHA1_80 = SRTP_AES128_CM_SHA1_80
    AEAD_AES_128_GCM = SRTP_AEAD_AES_128_GCM
    AEAD_AES_256_GCM = SRTP_AEAD_AES_256_GCM

    @property
    def key_len(self):
        return LENGTHS[self].key

    @property
    def salt_len(self):
        return LENGTHS[self].salt

    @property
    def exporter_len(self):
        return 2 * (self.key_len + self.salt_len)

    @property
    def overhead(self):
        return LENGTHS[self].tag

    @property
    def rtcp_overhead(self):
        return LENGTHS[self].tag + 4


class Lengths(NamedTuple):
    key: int
    salt: int
    tag: int


LENGTHS = {
    Profile.AES128_CM_SHA1_80: Lengths(16, 14, 10),
    Profile.AEAD_AES_128_GCM: Lengths(16, 12, 16),
    Profile.AEAD_AES_256_GCM: Lengths(32, 12, 16),
}

PROFILE_OF_NAME = {
    b"SRTP_AES128_CM_SHA1_80": Profile.AES128_CM_SHA1_80,
    b"SRTP_AEAD_AES_128_GCM": Profile.AEAD_AES_128_GCM,
    b"SRTP_AEAD_AES_256_GCM": Profile.AEAD_AES_256_GCM,
}


class ExportedKeys(NamedTuple):
    client: bytes
    server: bytes


def split_exported(profile, bytes block):
    lengths = LENGTHS[Profile(profile)]
    key, salt = lengths.key, lengths.salt
    if len(block) != 2 * (key + salt):
        raise ValueError(f"{profile!r} takes {2 * (key + salt)} bytes of keying material, not {len(block)}")
    # RFC 5764 section 4.2: client key, server key, client salt, server salt.
    salts = 2 * key
    return ExportedKeys(
        block[:key] + block[salts:salts + salt],
        block[key:salts] + block[salts + salt:],
    )


class SrtpError(ValueError):
    """A packet that is refused; `verdict` says why."""

    def __init__(self, verdict):
        super().__init__(verdict.name)
        self.verdict = verdict


class Verdict(IntEnum):
    OK = SRTP_OK
    AUTH_FAIL = SRTP_AUTH_FAIL
    REPLAY = SRTP_REPLAY
    NO_CONTEXT = SRTP_NO_CONTEXT
    BAD = SRTP_BAD
    NO_ROOM = SRTP_NO_ROOM
    TOO_MANY = SRTP_TOO_MANY
    FAILED = SRTP_FAILED


MAX_SSRCS = SRTP_MAX_SSRCS


def new_session(profile, key, ssrc_type):
    policy = Policy(key=key, ssrc_type=ssrc_type, srtp_profile=profile)
    policy.window_size = REPLAY_WINDOW
    # In AES-CM a repeat gives away nothing that the first packet didn't, as long as the payload is the same.
    policy.allow_repeat_tx = True
    return Session(policy)


cdef class SrtpPair:
    cdef SrtpContext* ctx
    cdef object sessions

    def __cinit__(self):
        self.ctx = <SrtpContext*>calloc(1, sizeof(SrtpContext))
        if self.ctx == NULL:
            raise MemoryError

    def __init__(self, profile, bytes send_key, bytes recv_key):
        if self.sessions is not None:
            raise TypeError("a pair can't be keyed twice")
        profile = Profile(profile)
        size = profile.key_len + profile.salt_len
        for key in (send_key, recv_key):
            if len(key) != size:
                raise ValueError(f"{profile.name} takes a key and salt of {size} bytes, not {len(key)}")
        if profile == Profile.AES128_CM_SHA1_80:
            sender = new_session(profile, send_key, Policy.SSRC_ANY_OUTBOUND)
            receiver = new_session(profile, recv_key, Policy.SSRC_ANY_INBOUND)
            self.sessions = (sender, receiver)
            self.ctx.seal.cipher = <void*><size_t>int(ffi.cast("uintptr_t", sender._srtp[0]))
            self.ctx.session_in = <void*><size_t>int(ffi.cast("uintptr_t", receiver._srtp[0]))
        else:
            self.sessions = ()
            if srtp_key_gcm(self.ctx, send_key, recv_key, profile.key_len) != 0:
                raise MemoryError
        self.ctx.seal.profile = profile
        self.ctx.overhead = profile.overhead
        self.ctx.rtcp_overhead = profile.rtcp_overhead

    def __dealloc__(self):
        if self.ctx != NULL:
            srtp_free(self.ctx)

    @property
    def context_address(self):
        return <size_t>self.ctx

    @property
    def profile(self):
        return Profile(self.ctx.seal.profile)

    @property
    def ssrcs(self):
        cdef int i
        return [self.ctx.ssrcs[i] for i in range(self.ctx.ssrc_count)]

    @property
    def outbound_ssrcs(self):
        cdef SrtpOut* out = self.ctx.first_out
        found = []
        while out != NULL:
            found.append(out.ssrc)
            out = out.next
        return found

    def seal_rtp(self, bytes packet, *, capacity=None):
        cdef bytearray buffer = bytearray(packet) + bytes(SRTP_MAX_OVERHEAD)
        cdef int size = <int>len(packet)
        cdef int cap = <int>len(buffer) if capacity is None else min(<int>capacity, <int>len(buffer))
        cdef int verdict = srtp_seal_rtp(self.ctx, buffer, &size, cap)
        return self.result(verdict, buffer, size)

    def seal_rtcp(self, bytes packet, *, capacity=None):
        cdef bytearray buffer = bytearray(packet) + bytes(SRTP_MAX_OVERHEAD)
        cdef int size = <int>len(packet)
        cdef int cap = <int>len(buffer) if capacity is None else min(<int>capacity, <int>len(buffer))
        cdef int verdict = srtp_seal_rtcp(self.ctx, buffer, &size, cap)
        return self.result(verdict, buffer, size)

    def open_rtp_untrusted(self, bytes packet):
        cdef bytearray buffer = bytearray(packet)
        cdef int size = <int>len(packet)
        cdef int verdict = srtp_open_rtp(self.ctx, buffer, &size)
        return self.result(verdict, buffer, size)

    def open_rtcp_untrusted(self, bytes packet):
        cdef bytearray buffer = bytearray(packet)
        cdef int size = <int>len(packet)
        cdef int verdict = srtp_open_rtcp(self.ctx, buffer, &size)
        return self.result(verdict, buffer, size)

    def forget_in(self, uint32_t ssrc):
        return bool(srtp_forget_in(self.ctx, ssrc))

    def forget_out(self, uint32_t ssrc):
        return bool(srtp_forget_out(self.ctx, ssrc))

    cdef bytes result(self, int verdict, bytearray buffer, int size):
        if verdict != SRTP_OK:
            raise SrtpError(Verdict(verdict))
        return bytes(buffer[:size])
