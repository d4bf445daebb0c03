"""Gap tracking of one incoming stream.

`items` holds what is missing, in ascending order: gaps open at the upper end only, so appending keeps the order
and a recovered one is found by halving. `seen` remembers which of the last NACK_WINDOW numbers have arrived.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove, memset

from rtp_core.rtp cimport seq_extend

cdef enum:
    WINDOW_MASK = NACK_WINDOW - 1
    REORDER_US = 10000
    MAX_AGE_US = 1000000
    MAX_TRIES = 10
    MIN_REPEAT_US = 20000
    MAX_REPEAT_US = 250000
    UNKNOWN_RTT_US = 100000


cdef void nack_init(NackTracker* tracker) noexcept nogil:
    cdef NackItem* items = tracker.items
    cdef uint32_t room = tracker.room
    memset(tracker, 0, sizeof(NackTracker))
    tracker.items = items
    tracker.room = room
    tracker.reorder_us = REORDER_US
    tracker.max_age_us = MAX_AGE_US
    tracker.max_tries = MAX_TRIES
    tracker.next_due = INT64_MAX


cdef void nack_free(NackTracker* tracker) noexcept nogil:
    free(tracker.items)
    tracker.items = NULL
    tracker.room = 0
    tracker.count = 0


cdef bint _has_room(NackTracker* tracker, int64_t count) noexcept nogil:
    """Makes room for so many items. False: more than NACK_MAX, or no memory."""
    cdef uint32_t room = max(tracker.room, <uint32_t>NACK_FIRST)
    cdef NackItem* items
    if count <= tracker.room:
        return True
    if count > NACK_MAX:
        return False
    while room < count:
        room *= 2
    items = <NackItem*>realloc(tracker.items, room * sizeof(NackItem))
    if items == NULL:
        return False
    tracker.items = items
    tracker.room = room
    return True


cdef inline bint _was_seen(const NackTracker* tracker, int64_t seq) noexcept nogil:
    return tracker.seen[(seq & WINDOW_MASK) >> 6] >> (seq & 63) & 1


cdef inline void _see(NackTracker* tracker, int64_t seq) noexcept nogil:
    tracker.seen[(seq & WINDOW_MASK) >> 6] |= <uint64_t>1 << (seq & 63)


cdef inline void _unsee(NackTracker* tracker, int64_t seq) noexcept nogil:
    tracker.seen[(seq & WINDOW_MASK) >> 6] &= ~(<uint64_t>1 << (seq & 63))


cdef void _drop_all(NackTracker* tracker) noexcept nogil:
    tracker.abandoned += tracker.count
    tracker.count = 0
    tracker.next_due = INT64_MAX


cdef void _begin(NackTracker* tracker, int64_t seq) noexcept nogil:
    """`seq` is the first packet of a new numbering. Those before it count as late, not as missing."""
    _drop_all(tracker)
    memset(tracker.seen, 0, sizeof(tracker.seen))
    tracker.started = True
    tracker.stray_known = False
    tracker.highest = seq
    _see(tracker, seq)


cdef int nack_packet(NackTracker* tracker, uint16_t seq, int64_t now) noexcept nogil:
    cdef int64_t index
    if not tracker.started:
        _begin(tracker, seq)
        return NACK_IN_ORDER
    index = seq_extend(tracker.highest, seq)
    if index <= tracker.highest:
        return _behind(tracker, index)
    tracker.stray_known = False
    if index > tracker.highest + NACK_WINDOW:
        _begin(tracker, index)
        return NACK_RESET
    return _ahead(tracker, index, now)


cdef int _behind(NackTracker* tracker, int64_t index) noexcept nogil:
    """A jump backwards is believed when the very next packet continues it, as in RFC 3550 appendix A.1."""
    if index <= tracker.highest - NACK_WINDOW:
        if tracker.stray_known and <uint16_t>index == tracker.stray_next:
            _begin(tracker, index)
            return NACK_RESET
        tracker.stray_known = True
        tracker.stray_next = <uint16_t>(index + 1)
        return NACK_STRAY
    if _was_seen(tracker, index):
        return NACK_DUPLICATE
    _see(tracker, index)
    if _remove(tracker, index):
        tracker.recovered += 1
        return NACK_RECOVERED
    return NACK_LATE


cdef int _ahead(NackTracker* tracker, int64_t index, int64_t now) noexcept nogil:
    cdef int64_t missing = tracker.highest + 1
    cdef bint gap = index > missing
    cdef bint overflow = not _has_room(tracker, tracker.count + (index - missing))
    cdef NackItem* item
    if overflow:
        tracker.abandoned += index - missing
        _drop_all(tracker)
    while missing < index:
        _unsee(tracker, missing)
        if not overflow:
            item = &tracker.items[tracker.count]
            item.seq = missing
            item.missed_at = now
            item.next_at = now + tracker.reorder_us
            item.tries = 0
            tracker.count += 1
        missing += 1
    tracker.highest = index
    _see(tracker, index)
    if overflow:
        return NACK_OVERFLOW
    if not gap:
        return NACK_IN_ORDER
    tracker.next_due = min(tracker.next_due, now + tracker.reorder_us)
    return NACK_GAP


cdef uint32_t _lower_bound(const NackTracker* tracker, int64_t index) noexcept nogil:
    """Place of the first item that is not below `index`."""
    cdef uint32_t low = 0
    cdef uint32_t high = tracker.count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if tracker.items[middle].seq < index:
            low = middle + 1
        else:
            high = middle
    return low


cdef bint _remove(NackTracker* tracker, int64_t index) noexcept nogil:
    cdef uint32_t at = _lower_bound(tracker, index)
    if at == tracker.count or tracker.items[at].seq != index:
        return False
    tracker.count -= 1
    memmove(&tracker.items[at], &tracker.items[at + 1], (tracker.count - at) * sizeof(NackItem))
    if tracker.count == 0:
        tracker.next_due = INT64_MAX
    return True


cdef uint32_t nack_due(NackTracker* tracker, int64_t now, int64_t rtt, uint16_t* out,
                       uint32_t capacity) noexcept nogil:
    cdef int64_t repeat = min(max(rtt, <int64_t>MIN_REPEAT_US), <int64_t>MAX_REPEAT_US)
    cdef int64_t next_due = INT64_MAX
    cdef uint32_t kept = 0
    cdef uint32_t asked = 0
    cdef uint32_t i
    cdef NackItem* item
    if now < tracker.next_due:
        return 0
    if rtt <= 0:
        repeat = UNKNOWN_RTT_US
    for i in range(tracker.count):
        item = &tracker.items[i]
        if now - item.missed_at >= tracker.max_age_us or (item.tries >= tracker.max_tries and now >= item.next_at):
            tracker.abandoned += 1
            continue
        if now >= item.next_at and asked < capacity:
            out[asked] = <uint16_t>item.seq
            asked += 1
            item.tries += 1
            item.next_at = now + repeat
        next_due = min(next_due, min(item.next_at, item.missed_at + tracker.max_age_us))
        if kept != i:
            tracker.items[kept] = item[0]
        kept += 1
    tracker.count = kept
    tracker.next_due = next_due
    tracker.requested += asked
    return asked


cdef void nack_forget_before(NackTracker* tracker, uint16_t seq) noexcept nogil:
    cdef uint32_t gone = _lower_bound(tracker, seq_extend(tracker.highest, seq))
    if gone == 0:
        return
    tracker.count -= gone
    tracker.abandoned += gone
    memmove(&tracker.items[0], &tracker.items[gone], tracker.count * sizeof(NackItem))
    if tracker.count == 0:
        tracker.next_due = INT64_MAX


cdef int64_t nack_extended(const NackTracker* tracker, uint16_t seq) noexcept nogil:
    return seq_extend(tracker.highest, seq)


# --- for tests and tools --------------------------------------------------------------------------------

VERDICTS = ("in_order", "gap", "recovered", "late", "duplicate", "stray", "reset", "overflow")


cdef class GapTracker:
    """Owner of one stream's tracker. Times in µs."""

    cdef NackTracker tracker

    def __cinit__(self):
        nack_init(&self.tracker)

    def __dealloc__(self):
        nack_free(&self.tracker)

    def packet(self, seq: int, now: int) -> str:
        return VERDICTS[nack_packet(&self.tracker, seq, now)]

    def due(self, now: int, rtt: int = 0, capacity: int = NACK_MAX) -> list[int]:
        cdef uint16_t out[NACK_MAX]
        cdef uint32_t asked = nack_due(&self.tracker, now, rtt, out, min(capacity, NACK_MAX))
        return [out[i] for i in range(asked)]

    def forget_before(self, seq: int) -> None:
        nack_forget_before(&self.tracker, seq)

    def extended(self, seq: int) -> int:
        return nack_extended(&self.tracker, seq)

    @property
    def missing(self) -> list[int]:
        """Extended sequence numbers."""
        return [self.tracker.items[i].seq for i in range(self.tracker.count)]

    @property
    def deadline(self):
        """µs, or None."""
        return None if nack_deadline(&self.tracker) == INT64_MAX else nack_deadline(&self.tracker)

    @property
    def counters(self) -> tuple[int, int, int]:
        """(requested, recovered, abandoned)."""
        return self.tracker.requested, self.tracker.recovered, self.tracker.abandoned
