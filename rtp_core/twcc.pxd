"""Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01)."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t

cdef enum:
    TWCC_WINDOW = 2048  # sequence numbers remembered; a power of two
    TWCC_MISSING = 0xFFFFFFFF
    TWCC_MAX_STATUS = 16384  # of one feedback packet we are willing to walk
    TWCC_MIN_PACKET = 32  # bytes; `twcc_build` makes progress with any capacity from here up

cdef enum:  # verdicts of `twcc_arrived`
    TWCC_NEW = 0
    TWCC_LATE = 1  # behind the newest, still recorded
    TWCC_DUPLICATE = 2
    TWCC_OLD = 3  # behind the window, ignored
    TWCC_JUMP = 4  # so far ahead that the log began anew

ctypedef struct TwccLog:
    bint started
    uint8_t feedback_count
    int64_t next_seq  # first sequence number (extended) that no feedback covers yet
    int64_t highest  # extended
    uint32_t arrived[TWCC_WINDOW]  # ticks of 250 µs modulo 2^32, by seq modulo window; TWCC_MISSING: not received

ctypedef struct TwccParser:
    uint16_t base_seq
    uint16_t status_count
    int32_t reference_time  # multiples of 64 ms, signed 24 bits
    uint8_t feedback_count
    # own state
    const uint8_t* chunks
    const uint8_t* deltas
    uint32_t index  # of the next status
    uint16_t chunk
    uint16_t left  # statuses left in `chunk`
    uint16_t used  # statuses taken out of it
    int64_t ticks  # 250 µs

ctypedef struct TwccStatus:
    uint16_t seq
    bint received
    int32_t delta  # µs since the previous received packet of this feedback (or the reference time)
    int64_t arrived  # µs on the reporter's clock

cdef void twcc_init(TwccLog* log) noexcept nogil
cdef int twcc_arrived(TwccLog* log, uint16_t seq, int64_t now) noexcept nogil
cdef bint twcc_pending(const TwccLog* log) noexcept nogil
# One RTCP packet of at most `capacity` bytes; its length, or 0 when there is nothing to tell. Call again
# while `twcc_pending`.
cdef uint32_t twcc_build(TwccLog* log, uint32_t sender_ssrc, uint32_t media_ssrc,
                         uint8_t* out, uint32_t capacity) noexcept nogil
# `fci` is RtcpPacket.body of an RTCP_TWCC packet and must outlive the parser. False: malformed; then no
# status is to be had. After True, `twcc_parse_next` gives `status_count` statuses, then False.
cdef bint twcc_parse_begin(TwccParser* parser, const uint8_t* fci, uint32_t length) noexcept nogil
cdef bint twcc_parse_next(TwccParser* parser, TwccStatus* status) noexcept nogil
