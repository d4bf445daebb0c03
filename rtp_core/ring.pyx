"""Single-writer, single-reader rings between the Trio thread and an engine's, and from one engine to another.

The order that makes the bell safe: the writer publishes and then rings; the sleeper answers and then drains.
Whatever is published after the drain finds `rung` at zero and writes the eventfd again.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from rtp_core.atomic cimport exchange32, load_acquire, load_relaxed, store_release

cdef extern from "unistd.h" nogil:
    ssize_t c_write "write"(int fd, const void* data, size_t size)
    ssize_t c_read "read"(int fd, void* data, size_t size)

cdef extern from "sched.h" nogil:
    int sched_yield()


cdef int ring_init(Ring* ring, uint32_t slots, uint32_t slot_size) noexcept nogil:
    """`slots` is rounded up to a power of two. 0, or -1 when there is no memory."""
    cdef uint32_t size = 1
    memset(ring, 0, sizeof(Ring))
    while size < slots:
        size *= 2
    ring.slots = <uint8_t*>calloc(size, slot_size)
    if ring.slots == NULL:
        return -1
    ring.mask = size - 1
    ring.slot_size = slot_size
    return 0


cdef void ring_free(Ring* ring) noexcept nogil:
    free(ring.slots)
    ring.slots = NULL


cdef uint8_t* ring_claim(Ring* ring) noexcept nogil:
    return ring_claim_below(ring, <uint64_t>ring.mask + 1)


cdef uint8_t* ring_claim_below(Ring* ring, uint64_t limit) noexcept nogil:
    """The reader's counter is looked at only when it was too far behind: its cache line is the reader's."""
    cdef uint64_t tail = load_relaxed(&ring.tail)
    if tail - ring.seen >= limit:
        ring.seen = load_acquire(&ring.head)
        if tail - ring.seen >= limit:
            ring.dropped += 1
            return NULL
    return ring.slots + (tail & ring.mask) * ring.slot_size


cdef void ring_publish(Ring* ring) noexcept nogil:
    store_release(&ring.tail, load_relaxed(&ring.tail) + 1)


cdef uint8_t* ring_peek(Ring* ring) noexcept nogil:
    return ring_peek_at(ring, 0)


cdef uint8_t* ring_peek_at(Ring* ring, uint64_t behind) noexcept nogil:
    cdef uint64_t at = load_relaxed(&ring.head) + behind
    if load_acquire(&ring.tail) - load_relaxed(&ring.head) <= behind:
        return NULL
    return ring.slots + (at & ring.mask) * ring.slot_size


cdef void ring_release(Ring* ring) noexcept nogil:
    ring_release_many(ring, 1)


cdef void ring_release_many(Ring* ring, uint64_t count) noexcept nogil:
    store_release(&ring.head, load_relaxed(&ring.head) + count)


cdef uint64_t ring_used(Ring* ring) noexcept nogil:
    return load_acquire(&ring.tail) - load_acquire(&ring.head)


cdef uint64_t ring_backlog(Ring* ring) noexcept nogil:
    cdef uint64_t tail = load_relaxed(&ring.tail)
    if (tail - ring.seen) * 2 > ring.mask:
        ring.seen = load_acquire(&ring.head)
    return tail - ring.seen


cdef void bell_ring(Bell* bell) noexcept nogil:
    cdef uint64_t one = 1
    if exchange32(&bell.rung, 1) == 0 and bell.fd >= 0:
        c_write(bell.fd, &one, 8)


cdef void bell_answer(Bell* bell) noexcept nogil:
    cdef uint64_t count
    if bell.fd >= 0:
        c_read(bell.fd, &count, 8)
    exchange32(&bell.rung, 0)


cdef class ByteRing:
    """Owner of a ring of short byte strings or of numbers: how tests (and only they) reach the functions above."""

    cdef Ring ring

    def __cinit__(self, int slots, int slot_size):
        if slots < 1 or slot_size < 3 or ring_init(&self.ring, slots, slot_size) != 0:
            raise MemoryError

    def __dealloc__(self):
        ring_free(&self.ring)

    @property
    def used(self) -> int:
        return ring_used(&self.ring)

    @property
    def dropped(self) -> int:
        return self.ring.dropped

    def push(self, bytes data, uint64_t limit=0) -> bool:
        """False when the ring is full, or has `limit` in use (and one more is counted as dropped)."""
        cdef uint32_t size = len(data)
        if size > self.ring.slot_size - 2:
            raise ValueError("larger than a slot")
        cdef uint8_t* slot = ring_claim_below(&self.ring, limit) if limit else ring_claim(&self.ring)
        if slot == NULL:
            return False
        slot[0] = size >> 8
        slot[1] = size & 0xFF
        memcpy(slot + 2, <const char*>data, size)
        ring_publish(&self.ring)
        return True

    def pop(self):
        """The oldest string, or None."""
        cdef uint8_t* slot = ring_peek(&self.ring)
        if slot == NULL:
            return None
        data = (<char*>slot)[2 : 2 + (slot[0] << 8 | slot[1])]
        ring_release(&self.ring)
        return data

    def write_numbers(self, uint64_t count, uint64_t limit=0) -> int:
        """0 to `count` - 1, each all over its slot, while others hold the GIL. How often there was no room.

        With a `limit` only while fewer slots are in use.
        """
        cdef uint64_t number = 0
        cdef uint64_t before = self.ring.dropped
        cdef uint32_t i
        cdef uint64_t* slot
        if limit == 0:
            limit = <uint64_t>self.ring.mask + 1
        with nogil:
            while number < count:
                slot = <uint64_t*>ring_claim_below(&self.ring, limit)
                if slot == NULL:
                    sched_yield()
                    continue
                for i in range(self.ring.slot_size >> 3):
                    slot[i] = number
                ring_publish(&self.ring)
                number += 1
        return self.ring.dropped - before

    def read_numbers(self, uint64_t count, uint64_t batch=1) -> int:
        """Up to `batch` slots at once, released together. How many words were not what was written."""
        cdef uint64_t number = 0
        cdef uint64_t wrong = 0
        cdef uint64_t got
        cdef uint32_t i
        cdef uint64_t* slot
        with nogil:
            while number < count:
                got = 0
                while got < batch:
                    slot = <uint64_t*>ring_peek_at(&self.ring, got)
                    if slot == NULL:
                        break
                    for i in range(self.ring.slot_size >> 3):
                        wrong += slot[i] != number
                    number += 1
                    got += 1
                if got:
                    ring_release_many(&self.ring, got)
                else:
                    sched_yield()
        return wrong
