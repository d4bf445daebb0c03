"""A consumer's numbering as a list of segments.

Producer numbers are extended to 64 bits; with each further source they go on rising, so that one ascending line
holds all of them. A segment says: from `start` on, outgoing = producer - offset. Leaving packets out raises the
offset. The outgoing line has no holes, so a segment ends where its outgoing numbers would reach those of a later
one; producer numbers beyond that were left out.

         producer   10 11 12 13 14 15 16 17        segment A: start 10, offset 10
         left out          x  x                    segment B: start 14, offset 12
         outgoing    0  1        2  3  4  5        B begins at outgoing 2, so 12 and 13 are not A's
"""

from libc.stdint cimport INT64_MAX, int64_t, uint16_t, uint32_t
from libc.string cimport memset

cdef enum:
    SEGMENT_MASK = REWRITE_SEGMENTS - 1
    LATE_SHIFT = 9  # 127 of 65536 numbers
    # what the next packet begins (Rewrite.pending)
    NOTHING = 0
    RESUMPTION = 1
    SWITCH = 2


cdef void rewrite_init(Rewrite* state, uint32_t ssrc, uint32_t clock_rate, uint16_t base_seq,
                       uint32_t base_ts) noexcept nogil:
    memset(state, 0, sizeof(Rewrite))
    state.ssrc = ssrc
    state.clock_rate = clock_rate
    state.seq_mask = 0xFFFF
    state.base_seq = base_seq
    state.base_ts = base_ts


cdef inline RewriteSegment* _segment(const Rewrite* state, uint32_t number) noexcept nogil:
    return <RewriteSegment*>&state.segments[number & SEGMENT_MASK]


cdef inline int64_t _ahead(const Rewrite* state, uint16_t seq, int64_t of) noexcept nogil:
    """Signed distance from `of` to `seq` on the circle; exactly half of it counts as behind."""
    cdef int64_t distance = (seq - of) & state.seq_mask
    return distance if distance <= state.seq_mask >> 1 else distance - state.seq_mask - 1


cdef void _open_segment(Rewrite* state, int64_t start, int64_t offset, uint32_t ts_offset) noexcept nogil:
    cdef RewriteSegment* segment = _segment(state, state.count)
    state.count += 1
    segment.start = start
    segment.offset = offset
    segment.ts_offset = ts_offset
    segment.source = state.source


cdef int64_t _begin(Rewrite* state, uint16_t seq, uint32_t timestamp, int64_t now) noexcept nogil:
    """First packet ever, after a pause, or of another source: it follows on by one. Its extended number."""
    cdef int64_t index
    cdef int64_t elapsed
    cdef uint32_t ts_offset
    if not state.started:
        state.started = True
        state.highest = -1
        state.out_highest = <int64_t>state.base_seq - 1
        index = seq
        ts_offset = state.base_ts - timestamp
    else:
        # Strictly ahead, by less than one turn of the circle: who knows how many turns the pause took.
        index = state.highest + 1 + ((seq - state.highest - 1) & state.seq_mask)
        ts_offset = _segment(state, state.count - 1).ts_offset
        if state.pending == SWITCH:
            state.source += 1
            elapsed = max(now - state.last_at, <int64_t>0)
            elapsed = elapsed // 1000000 * state.clock_rate + elapsed % 1000000 * state.clock_rate // 1000000
            ts_offset = state.last_ts + <uint32_t>max(elapsed, <int64_t>1) - timestamp
    _open_segment(state, index, index - state.out_highest - 1, ts_offset)
    state.pending = NOTHING
    return index


cdef int rewrite_packet(Rewrite* state, uint16_t seq, uint32_t timestamp, int64_t now,
                        uint16_t* out_seq, uint32_t* out_ts) noexcept nogil:
    cdef int64_t index
    cdef int64_t out
    cdef RewriteSegment* segment
    if state.pending == RESUMPTION and _straggler(state, seq):
        return REWRITE_DROP
    if not state.started or state.pending != NOTHING:
        index = _begin(state, seq, timestamp, now)
    else:
        index = state.highest + _ahead(state, seq, state.highest)
    if index > state.highest:
        state.highest = index
    segment = _find(state, index)
    if segment == NULL:
        return REWRITE_DROP
    out = index - segment.offset
    out_seq[0] = <uint16_t>(out & state.seq_mask)
    out_ts[0] = timestamp + segment.ts_offset
    if out <= state.out_highest:
        return REWRITE_LATE
    state.out_highest = out
    state.last_ts = out_ts[0]
    state.last_at = now
    return REWRITE_NEW


cdef inline bint _straggler(const Rewrite* state, uint16_t seq) noexcept nogil:
    """At a resumption: a packet from just before the pause, overtaken by it, must not begin a new segment."""
    cdef int64_t behind = -_ahead(state, seq, state.highest)
    return 0 <= behind <= state.seq_mask >> LATE_SHIFT


cdef RewriteSegment* _find(const Rewrite* state, int64_t index) noexcept nogil:
    """The segment that `index` belongs to; NULL: it was left out, is another source's, or is forgotten."""
    cdef uint32_t number = state.count
    cdef uint32_t oldest = state.count - REWRITE_SEGMENTS if state.count > REWRITE_SEGMENTS else 0
    cdef int64_t out_end = INT64_MAX
    cdef RewriteSegment* segment
    while number > oldest:
        number -= 1
        segment = _segment(state, number)
        if segment.source != state.source:
            return NULL
        if index >= segment.start:
            return segment if index - segment.offset < out_end else NULL
        out_end = min(out_end, segment.start - segment.offset)
    return NULL


cdef void rewrite_drop(Rewrite* state, uint16_t seq) noexcept nogil:
    cdef RewriteSegment* last
    cdef int64_t ahead
    if not state.started or state.pending != NOTHING:
        return  # whatever comes next follows on by one anyway
    ahead = _ahead(state, seq, state.highest)
    if ahead <= 0:
        return
    state.highest += ahead
    last = _segment(state, state.count - 1)
    if last.start == state.highest:  # it has no packet yet: several left out in a row are one change
        last.start += 1
        last.offset += 1
    else:
        _open_segment(state, state.highest + 1, last.offset + 1, last.ts_offset)


cdef void rewrite_resume(Rewrite* state) noexcept nogil:
    if state.started and state.pending == NOTHING:
        state.pending = RESUMPTION


cdef void rewrite_switch(Rewrite* state) noexcept nogil:
    if state.started:
        state.pending = SWITCH


cdef bint rewrite_inverse(const Rewrite* state, uint16_t out_seq, uint16_t* seq, uint32_t* ts_offset) noexcept nogil:
    cdef uint32_t number = state.count
    cdef uint32_t oldest = state.count - REWRITE_SEGMENTS if state.count > REWRITE_SEGMENTS else 0
    cdef RewriteSegment* segment
    cdef int64_t out
    if not state.started or state.pending == SWITCH:
        return False
    out = state.out_highest + _ahead(state, out_seq, state.out_highest)
    if out > state.out_highest:
        return False
    while number > oldest:
        number -= 1
        segment = _segment(state, number)
        if segment.source != state.source:
            return False
        if out >= segment.start - segment.offset:
            seq[0] = <uint16_t>((out + segment.offset) & state.seq_mask)
            ts_offset[0] = segment.ts_offset
            return True
    return False


cdef uint32_t rewrite_timestamp(const Rewrite* state, uint32_t timestamp) noexcept nogil:
    if state.count == 0:
        return timestamp
    return timestamp + _segment(state, state.count - 1).ts_offset


# --- for tests and tools --------------------------------------------------------------------------------

VERDICTS = ("new", "late", "drop")


cdef class Rewriter:
    """Owner of one consumer's numbering; with fewer than sixteen bits, of a model small enough to try out whole."""

    cdef Rewrite state

    def __cinit__(self, ssrc: int, clock_rate: int, base_seq: int, base_ts: int, bits: int = 16):
        rewrite_init(&self.state, ssrc, clock_rate, base_seq, base_ts)
        self.state.seq_mask = (1 << bits) - 1

    def packet(self, seq: int, timestamp: int, now: int):
        """(verdict, outgoing seq, outgoing timestamp), or None for what is not to be sent."""
        cdef uint16_t out_seq
        cdef uint32_t out_ts
        cdef int verdict = rewrite_packet(&self.state, seq, timestamp, now, &out_seq, &out_ts)
        return None if verdict == REWRITE_DROP else (VERDICTS[verdict], out_seq, out_ts)

    def drop(self, seq: int) -> None:
        rewrite_drop(&self.state, seq)

    def resume(self) -> None:
        rewrite_resume(&self.state)

    def switch(self) -> None:
        rewrite_switch(&self.state)

    def inverse(self, out_seq: int):
        """(producer's seq, timestamp offset), or None."""
        cdef uint16_t seq
        cdef uint32_t ts_offset
        return (seq, ts_offset) if rewrite_inverse(&self.state, out_seq, &seq, &ts_offset) else None

    def timestamp(self, timestamp: int) -> int:
        return rewrite_timestamp(&self.state, timestamp)
