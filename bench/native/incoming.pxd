"""One stream that an endpoint of the load is sent: is every packet there, once, in its place, and whose it should be?

Pure: the packet's fields and the time come in, verdicts come out. Times are µs of the monotonic clock.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rtp_core.nack cimport NackTracker
from rtp_core.reception cimport Reception

cdef enum:
    IN_WINDOW = 2048  # packets whose arrival is remembered; a power of two
    IN_WORDS = 32  # IN_WINDOW / 64

cdef enum InVerdict:
    IN_NEW = 0
    IN_REPAIRED = 1  # one that was missing
    IN_REORDERED = 2  # the same, but nobody had to send it again
    IN_TWICE = 3
    IN_SPARE = 4  # an original and its retransmission have both come
    IN_STRANGE = 5  # somebody else's media
    IN_EARLY = 6  # from before the beginning, or too old to tell

ctypedef struct Incoming:
    # fixed
    bint is_video
    uint32_t ssrc
    uint32_t rtx_ssrc
    uint8_t payload_type
    uint8_t rtx_payload_type
    uint32_t clock_rate
    uint32_t tag
    # what is known
    bint started
    int64_t first  # counters, as the sender stamped them
    int64_t highest
    uint16_t first_sequence
    uint32_t first_timestamp
    uint32_t first_source
    uint64_t seen[IN_WORDS]
    uint64_t by_repair[IN_WORDS]  # of those, which came as a retransmission
    int64_t missed_at[IN_WINDOW]
    NackTracker* nack  # video's
    Reception reception
    int64_t pli_at
    # counters
    int64_t packets
    int64_t bytes
    int64_t gaps  # packets that did not come in their turn
    int64_t repaired
    int64_t reordered
    int64_t twice
    int64_t spare
    int64_t strange
    int64_t broken  # sequence number or timestamp not what the sender's makes it
    int64_t early

cdef bint in_init(Incoming* s) noexcept nogil  # False: no memory
cdef void in_free(Incoming* s) noexcept nogil
cdef void in_restart(Incoming* s) noexcept nogil  # counters at nothing; the next packet is the first
# `delay` gets the time from the gap's discovery to now, of IN_REPAIRED.
cdef int in_packet(Incoming* s, uint16_t sequence, uint32_t timestamp, uint32_t tag, int64_t counter, uint32_t source,
                   bint repeated, int64_t now, int64_t* delay) noexcept nogil
cdef int64_t in_missing(const Incoming* s) noexcept nogil  # up to the highest that came
