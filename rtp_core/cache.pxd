"""Retransmission cache of one producer's stream, and a guard against answering twice within a round trip."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    GUARD_SLOTS = 128  # a power of two

ctypedef struct CacheSlot:
    int64_t seq  # extended, -1: empty
    int64_t arrived  # µs
    uint64_t position  # in the endless byte sequence that the slab is a window of
    uint32_t tag
    uint16_t length

ctypedef struct PacketCache:
    CacheSlot* slots
    uint8_t* slab
    uint32_t mask  # slots - 1
    uint32_t capacity  # bytes of the slab
    int64_t max_age_us
    uint64_t head  # where the next packet goes
    uint64_t stored  # counters
    uint64_t hits
    uint64_t misses

ctypedef struct CachedPacket:
    const uint8_t* data  # valid until the next `cache_put`
    uint16_t length
    int64_t seq
    int64_t arrived  # µs
    uint32_t tag

ctypedef struct ResendGuard:
    uint16_t seq[GUARD_SLOTS]
    int64_t sent_at[GUARD_SLOTS]

# `slots` is a power of two up to 32768, `capacity` at least 2048 bytes. False: no memory, or such values.
cdef bint cache_init(PacketCache* cache, uint32_t slots, uint32_t capacity, int64_t max_age_us) noexcept nogil
cdef void cache_free(PacketCache* cache) noexcept nogil
# Keep a copy of a decrypted RTP packet (header and payload). `tag` is the caller's. False: it is too long.
cdef bint cache_put(PacketCache* cache, int64_t seq, const uint8_t* packet, uint16_t length, uint32_t tag,
                    int64_t now) noexcept nogil
cdef bint cache_get(PacketCache* cache, uint16_t seq, int64_t now, CachedPacket* found) noexcept nogil

cdef void guard_init(ResendGuard* guard) noexcept nogil
# May `seq` be sent again now? True also notes that it was. `rtt` in µs, bounded to 10..250 ms.
cdef bint guard_allow(ResendGuard* guard, uint16_t seq, int64_t now, int64_t rtt) noexcept nogil
