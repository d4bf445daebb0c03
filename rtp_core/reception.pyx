"""Reception statistics of one stream, after RFC 3550 appendix A.

Without A.1's probation: packets come here authenticated, so the first one is believed.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from rtp_core.rtcp cimport ReportBlock, compact_from_us, ntp_compact

cdef enum:
    MAX_DROPOUT = 3000
    MAX_MISORDER = 100
    NO_BAD_SEQ = 0x10001  # no 16-bit number


cdef void reception_init(Reception* state, uint32_t clock_rate) noexcept nogil:
    memset(state, 0, sizeof(Reception))
    state.clock_rate = clock_rate


cdef void _restart(Reception* state, uint16_t seq) noexcept nogil:
    state.started = True
    state.max_seq = seq
    state.base_seq = seq
    state.bad_seq = NO_BAD_SEQ
    state.cycles = 0
    state.received = 0
    state.received_prior = 0
    state.expected_prior = 0
    state.transit_known = False


cdef bint _advance(Reception* state, uint16_t seq) noexcept nogil:
    """A.1's update_seq."""
    cdef uint16_t ahead = <uint16_t>(seq - state.max_seq)
    if ahead < MAX_DROPOUT:
        if seq < state.max_seq:
            state.cycles += 65536
        state.max_seq = seq
    elif ahead <= 65536 - MAX_MISORDER:
        if seq != state.bad_seq:
            state.bad_seq = (<uint32_t>seq + 1) & 0xFFFF
            return False
        _restart(state, seq)
    return True


cdef bint reception_packet(Reception* state, uint16_t seq, uint32_t timestamp, uint32_t length,
                           int64_t now) noexcept nogil:
    cdef uint32_t transit
    cdef int32_t difference
    state.packets += 1
    state.bytes += length
    if not state.started:
        _restart(state, seq)
    elif not _advance(state, seq):
        return False
    state.received += 1
    # A.8, in integers: the low 32 bits of arrival (in timestamp units) minus timestamp are all that counts.
    transit = <uint32_t>(<uint64_t>(now // 1000000 * state.clock_rate + now % 1000000 * state.clock_rate // 1000000)) \
        - timestamp
    if state.transit_known:
        difference = <int32_t>(transit - state.transit)
        if difference < 0:
            difference = 0x7FFFFFFF if difference == -0x7FFFFFFF - 1 else -difference
        _jitter(state, <uint32_t>difference)
    state.transit = transit
    state.transit_known = True
    return True


cdef void _jitter(Reception* state, uint32_t difference) noexcept nogil:
    """A jump of the sender's clock (more than five seconds) is no jitter and would spoil it for minutes."""
    if difference > 5 * state.clock_rate:
        return
    state.jitter_q4 += difference - ((state.jitter_q4 + 8) >> 4)


cdef void reception_sender_report(Reception* state, uint64_t ntp, int64_t now) noexcept nogil:
    state.lsr = ntp_compact(ntp)
    state.sr_at = now


cdef bint reception_report(Reception* state, uint32_t ssrc, int64_t now, ReportBlock* block) noexcept nogil:
    cdef uint32_t highest
    cdef uint32_t expected
    cdef int32_t expected_interval
    cdef int32_t lost_interval
    cdef int64_t lost
    if not state.started:
        return False
    highest = state.cycles + state.max_seq
    expected = highest - state.base_seq + 1
    lost = reception_lost(state)
    expected_interval = <int32_t>(expected - state.expected_prior)
    lost_interval = expected_interval - <int32_t>(state.received - state.received_prior)
    state.expected_prior = expected
    state.received_prior = state.received
    block.ssrc = ssrc
    block.fraction_lost = 0
    if expected_interval > 0 and lost_interval > 0:
        block.fraction_lost = <uint8_t>min(<int64_t>255, (<int64_t>lost_interval << 8) // expected_interval)
    block.cumulative_lost = <int32_t>min(max(lost, <int64_t>-0x800000), <int64_t>0x7FFFFF)
    block.highest_seq = highest
    block.jitter = state.jitter_q4 >> 4
    block.lsr = state.lsr
    block.dlsr = compact_from_us(now - state.sr_at) if state.lsr else 0
    return True


cdef int64_t reception_lost(const Reception* state) noexcept nogil:
    if not state.started:
        return 0
    return <int32_t>(state.cycles + state.max_seq - state.base_seq + 1 - state.received)


cdef double reception_jitter_ms(const Reception* state) noexcept nogil:
    if state.clock_rate == 0:
        return 0.0
    return (state.jitter_q4 >> 4) * 1000.0 / state.clock_rate


cdef class StreamReception:
    """Owner of one stream's statistics."""

    cdef Reception state

    def __cinit__(self, clock_rate: int):
        reception_init(&self.state, clock_rate)

    def packet(self, seq: int, timestamp: int, length: int, now: int) -> bool:
        return reception_packet(&self.state, seq, timestamp, length, now)

    def sender_report(self, ntp: int, now: int) -> None:
        reception_sender_report(&self.state, ntp, now)

    def report(self, ssrc: int, now: int):
        """(SSRC, fraction lost, cumulative lost, highest seq, jitter, LSR, DLSR), or None."""
        cdef ReportBlock block
        if not reception_report(&self.state, ssrc, now, &block):
            return None
        return (block.ssrc, block.fraction_lost, block.cumulative_lost, block.highest_seq, block.jitter,
                block.lsr, block.dlsr)

    @property
    def lost(self) -> int:
        return reception_lost(&self.state)

    @property
    def jitter_ms(self) -> float:
        return reception_jitter_ms(&self.state)

    @property
    def totals(self) -> tuple[int, int]:
        """(packets, bytes) since the beginning."""
        return self.state.packets, self.state.bytes
