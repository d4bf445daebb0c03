"""HMAC-SHA1 by OpenSSL's SHA-1 out of pylibsrtp's shared object, and CRC-32. What is promised is in digest.pxd."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from rtp_core.native cimport native_symbol

cdef enum:
    BLOCK = 64  # of SHA-1

ctypedef struct Sha1:
    # OpenSSL's SHA_CTX: five words of state, two of count, a block of sixteen, and the fill. 96 bytes.
    uint32_t words[24]

cdef int (*sha1_init)(Sha1*) noexcept nogil
cdef int (*sha1_update)(Sha1*, const void*, size_t) noexcept nogil
cdef int (*sha1_final)(uint8_t*, Sha1*) noexcept nogil
sha1_init = <int (*)(Sha1*) noexcept nogil>native_symbol("SHA1_Init")
sha1_update = <int (*)(Sha1*, const void*, size_t) noexcept nogil>native_symbol("SHA1_Update")
sha1_final = <int (*)(uint8_t*, Sha1*) noexcept nogil>native_symbol("SHA1_Final")

cdef uint32_t CRC_TABLE[256]


cdef void make_crc_table() noexcept nogil:
    cdef uint32_t n, c
    cdef int k
    for n in range(256):
        c = n
        for k in range(8):
            c = (<uint32_t>0xEDB88320 ^ (c >> 1)) if c & 1 else c >> 1
        CRC_TABLE[n] = c

make_crc_table()


cdef uint32_t crc32(const uint8_t* data, int len) noexcept nogil:
    cdef uint32_t c = 0xFFFFFFFF
    cdef int i
    for i in range(len):
        c = CRC_TABLE[(c ^ data[i]) & 0xFF] ^ (c >> 8)
    return ~c


cdef void hmac_sha1(const uint8_t* key, int key_len, const uint8_t* a, int a_len, const uint8_t* b, int b_len,
                    uint8_t* digest) noexcept nogil:
    """RFC 2104."""
    cdef Sha1 sha
    cdef uint8_t block[BLOCK]
    cdef int i
    memset(block, 0, BLOCK)
    if key_len > BLOCK:
        sha1_init(&sha)
        sha1_update(&sha, key, key_len)
        sha1_final(block, &sha)
    else:
        memcpy(block, key, key_len)
    for i in range(<int>BLOCK):
        block[i] ^= 0x36
    sha1_init(&sha)
    sha1_update(&sha, block, BLOCK)
    sha1_update(&sha, a, a_len)
    sha1_update(&sha, b, b_len)
    sha1_final(digest, &sha)
    for i in range(<int>BLOCK):
        block[i] ^= 0x36 ^ 0x5C
    sha1_init(&sha)
    sha1_update(&sha, block, BLOCK)
    sha1_update(&sha, digest, SHA1_LEN)
    sha1_final(digest, &sha)


# --- for Python -----------------------------------------------------------------------------------------

def hmac_sha1_of(bytes key, bytes a, bytes b=b""):
    cdef uint8_t digest[SHA1_LEN]
    hmac_sha1(key, <int>len(key), a, <int>len(a), b, <int>len(b), digest)
    return digest[:SHA1_LEN]


def crc32_of(bytes data):
    return crc32(data, <int>len(data))
