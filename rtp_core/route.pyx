"""Hash maps, path keys and the rationing of answers. All memory is the engine's; nothing here locks."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    START = 64  # entries; always a power of two
    BUCKETS = 1024


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    # The finaliser of splitmix64: every input bit reaches every output bit.
    x ^= x >> 30
    x *= <uint64_t>0xBF58476D1CE4E5B9
    x ^= x >> 27
    x *= <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef uint64_t hash_bytes(const uint8_t* data, uint32_t size, uint64_t seed) noexcept nogil:
    """Keyed by a secret `seed`, so that nobody outside can aim at one bucket. Eight bytes a round."""
    cdef uint64_t h = mix(seed ^ size)
    cdef uint64_t word
    while size >= 8:
        memcpy(&word, data, 8)
        h = mix(h ^ word) + seed
        data += 8
        size -= 8
    if size:
        word = 0
        memcpy(&word, data, size)
        h = mix(h ^ word) + seed
    return mix(h)


cdef uint64_t hash_path(const Path* path, uint64_t seed) noexcept nogil:
    cdef uint64_t key[4]
    if path.channel:
        key[0] = path.channel
        return hash_bytes(<uint8_t*>key, 8, ~seed)
    memcpy(key, path.remote.ip, 16)
    key[2] = path.remote.port
    key[3] = path.remote.scope
    return hash_bytes(<uint8_t*>key, 32, seed)


cdef int map_init(Map64* map) noexcept nogil:
    map.entries = <MapEntry*>calloc(START, sizeof(MapEntry))
    map.mask = START - 1
    map.count = 0
    return 0 if map.entries != NULL else -1


cdef void map_free(Map64* map) noexcept nogil:
    free(map.entries)
    map.entries = NULL


cdef int map_get(const Map64* map, uint64_t key, uint32_t* value) noexcept nogil:
    cdef uint32_t i = <uint32_t>mix(key) & map.mask
    while map.entries[i].used:
        if map.entries[i].key == key:
            value[0] = map.entries[i].value
            return 1
        i = (i + 1) & map.mask
    return 0


cdef void place(Map64* map, uint64_t key, uint32_t value) noexcept nogil:
    cdef uint32_t i = <uint32_t>mix(key) & map.mask
    while map.entries[i].used and map.entries[i].key != key:
        i = (i + 1) & map.mask
    if not map.entries[i].used:
        map.count += 1
    map.entries[i].key = key
    map.entries[i].value = value
    map.entries[i].used = 1


cdef int map_set(Map64* map, uint64_t key, uint32_t value) noexcept nogil:
    """Insert or overwrite; doubles at three quarters full."""
    cdef Map64 bigger
    cdef uint32_t i
    if (map.count + 1) * 4 > (map.mask + 1) * 3:
        bigger.entries = <MapEntry*>calloc((<size_t>map.mask + 1) * 2, sizeof(MapEntry))
        if bigger.entries == NULL:
            return -1
        bigger.mask = map.mask * 2 + 1
        bigger.count = 0
        for i in range(map.mask + 1):
            if map.entries[i].used:
                place(&bigger, map.entries[i].key, map.entries[i].value)
        free(map.entries)
        map[0] = bigger
    place(map, key, value)
    return 0


cdef void map_remove(Map64* map, uint64_t key) noexcept nogil:
    """Backward-shift deletion: no tombstones, so look-ups never slow down with age."""
    cdef uint32_t i = <uint32_t>mix(key) & map.mask
    cdef uint32_t j, home
    while map.entries[i].used and map.entries[i].key != key:
        i = (i + 1) & map.mask
    if not map.entries[i].used:
        return
    map.count -= 1
    j = i
    while True:
        j = (j + 1) & map.mask
        if not map.entries[j].used:
            break
        home = <uint32_t>mix(map.entries[j].key) & map.mask
        if ((j - home) & map.mask) >= ((j - i) & map.mask):  # its home is at or before the hole
            map.entries[i] = map.entries[j]
            i = j
    map.entries[i].used = 0


cdef void limiter_init(Limiter* limiter, int per_second, int burst) noexcept nogil:
    cdef int i
    memset(limiter, 0, sizeof(Limiter))
    limiter.per_second = per_second
    limiter.burst = burst
    for i in range(BUCKETS):
        limiter.tokens_milli[i] = burst * 1000


cdef bint limiter_allow(Limiter* limiter, const uint8_t* ip, uint64_t seed, int64_t now_us) noexcept nogil:
    """One token of the source's bucket. IPv6 sources are counted by their /64, which one host owns whole."""
    cdef uint32_t i = <uint32_t>hash_bytes(ip, 16 if is_ipv4(ip) else 8, seed) & (BUCKETS - 1)
    cdef int64_t elapsed = now_us - limiter.updated_us[i]
    cdef int64_t tokens = limiter.tokens_milli[i]
    if elapsed > 0:
        if elapsed > 60_000_000:
            elapsed = 60_000_000
        tokens += elapsed * limiter.per_second // 1000
        if tokens > limiter.burst * 1000:
            tokens = limiter.burst * 1000
        limiter.updated_us[i] = now_us
    if tokens < 1000:
        limiter.tokens_milli[i] = <int32_t>tokens
        return False
    limiter.tokens_milli[i] = <int32_t>tokens - 1000
    return True


cdef class Map:
    """Owner of a Map64, for tests."""

    cdef Map64 map

    def __cinit__(self):
        if map_init(&self.map) != 0:
            raise MemoryError

    def __dealloc__(self):
        map_free(&self.map)

    def __len__(self) -> int:
        return self.map.count

    def get(self, uint64_t key):
        cdef uint32_t value
        return value if map_get(&self.map, key, &value) else None

    def set(self, uint64_t key, uint32_t value) -> None:
        if map_set(&self.map, key, value) != 0:
            raise MemoryError

    def remove(self, uint64_t key) -> None:
        map_remove(&self.map, key)


cdef class AnswerLimiter:
    """Owner of a Limiter, for tests. `now_us` in microseconds; `ip` is 16 bytes."""

    cdef Limiter limiter

    def __cinit__(self, int per_second, int burst):
        limiter_init(&self.limiter, per_second, burst)

    def allow(self, bytes ip, int64_t now_us) -> bool:
        if len(ip) != 16:
            raise ValueError("16 bytes")
        return limiter_allow(&self.limiter, <const uint8_t*><const char*>ip, 7, now_us)
