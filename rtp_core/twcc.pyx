"""Transport-wide feedback: the receiver's log, the packets made of it, and the way back.

Times are kept in ticks of 250 µs: a packet's reference time is a multiple of 256 ticks (64 ms), and each delta is
the difference of two exact ticks, so rounding never adds up. The reference's 24 bits wrap at 2^32 ticks, so 32 bits
hold all that a packet can tell.
"""

from libc.stdint cimport INT16_MAX, INT16_MIN, UINT32_MAX, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from rtp_core.rtcp cimport RTCP_PT_RTPFB
from rtp_core.rtp cimport load16, load24, seq_extend, store16, store24, store32

cdef enum:
    WINDOW_MASK = TWCC_WINDOW - 1
    TICK_US = 250
    TICKS_PER_REFERENCE = 256
    FIXED_LEN = 20  # RTCP header, two SSRCs, base, count, reference time, feedback count
    FCI_LEN = 8
    RUN_MAX = 8191
    # status symbols, section 3.1.1
    NOT_RECEIVED = 0
    SMALL_DELTA = 1
    LARGE_DELTA = 2


# --- the receiver's log ---------------------------------------------------------------------------------

cdef void twcc_init(TwccLog* log) noexcept nogil:
    memset(log, 0, sizeof(TwccLog))


cdef void _forget(TwccLog* log) noexcept nogil:
    cdef uint32_t i
    for i in range(TWCC_WINDOW):
        log.arrived[i] = TWCC_MISSING


cdef inline uint32_t _ticks(int64_t us) noexcept nogil:
    cdef uint32_t ticks = <uint32_t>(us // TICK_US)
    return ticks if ticks != TWCC_MISSING else ticks - 1  # once in twelve days


cdef int twcc_arrived(TwccLog* log, uint16_t seq, int64_t now) noexcept nogil:
    """Note the arrival of `seq`. A late packet that a feedback called lost is told again from there on."""
    cdef int64_t index
    cdef int64_t missing
    if not log.started:
        log.started = True
        _forget(log)
        log.highest = seq
        log.next_seq = seq
        log.arrived[seq & WINDOW_MASK] = _ticks(now)
        return TWCC_NEW
    index = seq_extend(log.highest, seq)
    if index <= log.highest - TWCC_WINDOW:
        return TWCC_OLD
    if index <= log.highest:
        if log.arrived[index & WINDOW_MASK] != TWCC_MISSING:
            return TWCC_DUPLICATE
        log.arrived[index & WINDOW_MASK] = _ticks(now)
        if index < log.next_seq:
            log.next_seq = index
        return TWCC_LATE
    if index >= log.highest + TWCC_WINDOW:
        _forget(log)
        log.highest = index
        log.next_seq = index
        log.arrived[index & WINDOW_MASK] = _ticks(now)
        return TWCC_JUMP
    missing = log.highest + 1
    while missing < index:
        log.arrived[missing & WINDOW_MASK] = TWCC_MISSING
        missing += 1
    log.arrived[index & WINDOW_MASK] = _ticks(now)
    log.highest = index
    if log.next_seq <= index - TWCC_WINDOW:  # nobody asked for feedback for a long time
        log.next_seq = index - TWCC_WINDOW + 1
    return TWCC_NEW


cdef bint twcc_pending(const TwccLog* log) noexcept nogil:
    return log.started and log.next_seq <= log.highest


# --- making a packet ------------------------------------------------------------------------------------

cdef uint32_t _select(const TwccLog* log, uint32_t capacity, uint8_t* symbols, uint32_t* base_ticks) noexcept nogil:
    """Choose the statuses of the next packet: how many fit, and the symbol of each.

    Room is reckoned with seven statuses per chunk, which `_write_chunks` never exceeds, and one chunk for
    the missing ones at the start.
    """
    cdef int64_t index = log.next_seq
    cdef bint begun = False
    cdef uint32_t previous = 0
    cdef uint32_t arrived
    cdef int32_t delta
    cdef uint32_t count = 0
    cdef uint32_t upto = 0  # the last received one, included
    cdef uint32_t lead = 0
    cdef uint32_t delta_bytes = 0
    cdef uint32_t size
    while index <= log.highest:
        arrived = log.arrived[index & WINDOW_MASK]
        if arrived == TWCC_MISSING:
            symbols[count] = NOT_RECEIVED
            if not begun:
                lead += 1
        else:
            if not begun:
                begun = True
                base_ticks[0] = arrived // TICKS_PER_REFERENCE * TICKS_PER_REFERENCE
                previous = base_ticks[0]
            delta = <int32_t>(arrived - previous)
            if delta < INT16_MIN or delta > INT16_MAX:
                break  # section 3.1.5: too far apart for one packet
            previous = arrived
            symbols[count] = SMALL_DELTA if 0 <= delta <= 255 else LARGE_DELTA
            delta_bytes += 1 if symbols[count] == SMALL_DELTA else 2
            size = FIXED_LEN + 2 * (1 + (count + 1 - lead + 6) // 7) + delta_bytes
            if (size + 3) & ~(<uint32_t>3) > capacity:
                break
            upto = count + 1
        count += 1
        index += 1
    return upto


cdef uint32_t _run(const uint8_t* symbols, uint32_t at, uint32_t count) noexcept nogil:
    cdef uint32_t end = at + 1
    while end < count and symbols[end] == symbols[at] and end - at < RUN_MAX:
        end += 1
    return end - at


cdef bint _one_bit(const uint8_t* symbols, uint32_t at, uint32_t end) noexcept nogil:
    while at < end:
        if symbols[at] > SMALL_DELTA:
            return False
        at += 1
    return True


cdef uint8_t* _write_chunks(uint8_t* out, const uint8_t* symbols, uint32_t count) noexcept nogil:
    """Sections 3.1.3 and 3.1.4: a run where it is longer than a vector, else fourteen bits, else seven pairs."""
    cdef uint32_t at = 0
    cdef uint32_t run
    cdef uint32_t end
    cdef uint32_t chunk
    cdef uint32_t i
    while at < count:
        run = _run(symbols, at, count)
        end = min(at + 14, count)
        if run >= 14 or at + run == count or (run > 7 and not _one_bit(symbols, at, end)):
            chunk = <uint32_t>symbols[at] << 13 | run
            at += run
        elif _one_bit(symbols, at, end):
            chunk = 0x8000
            for i in range(at, end):
                chunk |= <uint32_t>symbols[i] << (13 - (i - at))
            at = end
        else:
            end = min(at + 7, count)
            chunk = 0xC000
            for i in range(at, end):
                chunk |= <uint32_t>symbols[i] << (12 - 2 * (i - at))
            at = end
        store16(out, <uint16_t>chunk)
        out += 2
    return out


cdef uint32_t twcc_build(TwccLog* log, uint32_t sender_ssrc, uint32_t media_ssrc,
                         uint8_t* out, uint32_t capacity) noexcept nogil:
    """Padded with zeros and without the P bit, as the draft draws it: it may stand anywhere in a compound."""
    cdef uint8_t symbols[TWCC_WINDOW]
    cdef uint32_t previous = 0
    cdef uint32_t arrived
    cdef uint32_t count
    cdef uint32_t i
    cdef uint32_t size
    cdef uint8_t* at
    if capacity < TWCC_MIN_PACKET or not twcc_pending(log):
        return 0
    capacity = min(capacity, <uint32_t>0x10000)
    count = _select(log, capacity, symbols, &previous)
    out[0] = 0x80 | 15
    out[1] = RTCP_PT_RTPFB
    store32(out + 4, sender_ssrc)
    store32(out + 8, media_ssrc)
    store16(out + 12, <uint16_t>log.next_seq)
    store16(out + 14, <uint16_t>count)
    store24(out + 16, previous // TICKS_PER_REFERENCE)
    out[19] = log.feedback_count
    at = _write_chunks(out + FIXED_LEN, symbols, count)
    for i in range(count):
        if symbols[i] == NOT_RECEIVED:
            continue
        arrived = log.arrived[(log.next_seq + i) & WINDOW_MASK]
        if symbols[i] == SMALL_DELTA:
            at[0] = <uint8_t>(arrived - previous)
            at += 1
        else:
            store16(at, <uint16_t>(arrived - previous))
            at += 2
        previous = arrived
    size = <uint32_t>(at - out)
    while size % 4:
        out[size] = 0
        size += 1
    store16(out + 2, <uint16_t>(size // 4 - 1))
    log.feedback_count += 1
    log.next_seq += count
    return size


# --- reading one ----------------------------------------------------------------------------------------

cdef inline uint32_t _chunk_span(uint16_t chunk) noexcept nogil:
    """How many statuses a chunk has room for."""
    if chunk & 0x8000 == 0:
        return chunk & RUN_MAX
    return 7 if chunk & 0x4000 else 14


cdef inline uint32_t _chunk_symbol(uint16_t chunk, uint32_t i) noexcept nogil:
    if chunk & 0x8000 == 0:
        return chunk >> 13
    if chunk & 0x4000:
        return chunk >> (12 - 2 * i) & 3
    return chunk >> (13 - i) & 1


cdef uint32_t _delta_bytes(uint16_t chunk, uint32_t taken) noexcept nogil:
    """Bytes that the first `taken` statuses of a chunk have among the deltas; UINT32_MAX for symbol 3."""
    cdef uint32_t total = 0
    cdef uint32_t symbol
    cdef uint32_t i
    if chunk & 0x8000 == 0:
        symbol = chunk >> 13
        return symbol * taken if symbol <= LARGE_DELTA else UINT32_MAX
    for i in range(taken):
        symbol = _chunk_symbol(chunk, i)
        if symbol > LARGE_DELTA:
            return UINT32_MAX
        total += symbol
    return total


cdef bint twcc_parse_begin(TwccParser* parser, const uint8_t* fci, uint32_t length) noexcept nogil:
    """Walk the chunks once: they must cover all statuses, and the deltas they promise must be there."""
    cdef uint32_t at = FCI_LEN
    cdef uint32_t covered = 0
    cdef uint32_t deltas = 0
    cdef uint32_t taken
    cdef uint32_t size
    cdef uint32_t word
    cdef uint16_t chunk
    memset(parser, 0, sizeof(TwccParser))
    if length < FCI_LEN or length > 0x40000:
        return False
    parser.base_seq = load16(fci)
    parser.status_count = load16(fci + 2)
    word = load24(fci + 4)
    parser.reference_time = <int32_t>word - (0x1000000 if word & 0x800000 else 0)
    parser.feedback_count = fci[7]
    parser.chunks = fci + FCI_LEN
    parser.ticks = <int64_t>parser.reference_time * TICKS_PER_REFERENCE
    if parser.status_count > TWCC_MAX_STATUS:
        parser.status_count = 0
        return False
    while covered < parser.status_count:
        if at + 2 > length:
            parser.status_count = 0
            return False
        chunk = load16(fci + at)
        at += 2
        taken = min(_chunk_span(chunk), parser.status_count - covered)
        size = _delta_bytes(chunk, taken)
        covered += taken
        deltas += size
        if size == UINT32_MAX or deltas > length - at:
            parser.status_count = 0
            return False
    parser.deltas = fci + at
    return True


cdef bint twcc_parse_next(TwccParser* parser, TwccStatus* status) noexcept nogil:
    cdef uint32_t symbol
    cdef int32_t delta
    if parser.index >= parser.status_count:
        return False
    while parser.left == 0:  # twcc_parse_begin has seen that there are chunks enough
        parser.chunk = load16(parser.chunks)
        parser.chunks += 2
        parser.left = <uint16_t>_chunk_span(parser.chunk)
        parser.used = 0
    symbol = _chunk_symbol(parser.chunk, parser.used)
    parser.used += 1
    parser.left -= 1
    status.seq = <uint16_t>(parser.base_seq + parser.index)
    parser.index += 1
    status.received = symbol != NOT_RECEIVED
    status.delta = 0
    status.arrived = 0
    if symbol == NOT_RECEIVED:
        return True
    if symbol == SMALL_DELTA:
        delta = parser.deltas[0]
        parser.deltas += 1
    else:
        delta = <int16_t>load16(parser.deltas)
        parser.deltas += 2
    parser.ticks += delta
    status.delta = delta * TICK_US
    status.arrived = parser.ticks * TICK_US
    return True


# --- for tests and tools --------------------------------------------------------------------------------

VERDICTS = ("new", "late", "duplicate", "old", "jump")


cdef class TransportLog:
    """Owner of one transport's log."""

    cdef TwccLog log

    def __cinit__(self):
        twcc_init(&self.log)

    def arrived(self, seq: int, now: int) -> str:
        return VERDICTS[twcc_arrived(&self.log, seq, now)]

    @property
    def pending(self) -> bool:
        return twcc_pending(&self.log)

    def build(self, sender_ssrc: int, media_ssrc: int, capacity: int = 1200) -> bytes:
        """The next feedback packet; empty when there is none."""
        cdef bytearray out = bytearray(capacity)
        cdef uint32_t size = twcc_build(&self.log, sender_ssrc, media_ssrc, <uint8_t*>(<char*>out), capacity)
        return bytes(out[:size])


def read_feedback(const uint8_t[::1] fci not None):
    """(base seq, reference time, feedback count, [(seq, received, delta µs, arrival µs)]), or None."""
    cdef TwccParser parser
    cdef TwccStatus status
    if fci.shape[0] == 0 or not twcc_parse_begin(&parser, &fci[0], <uint32_t>fci.shape[0]):
        return None
    statuses = []
    while twcc_parse_next(&parser, &status):
        statuses.append((status.seq, bool(status.received), status.delta, status.arrived))
    return parser.base_seq, parser.reference_time, parser.feedback_count, statuses
