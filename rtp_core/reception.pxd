"""Reception statistics of one RTP stream, and the report block made of them (RFC 3550 A.1, A.3, A.8)."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rtp_core.rtcp cimport ReportBlock

ctypedef struct Reception:
    uint32_t clock_rate  # Hz
    bint started
    uint16_t max_seq
    uint32_t cycles  # multiples of 65536
    uint32_t base_seq
    uint32_t bad_seq  # the number that would confirm a jump
    uint32_t received  # since the base; 32 bits as in the RFC, differences are what counts
    uint32_t expected_prior
    uint32_t received_prior
    bint transit_known
    uint32_t transit
    uint32_t jitter_q4  # RTP timestamp units times 16
    uint32_t lsr
    int64_t sr_at  # µs, of the last sender report's arrival
    uint64_t packets  # totals since init; never reset by a jump
    uint64_t bytes

cdef void reception_init(Reception* state, uint32_t clock_rate) noexcept nogil
# Every RTP packet of the stream itself (retransmissions on another SSRC are not to be told here, RFC 4588
# section 6.1). False: out of the plausible range, waiting for the next one to confirm a jump.
cdef bint reception_packet(Reception* state, uint16_t seq, uint32_t timestamp, uint32_t length,
                           int64_t now) noexcept nogil
cdef void reception_sender_report(Reception* state, uint64_t ntp, int64_t now) noexcept nogil
# False while nothing was received. Advances the interval that `fraction_lost` covers.
cdef bint reception_report(Reception* state, uint32_t ssrc, int64_t now, ReportBlock* block) noexcept nogil
cdef int64_t reception_lost(const Reception* state) noexcept nogil  # packets; below 0 with duplicates
cdef double reception_jitter_ms(const Reception* state) noexcept nogil
