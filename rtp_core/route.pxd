"""Finding things: addresses, paths, a keyed hash, and an open-addressed map from 64 bits to 32."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

cdef struct Address:
    uint8_t ip[16]  # IPv6, or IPv4 as ::ffff:a.b.c.d
    uint32_t scope  # of an IPv6 link-local address
    uint16_t port  # host order

cdef struct Path:
    # Where a packet came from and where the answer to it goes.
    Address remote
    uint8_t local_ip[16]  # the address of ours that was asked, so that the answer leaves from it
    uint32_t channel  # 0: UDP; else the TCP connection's id
    uint16_t socket  # index of the UDP socket

cdef struct MapEntry:
    uint64_t key
    uint32_t value
    uint32_t used

cdef struct Map64:
    MapEntry* entries
    uint32_t mask
    uint32_t count

cdef struct Limiter:
    # Token buckets by source address: answers to those who have proved nothing are rationed.
    int64_t updated_us[1024]
    int32_t tokens_milli[1024]
    int32_t per_second
    int32_t burst


cdef inline bint is_ipv4(const uint8_t* ip) noexcept nogil:
    cdef int i
    for i in range(10):
        if ip[i]:
            return False
    return ip[10] == 0xFF and ip[11] == 0xFF

cdef inline bint same_address(const Address* a, const Address* b) noexcept nogil:
    return a.port == b.port and a.scope == b.scope and memcmp(a.ip, b.ip, 16) == 0

cdef inline bint same_path(const Path* a, const Path* b) noexcept nogil:
    return a.channel == b.channel and (a.channel != 0 or same_address(&a.remote, &b.remote))

cdef uint64_t hash_bytes(const uint8_t* data, uint32_t size, uint64_t seed) noexcept nogil
cdef uint64_t hash_path(const Path* path, uint64_t seed) noexcept nogil

cdef int map_init(Map64* map) noexcept nogil
cdef void map_free(Map64* map) noexcept nogil
cdef int map_get(const Map64* map, uint64_t key, uint32_t* value) noexcept nogil  # 1: found
cdef int map_set(Map64* map, uint64_t key, uint32_t value) noexcept nogil  # -1: no memory
cdef void map_remove(Map64* map, uint64_t key) noexcept nogil

cdef void limiter_init(Limiter* limiter, int per_second, int burst) noexcept nogil
cdef bint limiter_allow(Limiter* limiter, const uint8_t* ip, uint64_t seed, int64_t now_us) noexcept nogil


cdef inline bint allowance_left(int64_t paid_us, int64_t now_us, int64_t each_us, int64_t burst) noexcept nogil:
    """Would `allowance_take` be true?"""
    return paid_us - now_us < burst * each_us


cdef inline bint allowance_take(int64_t* paid_us, int64_t now_us, int64_t each_us, int64_t burst) noexcept nogil:
    """One of what comes at most every `each_us`, or up to `burst` at once (the generic cell rate algorithm)."""
    if not allowance_left(paid_us[0], now_us, each_us, burst):
        return False
    paid_us[0] = (paid_us[0] if paid_us[0] > now_us else now_us) + each_us
    return True
