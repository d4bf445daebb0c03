"""AES-GCM as SRTP uses it (RFC 7714), by OpenSSL's EVP functions out of pylibsrtp's wheel."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:
    GCM_TAG = 16
    GCM_SALT = 12

ctypedef struct GcmKeys:
    # One direction's session keys. All SSRCs share them, and only the nonce differs: so two keyed ciphers do.
    void* rtp  # EVP_CIPHER_CTX*
    void* rtcp
    uint8_t rtp_salt[GCM_SALT]
    uint8_t rtcp_salt[GCM_SALT]

# `key_len` is 16 or 32, `master` key and salt in one. 0, or -1: no memory. `sealing`: which way it will be used.
cdef int gcm_init(GcmKeys* keys, const uint8_t* master, int key_len, bint sealing) noexcept nogil
cdef void gcm_free(GcmKeys* keys) noexcept nogil  # harmless on zeroed memory

# Encrypts `size` bytes of `plain` to `out` (the same place, or apart from it), with the tag behind. False: OpenSSL
# refused.
cdef bint gcm_seal(void* cipher, const uint8_t* nonce, const uint8_t* aad, int aad_len, const uint8_t* plain,
                   uint8_t* out, int size) noexcept nogil
# `sealed` holds `size` bytes and the tag behind them; `tag` may be elsewhere. False: not authentic, and `out` is
# not to be used.
cdef bint gcm_open(void* cipher, const uint8_t* nonce, const uint8_t* aad, int aad_len, const uint8_t* sealed,
                   uint8_t* out, int size, const uint8_t* tag) noexcept nogil

# RFC 7714 section 8.1: index is the rollover counter and the sequence number. Section 9.1: the SRTCP index.
cdef inline void gcm_rtp_nonce(const uint8_t* salt, uint32_t ssrc, int64_t index, uint8_t* out) noexcept nogil:
    cdef int i
    out[0] = salt[0]
    out[1] = salt[1]
    for i in range(4):
        out[2 + i] = salt[2 + i] ^ <uint8_t>(ssrc >> (24 - 8 * i))
    for i in range(6):
        out[6 + i] = salt[6 + i] ^ <uint8_t>(index >> (40 - 8 * i))

cdef inline void gcm_rtcp_nonce(const uint8_t* salt, uint32_t ssrc, uint32_t index, uint8_t* out) noexcept nogil:
    gcm_rtp_nonce(salt, ssrc, <int64_t>index, out)
