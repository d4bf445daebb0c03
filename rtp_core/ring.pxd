"""A ring of fixed-size slots for exactly one writing and one reading thread, and the doorbell beside it.

`head` is written by the reader only, `tail` by the writer only; both only grow. A slot is filled in place
(`ring_claim`, write, `ring_publish`) and read in place (`ring_peek`, read, `ring_release`): nothing is copied
by the ring and nothing is allocated after `ring_init`. A reader that wants several slots at once peeks further
(`ring_peek_at`) and releases them together (`ring_release_many`).
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef struct Ring:
    uint8_t* slots
    uint32_t slot_size  # bytes
    uint32_t mask  # number of slots - 1; the number is a power of two
    uint8_t pad_a[64]  # reader and writer have cache lines of their own
    uint64_t head
    uint8_t pad_b[64]
    uint64_t tail
    uint64_t seen  # writer's: `head` when it was last looked at
    uint64_t dropped  # writer's: claims refused because the ring was full
    uint8_t pad_c[64]

cdef struct Bell:
    # An eventfd that is written only when the sleeper has not been called since it last looked.
    int fd  # -1: no bell (tests that poll)
    uint32_t rung

cdef int ring_init(Ring* ring, uint32_t slots, uint32_t slot_size) noexcept nogil
cdef void ring_free(Ring* ring) noexcept nogil
cdef uint8_t* ring_claim(Ring* ring) noexcept nogil  # NULL: full (counted)
cdef uint8_t* ring_claim_below(Ring* ring, uint64_t limit) noexcept nogil  # NULL: `limit` slots are in use (counted)
cdef void ring_publish(Ring* ring) noexcept nogil
cdef uint8_t* ring_peek(Ring* ring) noexcept nogil  # NULL: empty
cdef uint8_t* ring_peek_at(Ring* ring, uint64_t behind) noexcept nogil  # as many slots behind the oldest
cdef void ring_release(Ring* ring) noexcept nogil
cdef void ring_release_many(Ring* ring, uint64_t count) noexcept nogil
cdef uint64_t ring_used(Ring* ring) noexcept nogil
cdef uint64_t ring_backlog(Ring* ring) noexcept nogil  # writer's: at most so many are in use; exact above a half

cdef void bell_ring(Bell* bell) noexcept nogil  # after publishing
cdef void bell_answer(Bell* bell) noexcept nogil  # before draining
