"""Packet indices and the window against replays (RFC 3711 sections 3.3.1 and 3.3.2), for either direction.

The sender's side uses it too: under GCM a number must not be sealed twice.
"""

from libc.stdint cimport int64_t, uint16_t, uint64_t

cdef enum:
    REPLAY_WINDOW = 1024  # packets: a quarter of a second at 4,000 packets/s
    REPLAY_WORDS = 16  # of 64 bits

ctypedef struct ReplayWindow:
    # Zeroed memory is a valid start: no packet yet, and a rollover counter of 0.
    int64_t highest  # index of the newest packet: 16 bits of sequence number below the rollover counter
    uint64_t seen[REPLAY_WORDS]

# The index that `sequence` most likely has. Never negative: before the first rollover there is nothing behind.
cdef inline int64_t replay_index(const ReplayWindow* window, uint16_t sequence) noexcept nogil:
    cdef int64_t roc = window.highest >> 16
    cdef int last = <int>(window.highest & 0xFFFF)
    if last < 0x8000:
        if sequence - last > 0x8000 and roc > 0:
            roc -= 1
    elif last - 0x8000 > sequence:
        roc += 1
    return roc << 16 | sequence

# False: it was there before, or is too old to know.
cdef inline bint replay_fresh(const ReplayWindow* window, int64_t index) noexcept nogil:
    if index > window.highest:
        return True
    if index <= window.highest - REPLAY_WINDOW:
        return False
    return not (window.seen[(index & (REPLAY_WINDOW - 1)) >> 6] >> (index & 63)) & 1

# Only for an index that is fresh.
cdef inline void replay_add(ReplayWindow* window, int64_t index) noexcept nogil:
    cdef int64_t at
    if index > window.highest:
        if index - window.highest >= REPLAY_WINDOW:
            for at in range(REPLAY_WORDS):
                window.seen[at] = 0
        else:
            at = window.highest + 1
            while at < index:
                window.seen[(at & (REPLAY_WINDOW - 1)) >> 6] &= ~(<uint64_t>1 << (at & 63))
                at += 1
        window.highest = index
    window.seen[(index & (REPLAY_WINDOW - 1)) >> 6] |= <uint64_t>1 << (index & 63)
