"""The two checksums of STUN: HMAC-SHA1 (RFC 2104) and CRC-32 (ITU V.42)."""

from libc.stdint cimport uint8_t, uint32_t


cdef enum:
    SHA1_LEN = 20


# Of `a` followed by `b`, so that a header can be replaced without a copy of the rest. `digest` has SHA1_LEN bytes.
cdef void hmac_sha1(const uint8_t* key, int key_len, const uint8_t* a, int a_len, const uint8_t* b, int b_len,
                    uint8_t* digest) noexcept nogil

cdef uint32_t crc32(const uint8_t* data, int len) noexcept nogil
