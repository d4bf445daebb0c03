"""Sealing and opening by either cipher. The C interface and what each function promises is in protect.pxd.

A packet of a new inbound SSRC is checked with the session's keys, and only when it is authentic does the SSRC get
state of its own. So a stranger's flood costs nothing but the checks; `SRTP_MAX_SSRCS` bounds what an authenticated
peer can make. libsrtp does the same, and walks a list at each look-up.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from rtp_core.gcm cimport (
    GCM_SALT, GCM_TAG, gcm_free, gcm_init, gcm_open, gcm_rtcp_nonce, gcm_rtp_nonce, gcm_seal,
)
from rtp_core.native cimport native_symbol
from rtp_core.replay cimport replay_add, replay_fresh, replay_index
from rtp_core.rtp cimport RTP_OK, RtpHeader, load16, load32, rtp_parse_header, store32

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
    ESRTCP_LEN = 4  # the word with the index
    LAST_RTCP_INDEX = 0x7FFFFFFF

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


cdef int rtp_header_len(const uint8_t* data, int len) noexcept nogil:
    cdef RtpHeader header
    return header.header_len if rtp_parse_header(data, len, &header) == RTP_OK else -1


cdef bint is_rtcp(const uint8_t* data, int len) noexcept nogil:
    return len >= RTCP_HEADER_LEN and data[0] >> 6 == 2


# --- sealing --------------------------------------------------------------------------------------------

cdef SrtpOut* srtp_out(SrtpContext* ctx, uint32_t ssrc) noexcept nogil:
    cdef SrtpOut* out = ctx.first_out
    while out != NULL:
        if out.ssrc == ssrc:
            return out
        out = out.next
    out = <SrtpOut*>calloc(1, sizeof(SrtpOut))
    if out != NULL:
        out.ssrc = ssrc
        out.next = ctx.first_out
        ctx.first_out = out
    return out


cdef int seal_old(Transform transform, void* session, uint8_t* data, int* len) noexcept nogil:
    cdef int size = len[0]
    cdef int verdict
    if session == NULL:
        return SRTP_NO_CONTEXT
    verdict = verdict_of(transform(session, data, &size))
    if verdict == SRTP_OK:
        len[0] = size
    return verdict


cdef int srtp_seal_apart(const SrtpSeal* seal, SrtpOut* out, uint8_t* data, int header_len, const uint8_t* payload,
                         int payload_len, int* len) noexcept nogil:
    cdef uint8_t nonce[GCM_SALT]
    cdef int64_t index
    cdef int size = header_len + payload_len
    cdef int verdict
    if seal.profile == SRTP_AES128_CM_SHA1_80:
        if payload != data + header_len:
            memcpy(data + header_len, payload, payload_len)
        verdict = seal_old(protect, seal.cipher, data, &size)
        if verdict == SRTP_OK:
            len[0] = size
        return verdict
    if seal.cipher == NULL:
        return SRTP_NO_CONTEXT
    if out == NULL:
        return SRTP_FAILED
    index = replay_index(&out.rtp, load16(data + 2))
    if not replay_fresh(&out.rtp, index):
        return SRTP_REPLAY
    if index >> 48:
        return SRTP_FAILED  # RFC 3711 section 9.2: these keys have had their day
    gcm_rtp_nonce(seal.salt, out.ssrc, index, nonce)
    # Before the cipher has run: a nonce that may have been used counts as used.
    replay_add(&out.rtp, index)
    if not gcm_seal(seal.cipher, nonce, data, header_len, payload, data + header_len, payload_len):
        return SRTP_FAILED
    len[0] = size + GCM_TAG
    return SRTP_OK


cdef int srtp_seal_rtp(SrtpContext* ctx, uint8_t* data, int* len, int cap) noexcept nogil:
    cdef int header_len = rtp_header_len(data, len[0])
    if header_len < 0:
        return SRTP_BAD
    if len[0] > cap - ctx.overhead:
        return SRTP_NO_ROOM
    if ctx.seal.cipher == NULL:
        return SRTP_NO_CONTEXT
    return srtp_seal_apart(&ctx.seal, srtp_out(ctx, load32(data + 8)) if srtp_is_gcm(ctx) else NULL, data, header_len,
                           data + header_len, len[0] - header_len, len)


cdef int srtp_seal_rtcp(SrtpContext* ctx, uint8_t* data, int* len, int cap) noexcept nogil:
    """RFC 7714 section 9: header, ciphertext, tag, and in the clear the flag and the index."""
    cdef uint8_t nonce[GCM_SALT]
    cdef uint8_t aad[RTCP_HEADER_LEN + ESRTCP_LEN]
    cdef uint32_t word
    cdef int size = len[0]
    if not is_rtcp(data, size):
        return SRTP_BAD
    if size > cap - ctx.rtcp_overhead:
        return SRTP_NO_ROOM
    if not srtp_is_gcm(ctx):
        return seal_old(protect_rtcp, ctx.seal.cipher, data, len)
    if ctx.send.rtcp == NULL:
        return SRTP_NO_CONTEXT
    if ctx.rtcp_index == LAST_RTCP_INDEX:
        return SRTP_FAILED
    ctx.rtcp_index += 1
    word = ctx.rtcp_index | <uint32_t>0x80000000
    memcpy(aad, data, RTCP_HEADER_LEN)
    store32(aad + RTCP_HEADER_LEN, word)
    gcm_rtcp_nonce(ctx.send.rtcp_salt, load32(data + 4), ctx.rtcp_index, nonce)
    if not gcm_seal(ctx.send.rtcp, nonce, aad, sizeof(aad), data + RTCP_HEADER_LEN, data + RTCP_HEADER_LEN,
                    size - RTCP_HEADER_LEN):
        return SRTP_FAILED
    store32(data + size + GCM_TAG, word)
    len[0] = size + GCM_TAG + ESRTCP_LEN
    return SRTP_OK


# --- opening --------------------------------------------------------------------------------------------

cdef int accept(SrtpContext* ctx, uint32_t ssrc, int known, SrtpIn* stream) noexcept nogil:
    """An authentic packet: `known` is the SSRC's place, or -1 and it gets one, with `stream` as its windows."""
    if known < 0:
        known = ctx.ssrc_count
        ctx.ssrcs[known] = ssrc
        ctx.streams[known] = stream
        ctx.ssrc_count += 1
    ctx.ssrc_last = known
    ctx.opened += 1
    ctx.used[known] = ctx.opened
    return SRTP_OK


cdef int open_old(Transform transform, SrtpContext* ctx, uint32_t ssrc, uint8_t* data, int* len) noexcept nogil:
    cdef int size = len[0]
    cdef int known, verdict
    if ctx.session_in == NULL:
        return SRTP_NO_CONTEXT
    known = find_ssrc(ctx, ssrc)
    if known < 0 and ctx.ssrc_count == SRTP_MAX_SSRCS:
        return SRTP_TOO_MANY
    verdict = verdict_of(transform(ctx.session_in, data, &size))
    if verdict == SRTP_OK:
        len[0] = size
        accept(ctx, ssrc, known, NULL)
    return verdict


cdef int take(SrtpContext* ctx, uint32_t ssrc, int known, bint rtcp, int64_t index) noexcept nogil:
    """After authentication: note the index, with state for a new SSRC."""
    cdef SrtpIn* stream
    if known >= 0:
        stream = ctx.streams[known]
    else:
        stream = <SrtpIn*>calloc(1, sizeof(SrtpIn))
        if stream == NULL:
            return SRTP_FAILED
    replay_add(&stream.rtcp if rtcp else &stream.rtp, index)
    return accept(ctx, ssrc, known, stream)


cdef int srtp_open_rtp(SrtpContext* ctx, uint8_t* data, int* len) noexcept nogil:
    cdef uint8_t nonce[GCM_SALT]
    cdef int size = len[0] - ctx.overhead
    # The tag is no part of the header, so what is parsed is checked without it.
    cdef int header_len = rtp_header_len(data, size)
    cdef uint32_t ssrc
    cdef int64_t index
    cdef int known, verdict
    if header_len < 0:
        return SRTP_BAD
    ssrc = load32(data + 8)
    if not srtp_is_gcm(ctx):
        return open_old(unprotect, ctx, ssrc, data, len)
    if ctx.receive.rtp == NULL:
        return SRTP_NO_CONTEXT
    known = find_ssrc(ctx, ssrc)
    if known >= 0:
        index = replay_index(&ctx.streams[known].rtp, load16(data + 2))
        if not replay_fresh(&ctx.streams[known].rtp, index):
            return SRTP_REPLAY
    elif ctx.ssrc_count == SRTP_MAX_SSRCS:
        return SRTP_TOO_MANY
    else:
        index = load16(data + 2)
    gcm_rtp_nonce(ctx.receive.rtp_salt, ssrc, index, nonce)
    if not gcm_open(ctx.receive.rtp, nonce, data, header_len, data + header_len, data + header_len,
                    size - header_len, data + size):
        return SRTP_AUTH_FAIL
    verdict = take(ctx, ssrc, known, False, index)
    if verdict == SRTP_OK:
        len[0] = size
    return verdict


cdef int srtp_open_rtcp(SrtpContext* ctx, uint8_t* data, int* len) noexcept nogil:
    cdef uint8_t nonce[GCM_SALT]
    cdef uint8_t aad[RTCP_HEADER_LEN + ESRTCP_LEN]
    cdef int size = len[0] - ctx.rtcp_overhead
    cdef uint32_t ssrc, word
    cdef int known, verdict
    if not is_rtcp(data, size):
        return SRTP_BAD
    ssrc = load32(data + 4)
    if not srtp_is_gcm(ctx):
        return open_old(unprotect_rtcp, ctx, ssrc, data, len)
    if ctx.receive.rtcp == NULL:
        return SRTP_NO_CONTEXT
    word = load32(data + size + GCM_TAG)
    if not word >> 31:
        return SRTP_AUTH_FAIL  # not encrypted, which RFC 8834 section 4.2 does not provide for
    word &= LAST_RTCP_INDEX
    known = find_ssrc(ctx, ssrc)
    if known >= 0 and not replay_fresh(&ctx.streams[known].rtcp, word):
        return SRTP_REPLAY
    if known < 0 and ctx.ssrc_count == SRTP_MAX_SSRCS:
        return SRTP_TOO_MANY
    memcpy(aad, data, RTCP_HEADER_LEN)
    memcpy(aad + RTCP_HEADER_LEN, data + size + GCM_TAG, ESRTCP_LEN)
    gcm_rtcp_nonce(ctx.receive.rtcp_salt, ssrc, word, nonce)
    if not gcm_open(ctx.receive.rtcp, nonce, aad, sizeof(aad), data + RTCP_HEADER_LEN, data + RTCP_HEADER_LEN,
                    size - RTCP_HEADER_LEN, data + size):
        return SRTP_AUTH_FAIL
    verdict = take(ctx, ssrc, known, True, word)
    if verdict == SRTP_OK:
        len[0] = size
    return verdict


# --- forgetting -----------------------------------------------------------------------------------------

cdef bint srtp_forget_in(SrtpContext* ctx, uint32_t ssrc) noexcept nogil:
    cdef int at = find_ssrc(ctx, ssrc)
    if at < 0:
        return False
    free(ctx.streams[at])
    ctx.ssrc_count -= 1
    ctx.ssrcs[at] = ctx.ssrcs[ctx.ssrc_count]
    ctx.streams[at] = ctx.streams[ctx.ssrc_count]
    ctx.used[at] = ctx.used[ctx.ssrc_count]
    ctx.streams[ctx.ssrc_count] = NULL
    ctx.ssrc_last = 0
    return srtp_is_gcm(ctx) or remove_stream(ctx.session_in, htonl(ssrc)) == STATUS_OK


cdef bint srtp_forget_out(SrtpContext* ctx, uint32_t ssrc) noexcept nogil:
    cdef SrtpOut** link = &ctx.first_out
    cdef SrtpOut* out
    if not srtp_is_gcm(ctx):
        return ctx.seal.cipher != NULL and remove_stream(ctx.seal.cipher, htonl(ssrc)) == STATUS_OK
    while link[0] != NULL:
        out = link[0]
        if out.ssrc == ssrc:
            link[0] = out.next
            free(out)
            return True
        link = &out.next
    return False


# --- keys -----------------------------------------------------------------------------------------------

cdef int srtp_key_gcm(SrtpContext* ctx, const uint8_t* send_key, const uint8_t* recv_key, int key_len) noexcept nogil:
    if gcm_init(&ctx.send, send_key, key_len, True) != 0:
        return -1
    ctx.seal.cipher = ctx.send.rtp
    memcpy(ctx.seal.salt, ctx.send.rtp_salt, GCM_SALT)
    return gcm_init(&ctx.receive, recv_key, key_len, False)


cdef void srtp_free(SrtpContext* ctx) noexcept nogil:
    cdef SrtpOut* out
    cdef int i
    while ctx.first_out != NULL:
        out = ctx.first_out
        ctx.first_out = out.next
        free(out)
    for i in range(ctx.ssrc_count):
        free(ctx.streams[i])
    gcm_free(&ctx.send)
    gcm_free(&ctx.receive)
    free(ctx)
