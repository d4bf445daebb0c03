"""What a sender stamps into every payload (its counter, its own timestamp, its tag) is held against what arrives."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from rtp_core.nack cimport NackTracker, nack_init
from rtp_core.reception cimport reception_init

cdef enum:
    MASK = IN_WINDOW - 1


cdef bint in_init(Incoming* s) noexcept nogil:
    reception_init(&s.reception, s.clock_rate)
    s.pli_at = -1_000_000_000
    if s.is_video and s.rtx_ssrc:
        s.nack = <NackTracker*>calloc(1, sizeof(NackTracker))
        if s.nack == NULL:
            return False
        nack_init(s.nack)
    return True


cdef void in_free(Incoming* s) noexcept nogil:
    free(s.nack)


cdef void in_restart(Incoming* s) noexcept nogil:
    s.started = False
    if s.nack != NULL:
        nack_init(s.nack)
    s.packets = s.bytes = s.gaps = s.repaired = s.reordered = 0
    s.twice = s.spare = s.strange = s.broken = s.early = 0


cdef inline bint has(const uint64_t* bits, int64_t counter) noexcept nogil:
    return (bits[(counter & MASK) >> 6] >> (counter & 63)) & 1


cdef inline void put(uint64_t* bits, int64_t counter, bint there) noexcept nogil:
    cdef uint64_t bit = <uint64_t>1 << (counter & 63)
    if there:
        bits[(counter & MASK) >> 6] |= bit
    else:
        bits[(counter & MASK) >> 6] &= ~bit


cdef void advance(Incoming* s, int64_t counter, int64_t now) noexcept nogil:
    """`counter` is ahead of all others: those between are missing for now."""
    cdef int64_t missing = s.highest + 1
    s.gaps += counter - missing
    if counter - missing > IN_WINDOW:
        missing = counter - IN_WINDOW
    while missing < counter:
        put(s.seen, missing, False)
        s.missed_at[missing & MASK] = now
        missing += 1
    s.highest = counter


cdef int in_packet(Incoming* s, uint16_t sequence, uint32_t timestamp, uint32_t tag, int64_t counter, uint32_t source,
                   bint repeated, int64_t now, int64_t* delay) noexcept nogil:
    cdef int verdict = IN_NEW
    if tag != s.tag:
        s.strange += 1
        return IN_STRANGE
    if not s.started:
        s.started = True
        s.first = s.highest = counter
        s.first_sequence = sequence
        s.first_timestamp = timestamp
        s.first_source = source
        memset(s.seen, 0, sizeof(s.seen))
    elif counter > s.highest:
        advance(s, counter, now)
    elif counter < s.first or s.highest - counter >= IN_WINDOW:
        s.early += 1
        return IN_EARLY
    elif has(s.seen, counter):
        if repeated != has(s.by_repair, counter):
            put(s.by_repair, counter, False)  # both have come now: a third is one too many
            s.spare += 1
            return IN_SPARE
        s.twice += 1
        return IN_TWICE
    elif repeated:
        s.repaired += 1
        delay[0] = now - s.missed_at[counter & MASK]
        verdict = IN_REPAIRED
    else:
        s.reordered += 1
        verdict = IN_REORDERED
    put(s.seen, counter, True)
    put(s.by_repair, counter, repeated)
    s.packets += 1
    if <uint16_t>(sequence - s.first_sequence) != <uint16_t>(counter - s.first) or \
            timestamp - s.first_timestamp != source - s.first_source:
        s.broken += 1
    return verdict


cdef int64_t in_missing(const Incoming* s) noexcept nogil:
    return s.highest - s.first + 1 - s.packets if s.started else 0


cdef class Witness:
    """Owner of one stream's state, to be looked at without a network."""

    cdef Incoming s

    def __cinit__(self, *, uint32_t tag):
        self.s.tag = tag
        self.s.clock_rate = 90000
        if not in_init(&self.s):
            raise MemoryError

    def __dealloc__(self):
        in_free(&self.s)

    def packet(self, uint16_t sequence, uint32_t timestamp, uint32_t tag, int64_t counter, uint32_t source,
               *, bint repeated=False, int64_t now=0) -> object:
        """(verdict, delay of the repair in µs or None)."""
        cdef int64_t delay = -1
        verdict = in_packet(&self.s, sequence, timestamp, tag, counter, source, repeated, now, &delay)
        return verdict, delay if delay >= 0 else None

    def restart(self) -> None:
        in_restart(&self.s)

    @property
    def missing(self) -> int:
        return in_missing(&self.s)

    @property
    def counters(self) -> dict:
        return {"packets": self.s.packets, "gaps": self.s.gaps, "repaired": self.s.repaired,
                "reordered": self.s.reordered, "twice": self.s.twice, "spare": self.s.spare,
                "strange": self.s.strange, "broken": self.s.broken, "early": self.s.early}
