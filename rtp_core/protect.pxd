"""SRTP and SRTCP of one transport (RFC 3711, RFC 7714).

AES-GCM runs on OpenSSL's own functions with our windows (gcm.pyx, replay.pxd), AES-CM on libsrtp. A context belongs
to one thread at a time. `SrtpPair` (Python) owns the memory; the engine gets its address and must have let go of it
before the pair is dropped.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from rtp_core.gcm cimport GCM_SALT, GcmKeys
from rtp_core.replay cimport ReplayWindow


cdef enum SrtpProfile:
    # The numbers of RFC 5764 and RFC 7714, which are libsrtp's too.
    SRTP_AES128_CM_SHA1_80 = 1
    SRTP_AEAD_AES_128_GCM = 7
    SRTP_AEAD_AES_256_GCM = 8


cdef enum SrtpVerdict:
    SRTP_OK = 0
    SRTP_AUTH_FAIL = -1
    SRTP_REPLAY = -2  # seen already, or too old for the window
    SRTP_NO_CONTEXT = -3  # no session, or no key for this SSRC
    SRTP_BAD = -4  # not an RTP or RTCP packet: too short, or its lengths don't fit
    SRTP_NO_ROOM = -5  # sealing needs `overhead` more bytes than `cap` leaves
    SRTP_TOO_MANY = -6  # a new inbound SSRC, and the session has SRTP_MAX_SSRCS
    SRTP_FAILED = -7  # anything else that libsrtp refuses, an exhausted key among it


cdef enum SrtpLimits:
    SRTP_MAX_SSRCS = 64  # inbound SSRCs of one transport
    SRTP_MAX_OVERHEAD = 20  # of any profile, for RTP and RTCP


ctypedef struct SrtpIn:
    # One inbound SSRC's windows. libsrtp keeps its own.
    ReplayWindow rtp
    ReplayWindow rtcp


ctypedef struct SrtpOut:
    # One outbound SSRC of AES-GCM. Whoever seals may have it among its own; all but `ssrc` zeroed is a valid start.
    uint32_t ssrc
    SrtpOut* next  # of the context's
    ReplayWindow rtp


ctypedef struct SrtpSeal:
    # What sealing an RTP packet reads, apart so that a copy can lie beside what else a packet reads.
    int profile
    uint8_t salt[GCM_SALT]
    void* cipher  # EVP_CIPHER_CTX* of AES-GCM, srtp_t of AES-CM; NULL: there are no keys


ctypedef struct SrtpContext:
    # owned by SrtpPair, fixed
    SrtpSeal seal
    int overhead  # bytes that sealing adds to an RTP packet
    int rtcp_overhead  # and to an RTCP packet
    void* session_in  # srtp_t, of AES-CM
    GcmKeys receive  # of AES-GCM
    GcmKeys send
    # what is sent
    SrtpOut* first_out  # of `srtp_out`
    uint32_t rtcp_index  # of the last SRTCP packet; one count for all SSRCs keeps every nonce apart
    # the inbound SSRCs that have proved themselves
    int ssrc_count
    int ssrc_last  # index of the one met last
    uint32_t ssrcs[SRTP_MAX_SSRCS]
    SrtpIn* streams[SRTP_MAX_SSRCS]
    uint64_t used[SRTP_MAX_SSRCS]  # `opened` at each one's last packet
    uint64_t opened


# All work in place, take the length in and give the new one out through `len` (unchanged on failure), and
# return a SrtpVerdict. After a failure the bytes of `data` are undefined.

# `cap` is what the buffer holds. A sequence number may be sealed again only with SRTP_AES128_CM_SHA1_80 (and
# only with the same payload): in GCM a second packet under one nonce would give the key away, so it is
# refused as SRTP_REPLAY. Retransmissions go by RTX, or as a kept copy of the sealed bytes.
cdef int srtp_seal_rtp(SrtpContext* ctx, uint8_t* data, int* len, int cap) noexcept nogil
cdef int srtp_seal_rtcp(SrtpContext* ctx, uint8_t* data, int* len, int cap) noexcept nogil
cdef inline bint srtp_is_gcm(const SrtpContext* ctx) noexcept nogil:
    return ctx.seal.profile != SRTP_AES128_CM_SHA1_80

# The state of an outbound SSRC as the context keeps it, made when it is new; NULL: no memory. Valid until forgotten.
cdef SrtpOut* srtp_out(SrtpContext* ctx, uint32_t ssrc) noexcept nogil
# As srtp_seal_rtp, for a stream that was found before (NULL for AES-CM): `header_len` bytes of header lie at `data`,
# the payload may lie elsewhere and is encrypted on its way there. `data` has room for all and the overhead. `len`: the
# sealed length.
cdef int srtp_seal_apart(const SrtpSeal* seal, SrtpOut* out, uint8_t* data, int header_len, const uint8_t* payload,
                         int payload_len, int* len) noexcept nogil
cdef int srtp_open_rtp(SrtpContext* ctx, uint8_t* data, int* len) noexcept nogil
cdef int srtp_open_rtcp(SrtpContext* ctx, uint8_t* data, int* len) noexcept nogil

# Frees the state of an inbound SSRC (its replay window too). True if there was one.
cdef bint srtp_forget_in(SrtpContext* ctx, uint32_t ssrc) noexcept nogil

# The same for an outbound one. Its rollover counter goes too, so that SSRC must never be used again under
# these keys: a new consumer gets a new random SSRC.
cdef bint srtp_forget_out(SrtpContext* ctx, uint32_t ssrc) noexcept nogil

# AES-GCM's master keys and salts. 0, or -1: no memory.
cdef int srtp_key_gcm(SrtpContext* ctx, const uint8_t* send_key, const uint8_t* recv_key, int key_len) noexcept nogil
# The context itself too.
cdef void srtp_free(SrtpContext* ctx) noexcept nogil
