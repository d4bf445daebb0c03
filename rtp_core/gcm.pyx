"""Key derivation (RFC 3711 section 4.3, with RFC 6188 for 256 bits) and one packet's encryption.

An EVP context is keyed once; a packet then costs setting the nonce and the cipher itself.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from rtp_core.native cimport native_symbol

cdef enum:
    OCTET_STRING = 5  # OSSL_PARAM_OCTET_STRING
    # Labels of the key derivation
    LABEL_RTP_KEY = 0
    LABEL_RTP_SALT = 2
    LABEL_RTCP_KEY = 3
    LABEL_RTCP_SALT = 5
    BLOCK = 16

cdef struct Param:
    # OSSL_PARAM
    const char* key
    unsigned int type
    void* data
    size_t size
    size_t returned

ctypedef void* (*New)() noexcept nogil
ctypedef void (*Free)(void*) noexcept nogil
ctypedef const void* (*Cipher)() noexcept nogil
ctypedef int (*Init)(void*, const void*, void*, const uint8_t*, const uint8_t*) noexcept nogil
ctypedef int (*Update)(void*, uint8_t*, int*, const uint8_t*, int) noexcept nogil
ctypedef int (*Final)(void*, uint8_t*, int*) noexcept nogil
ctypedef int (*Params)(void*, Param*) noexcept nogil

cdef New context_new = <New>native_symbol("EVP_CIPHER_CTX_new")
cdef Free context_free = <Free>native_symbol("EVP_CIPHER_CTX_free")
cdef Params get_params = <Params>native_symbol("EVP_CIPHER_CTX_get_params")
cdef Params set_params = <Params>native_symbol("EVP_CIPHER_CTX_set_params")
cdef Init encrypt_init = <Init>native_symbol("EVP_EncryptInit_ex")
cdef Update encrypt_update = <Update>native_symbol("EVP_EncryptUpdate")
cdef Final encrypt_final = <Final>native_symbol("EVP_EncryptFinal_ex")
cdef Init decrypt_init = <Init>native_symbol("EVP_DecryptInit_ex")
cdef Update decrypt_update = <Update>native_symbol("EVP_DecryptUpdate")
cdef Final decrypt_final = <Final>native_symbol("EVP_DecryptFinal_ex")
cdef Cipher gcm_128 = <Cipher>native_symbol("EVP_aes_128_gcm")
cdef Cipher gcm_256 = <Cipher>native_symbol("EVP_aes_256_gcm")
cdef Cipher ecb_128 = <Cipher>native_symbol("EVP_aes_128_ecb")
cdef Cipher ecb_256 = <Cipher>native_symbol("EVP_aes_256_ecb")


cdef bint derive(void* prf, const uint8_t* salt, int label, uint8_t* out, int size) noexcept nogil:
    """AES in counter mode over the label and the salt; the salt's 96 bits are padded to 112 with zeros."""
    cdef uint8_t block[BLOCK]
    cdef uint8_t stream[2 * BLOCK]
    cdef int made = 0
    cdef int got
    memset(block, 0, BLOCK)
    memcpy(block, salt, GCM_SALT)
    block[7] ^= <uint8_t>label
    while made < size:
        if encrypt_update(prf, stream + made, &got, block, BLOCK) != 1 or got != BLOCK:
            return False
        made += BLOCK
        block[15] += 1
    memcpy(out, stream, size)
    memset(stream, 0, sizeof(stream))
    return True


cdef void* keyed(void* prf, const uint8_t* salt, int label, int key_len, bint sealing) noexcept nogil:
    cdef uint8_t key[32]
    cdef void* context = context_new()
    cdef const void* cipher = gcm_128() if key_len == 16 else gcm_256()
    cdef int done
    if context == NULL or not derive(prf, salt, label, key, key_len):
        context_free(context)
        return NULL
    if sealing:
        done = encrypt_init(context, cipher, NULL, key, NULL)
    else:
        done = decrypt_init(context, cipher, NULL, key, NULL)
    memset(key, 0, sizeof(key))
    if done != 1:
        context_free(context)
        return NULL
    return context


cdef int gcm_init(GcmKeys* keys, const uint8_t* master, int key_len, bint sealing) noexcept nogil:
    cdef const uint8_t* salt = master + key_len
    cdef void* prf = context_new()
    cdef bint good
    memset(keys, 0, sizeof(GcmKeys))
    if prf == NULL:
        return -1
    good = encrypt_init(prf, ecb_128() if key_len == 16 else ecb_256(), NULL, master, NULL) == 1
    if good:
        keys.rtp = keyed(prf, salt, LABEL_RTP_KEY, key_len, sealing)
        keys.rtcp = keyed(prf, salt, LABEL_RTCP_KEY, key_len, sealing)
        good = keys.rtp != NULL and keys.rtcp != NULL
    good = good and derive(prf, salt, LABEL_RTP_SALT, keys.rtp_salt, GCM_SALT)
    good = good and derive(prf, salt, LABEL_RTCP_SALT, keys.rtcp_salt, GCM_SALT)
    context_free(prf)
    if not good:
        gcm_free(keys)
        return -1
    return 0


cdef void gcm_free(GcmKeys* keys) noexcept nogil:
    context_free(keys.rtp)
    context_free(keys.rtcp)
    memset(keys, 0, sizeof(GcmKeys))


cdef inline bint exchange_tag(Params how, void* cipher, uint8_t* tag) noexcept nogil:
    """Right through to the cipher: EVP_CIPHER_CTX_ctrl would make the same parameters, 14 ns later."""
    cdef Param params[2]
    memset(params, 0, sizeof(params))  # the second one ends the list
    params[0].key = b"tag"
    params[0].type = OCTET_STRING
    params[0].data = tag
    params[0].size = GCM_TAG
    return how(cipher, params) == 1


cdef bint gcm_seal(void* cipher, const uint8_t* nonce, const uint8_t* aad, int aad_len, const uint8_t* plain,
                   uint8_t* out, int size) noexcept nogil:
    cdef int got = 0
    if encrypt_init(cipher, NULL, NULL, NULL, nonce) != 1 or encrypt_update(cipher, NULL, &got, aad, aad_len) != 1:
        return False
    if size and (encrypt_update(cipher, out, &got, plain, size) != 1 or got != size):
        return False
    return encrypt_final(cipher, out + size, &got) == 1 and exchange_tag(get_params, cipher, out + size)


cdef bint gcm_open(void* cipher, const uint8_t* nonce, const uint8_t* aad, int aad_len, const uint8_t* sealed,
                   uint8_t* out, int size, const uint8_t* tag) noexcept nogil:
    cdef uint8_t expected[GCM_TAG]
    cdef int got = 0
    memcpy(expected, tag, GCM_TAG)
    if (
        decrypt_init(cipher, NULL, NULL, NULL, nonce) != 1
        or not exchange_tag(set_params, cipher, expected)
        or decrypt_update(cipher, NULL, &got, aad, aad_len) != 1
    ):
        return False
    if size and (decrypt_update(cipher, out, &got, sealed, size) != 1 or got != size):
        return False
    return decrypt_final(cipher, out + size, &got) == 1
