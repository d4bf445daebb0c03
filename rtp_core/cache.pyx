"""Retransmission cache: an index by sequence number over a slab that is written round and round.

Nothing is evicted by hand. A slot names the packet's place in the endless sequence of bytes written so far; once
the slab has been written over that place, or the packet is too old, the slot no longer answers.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef enum:
    MAX_SLOTS = 32768  # half of the sequence space: two packets of one slot are never both alive
    MIN_CAPACITY = 2048
    MAX_CAPACITY = 0x40000000
    GUARD_MASK = GUARD_SLOTS - 1
    GUARD_MIN_US = 10000
    GUARD_MAX_US = 250000


cdef bint cache_init(PacketCache* cache, uint32_t slots, uint32_t capacity, int64_t max_age_us) noexcept nogil:
    cdef uint32_t i
    memset(cache, 0, sizeof(PacketCache))
    if slots == 0 or slots > MAX_SLOTS or slots & (slots - 1) or capacity < MIN_CAPACITY or capacity > MAX_CAPACITY:
        return False
    cache.slots = <CacheSlot*>malloc(slots * sizeof(CacheSlot))
    cache.slab = <uint8_t*>malloc(capacity)
    if cache.slots == NULL or cache.slab == NULL:
        cache_free(cache)
        return False
    for i in range(slots):
        cache.slots[i].seq = -1
        cache.slots[i].length = 0
    cache.mask = slots - 1
    cache.capacity = capacity
    cache.max_age_us = max_age_us
    return True


cdef void cache_free(PacketCache* cache) noexcept nogil:
    """Harmless on a zeroed or already freed cache."""
    free(cache.slots)
    free(cache.slab)
    cache.slots = NULL
    cache.slab = NULL


cdef bint cache_put(PacketCache* cache, int64_t seq, const uint8_t* packet, uint16_t length, uint32_t tag,
                    int64_t now) noexcept nogil:
    cdef CacheSlot* slot
    cdef uint32_t offset
    if cache.slab == NULL or length == 0 or length > cache.capacity:
        return False
    offset = <uint32_t>(cache.head % cache.capacity)
    if length > cache.capacity - offset:  # a packet lies in one piece: leave the rest of this round empty
        cache.head += cache.capacity - offset
        offset = 0
    memcpy(cache.slab + offset, packet, length)
    slot = &cache.slots[seq & cache.mask]
    slot.seq = seq
    slot.arrived = now
    slot.position = cache.head
    slot.tag = tag
    slot.length = length
    cache.head += length
    cache.stored += 1
    return True


cdef bint cache_get(PacketCache* cache, uint16_t seq, int64_t now, CachedPacket* found) noexcept nogil:
    cdef CacheSlot* slot
    if cache.slab == NULL:
        return False
    slot = &cache.slots[seq & cache.mask]
    if slot.length == 0 or <uint16_t>slot.seq != seq or slot.position + cache.capacity < cache.head \
            or now - slot.arrived > cache.max_age_us:
        cache.misses += 1
        return False
    found.data = cache.slab + slot.position % cache.capacity
    found.length = slot.length
    found.seq = slot.seq
    found.arrived = slot.arrived
    found.tag = slot.tag
    cache.hits += 1
    return True


cdef void guard_init(ResendGuard* guard) noexcept nogil:
    cdef uint32_t i
    for i in range(GUARD_SLOTS):
        guard.seq[i] = 0
        guard.sent_at[i] = -GUARD_MAX_US - 1


cdef bint guard_allow(ResendGuard* guard, uint16_t seq, int64_t now, int64_t rtt) noexcept nogil:
    """Two numbers that share a slot forget each other: then the guard errs towards sending."""
    cdef uint32_t at = seq & GUARD_MASK
    cdef int64_t wait = min(max(rtt, <int64_t>GUARD_MIN_US), <int64_t>GUARD_MAX_US)
    if guard.seq[at] == seq and now - guard.sent_at[at] < wait:
        return False
    guard.seq[at] = seq
    guard.sent_at[at] = now
    return True


# --- for tests and tools --------------------------------------------------------------------------------

cdef class RetransmissionCache:
    """Owner of one stream's cache."""

    cdef PacketCache cache

    def __cinit__(self, slots: int, capacity: int, max_age_us: int):
        if not cache_init(&self.cache, slots, capacity, max_age_us):
            raise ValueError("slots must be a power of two up to 32768, capacity at least 2048 bytes")

    def __dealloc__(self):
        cache_free(&self.cache)

    def put(self, seq: int, bytes packet, now: int, tag: int = 0) -> bool:
        if len(packet) > 0xFFFF:
            return False
        return cache_put(&self.cache, seq, packet, <uint16_t>len(packet), tag, now)

    def get(self, seq: int, now: int):
        """(packet, extended seq, arrival µs, tag), or None."""
        cdef CachedPacket found
        if not cache_get(&self.cache, seq, now, &found):
            return None
        return found.data[:found.length], found.seq, found.arrived, found.tag

    @property
    def counters(self) -> tuple[int, int, int]:
        """(stored, hits, misses)."""
        return self.cache.stored, self.cache.hits, self.cache.misses


cdef class Guard:
    """Owner of one consumer's guard."""

    cdef ResendGuard guard

    def __cinit__(self):
        guard_init(&self.guard)

    def allow(self, seq: int, now: int, rtt: int) -> bool:
        return guard_allow(&self.guard, seq, now, rtt)
