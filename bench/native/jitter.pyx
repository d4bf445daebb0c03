"""What any loop on this core would wait for the machine itself: a thread that only looks at the clock.

Whoever is awake meets the times at which the hypervisor or an interrupt has the core. Whoever sleeps is also woken late.
"""

from array import array

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from bench.native.net cimport CLOCK_MONOTONIC, net_clock, net_wait

cdef enum:
    ROOM = 1_000_000
    SHORTEST_NS = 1_000  # a shorter gap is the reading of the clock


cdef int64_t watch(int64_t until, int64_t* found) noexcept nogil:
    cdef int64_t before = net_clock(CLOCK_MONOTONIC)
    cdef int64_t count = 0
    cdef int64_t now
    while before < until and count < ROOM:
        now = net_clock(CLOCK_MONOTONIC)
        if now - before >= SHORTEST_NS:
            found[count] = now - before
            count += 1
        before = now
    return count


cdef int64_t sleep(int64_t until, int64_t interval, int64_t* found) noexcept nogil:
    cdef int64_t now = net_clock(CLOCK_MONOTONIC)
    cdef int64_t due = now + interval
    cdef int64_t count = 0
    while now < until and count < ROOM:
        net_wait(NULL, 0, due - now)
        now = net_clock(CLOCK_MONOTONIC)
        found[count] = now - due
        count += 1
        due += interval
        if due < now:
            due = now + interval
    return count


cdef object collect(int64_t* found, int64_t count):
    cdef int64_t i
    out = array("q", bytes(8 * count))
    for i in range(count):
        out[i] = found[i]
    return out


def stalls(double seconds):
    """Lengths in nanoseconds of the gaps between two looks at the clock, from a microsecond on (array of int64)."""
    cdef int64_t* found = <int64_t*>malloc(ROOM * sizeof(int64_t))
    cdef int64_t count
    if found == NULL:
        raise MemoryError
    try:
        with nogil:
            count = watch(net_clock(CLOCK_MONOTONIC) + <int64_t>(seconds * 1e9), found)
        return collect(found, count)
    finally:
        free(found)


def wakings(double seconds, double interval):
    """By how many nanoseconds too late a thread that sleeps until each `interval` (seconds) is awake (array of int64)."""
    cdef int64_t* found = <int64_t*>malloc(ROOM * sizeof(int64_t))
    cdef int64_t count
    if found == NULL:
        raise MemoryError
    if interval <= 0:
        raise ValueError("an interval is positive")
    try:
        with nogil:
            count = sleep(net_clock(CLOCK_MONOTONIC) + <int64_t>(seconds * 1e9), <int64_t>(interval * 1e9), found)
        return collect(found, count)
    finally:
        free(found)
