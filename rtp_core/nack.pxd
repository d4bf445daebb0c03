"""What one incoming stream is missing, and when to ask for it (RFC 4585 section 6.2.1)."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    NACK_MAX = 512  # outstanding sequence numbers
    NACK_FIRST = 16  # of which a stream that misses something gets room at first; times a power of two NACK_MAX
    NACK_WINDOW = 2048  # sequence numbers whose arrival is remembered; a power of two

cdef enum:  # verdicts of `nack_packet`
    NACK_IN_ORDER = 0  # the next one (or the first)
    NACK_GAP = 1  # ahead of the next one: those between are now missing
    NACK_RECOVERED = 2  # one that was missing
    NACK_LATE = 3  # behind, new, but no longer asked for
    NACK_DUPLICATE = 4  # seen before: do not forward
    NACK_STRAY = 5  # implausibly far behind: do not forward
    NACK_RESET = 6  # the sender jumped; the tracker began anew at this packet
    NACK_OVERFLOW = 7  # like GAP, but too much is missing: list dropped, ask for a key frame

ctypedef struct NackItem:
    int64_t seq  # extended
    int64_t missed_at  # µs
    int64_t next_at  # µs
    uint8_t tries

ctypedef struct NackTracker:
    # Begins as zeroed memory, which `nack_init` and `nack_free` take.
    # settings; `nack_init` fills in the defaults
    int64_t reorder_us  # wait before the first request
    int64_t max_age_us
    uint8_t max_tries
    # state
    bint started
    int64_t highest  # extended
    uint16_t stray_next  # the sequence number that would confirm a jump backwards
    bint stray_known
    uint32_t count
    int64_t next_due  # µs; INT64_MAX: none
    NackItem* items  # ascending by seq; NULL until something is missing: most streams never miss much
    uint32_t room  # of `items`
    uint64_t seen[32]  # NACK_WINDOW / 64 words (spelt out: Cython would emit // into C)
    # counters
    uint64_t requested  # sequence numbers put into requests, repeats included
    uint64_t recovered
    uint64_t abandoned

cdef void nack_init(NackTracker* tracker) noexcept nogil  # also begins anew
cdef void nack_free(NackTracker* tracker) noexcept nogil  # what it points to; harmless a second time
# `seq` of a packet that arrived, be it original or restored from RTX.
cdef int nack_packet(NackTracker* tracker, uint16_t seq, int64_t now) noexcept nogil
# Sequence numbers to ask for now, ascending, into `out` (at most `capacity`; the rest stays due).
# `rtt` in µs, 0 or less when unknown: requests repeat after it, within 20 to 250 ms.
cdef uint32_t nack_due(NackTracker* tracker, int64_t now, int64_t rtt, uint16_t* out,
                       uint32_t capacity) noexcept nogil
# A key frame began at `seq`: what is missing before it is of no more use.
cdef void nack_forget_before(NackTracker* tracker, uint16_t seq) noexcept nogil
cdef int64_t nack_extended(const NackTracker* tracker, uint16_t seq) noexcept nogil  # nearest to the highest

cdef inline int64_t nack_deadline(const NackTracker* tracker) noexcept nogil:
    """When `nack_due` next has something to do, µs; INT64_MAX: nothing is missing."""
    return tracker.next_due
