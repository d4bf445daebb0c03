"""SRTP and SRTCP by libsrtp. The C interface and what each function promises is in srtp.pxd.

What libsrtp does with SSRCs: an inbound session made for any SSRC checks a packet from a new one with the
session's keys, and only when that succeeds copies the template into a stream of its own (about 2.5 kB with a
window of 1,024). So a stranger's flood costs nothing but the checks; an authenticated peer could still make
a stream per SSRC without end, and each lookup is a list walk. `SRTP_MAX_SSRCS` bounds that.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from rtp_core.native cimport native_symbol
from rtp_core.rtp cimport RTP_OK, RtpHeader, load32, rtp_parse_header

from enum import IntEnum
from typing import NamedTuple

from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi

cdef extern from "arpa/inet.h" nogil:
    uint32_t htonl(uint32_t value)

cdef enum:
    # srtp_err_status_t of libsrtp 2
    STATUS_OK = 0
    STATUS_BAD_PARAM = 2
    STATUS_AUTH_FAIL = 7
    STATUS_REPLAY_FAIL = 9
    STATUS_REPLAY_OLD = 10
    STATUS_NO_CONTEXT = 13
    STATUS_CANT_CHECK = 14  # SRTCP that says it isn't encrypted
    STATUS_PARSE_ERROR = 21
    STATUS_INDEX_OLD = 26
    RTCP_HEADER_LEN = 8
    WINDOW = 1024  # packets of replay protection: a quarter of a second at 4,000 packets/s

ctypedef int (*Transform)(void*, void*, int*) noexcept nogil
ctypedef int (*Remove)(void*, uint32_t) noexcept nogil

cdef Transform protect = <Transform>native_symbol("srtp_protect")
cdef Transform unprotect = <Transform>native_symbol("srtp_unprotect")
cdef Transform protect_rtcp = <Transform>native_symbol("srtp_protect_rtcp")
cdef Transform unprotect_rtcp = <Transform>native_symbol("srtp_unprotect_rtcp")
cdef Remove remove_stream = <Remove>native_symbol("srtp_remove_stream")


cdef int verdict_of(int status) noexcept nogil:
    if status == STATUS_OK:
        return SRTP_OK
    if status == STATUS_AUTH_FAIL or status == STATUS_CANT_CHECK:
        return SRTP_AUTH_FAIL
    if status == STATUS_REPLAY_FAIL or status == STATUS_REPLAY_OLD or status == STATUS_INDEX_OLD:
        return SRTP_REPLAY
    if status == STATUS_NO_CONTEXT:
        return SRTP_NO_CONTEXT
    if status == STATUS_BAD_PARAM or status == STATUS_PARSE_ERROR:
        return SRTP_BAD
    return SRTP_FAILED


cdef int find_ssrc(SrtpContext* ctx, uint32_t ssrc) noexcept nogil:
    """Index in the table of known inbound SSRCs, or -1. Packets come in runs, so the last one is tried first."""
    cdef int i
    if ctx.ssrc_last < ctx.ssrc_count and ctx.ssrcs[ctx.ssrc_last] == ssrc:
        return ctx.ssrc_last
    for i in range(ctx.ssrc_count):
        if ctx.ssrcs[i] == ssrc:
            ctx.ssrc_last = i
            return i
    return -1


cdef bint is_rtp(const uint8_t* data, int len) noexcept nogil:
    cdef RtpHeader header
    return rtp_parse_header(data, len, &header) == RTP_OK


cdef bint is_rtcp(const uint8_t* data, int len) noexcept nogil:
    return len >= RTCP_HEADER_LEN and data[0] >> 6 == 2


cdef int seal(Transform transform, void* session, uint8_t* data, int* len) noexcept nogil:
    cdef int size = len[0]
    cdef int verdict
    if session == NULL:
        return SRTP_NO_CONTEXT
    verdict = verdict_of(transform(session, data, &size))
    if verdict == SRTP_OK:
        len[0] = size
    return verdict


cdef int open_checked(Transform transform, SrtpContext* ctx, uint32_t ssrc, uint8_t* data, int* len) noexcept nogil:
    cdef int size = len[0]
    cdef int verdict
    cdef bint known
    if ctx.session_in == NULL:
        return SRTP_NO_CONTEXT
    known = find_ssrc(ctx, ssrc) >= 0
    if not known and ctx.ssrc_count == SRTP_MAX_SSRCS:
        return SRTP_TOO_MANY
    verdict = verdict_of(transform(ctx.session_in, data, &size))
    if verdict == SRTP_OK:
        len[0] = size
        if not known:
            ctx.ssrcs[ctx.ssrc_count] = ssrc
            ctx.ssrc_last = ctx.ssrc_count
            ctx.ssrc_count += 1
    return verdict


cdef int srtp_seal_rtp(SrtpContext* ctx, uint8_t* data, int* len, int cap) noexcept nogil:
    if not is_rtp(data, len[0]):
        return SRTP_BAD
    if len[0] > cap - ctx.overhead:
        return SRTP_NO_ROOM
    return seal(protect, ctx.session_out, data, len)


cdef int srtp_seal_rtcp(SrtpContext* ctx, uint8_t* data, int* len, int cap) noexcept nogil:
    if not is_rtcp(data, len[0]):
        return SRTP_BAD
    if len[0] > cap - ctx.rtcp_overhead:
        return SRTP_NO_ROOM
    return seal(protect_rtcp, ctx.session_out, data, len)


cdef int srtp_open_rtp(SrtpContext* ctx, uint8_t* data, int* len) noexcept nogil:
    # The tag is no part of the header, so what libsrtp parses is checked without it.
    if not is_rtp(data, len[0] - ctx.overhead):
        return SRTP_BAD
    return open_checked(unprotect, ctx, load32(data + 8), data, len)


cdef int srtp_open_rtcp(SrtpContext* ctx, uint8_t* data, int* len) noexcept nogil:
    if not is_rtcp(data, len[0] - ctx.rtcp_overhead):
        return SRTP_BAD
    return open_checked(unprotect_rtcp, ctx, load32(data + 4), data, len)


cdef bint srtp_forget_in(SrtpContext* ctx, uint32_t ssrc) noexcept nogil:
    cdef int at = find_ssrc(ctx, ssrc)
    if at < 0:
        return False
    ctx.ssrc_count -= 1
    ctx.ssrcs[at] = ctx.ssrcs[ctx.ssrc_count]
    ctx.ssrc_last = 0
    return remove_stream(ctx.session_in, htonl(ssrc)) == STATUS_OK


cdef bint srtp_forget_out(SrtpContext* ctx, uint32_t ssrc) noexcept nogil:
    if ctx.session_out == NULL:
        return False
    return remove_stream(ctx.session_out, htonl(ssrc)) == STATUS_OK


# --- for Python -----------------------------------------------------------------------------------------

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
    policy.window_size = WINDOW
    # In AES-CM a repeat gives away nothing that the first packet didn't, as long as the payload is the same.
    # In GCM it would give away the authentication key.
    policy.allow_repeat_tx = profile == Profile.AES128_CM_SHA1_80
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
        sender = new_session(profile, send_key, Policy.SSRC_ANY_OUTBOUND)
        receiver = new_session(profile, recv_key, Policy.SSRC_ANY_INBOUND)
        self.sessions = (sender, receiver)
        self.ctx.session_out = <void*><size_t>int(ffi.cast("uintptr_t", sender._srtp[0]))
        self.ctx.session_in = <void*><size_t>int(ffi.cast("uintptr_t", receiver._srtp[0]))
        self.ctx.profile = profile
        self.ctx.overhead = profile.overhead
        self.ctx.rtcp_overhead = profile.rtcp_overhead

    def __dealloc__(self):
        free(self.ctx)

    @property
    def context_address(self):
        return <size_t>self.ctx

    @property
    def profile(self):
        return Profile(self.ctx.profile)

    @property
    def ssrcs(self):
        cdef int i
        return [self.ctx.ssrcs[i] for i in range(self.ctx.ssrc_count)]

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
