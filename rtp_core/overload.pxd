"""Who gives way when the engine cannot send all there is: the rooms that take most, and their video first."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum Rank:
    # What a packet is, in the order in which it is kept.
    RANK_CONTROL = 0  # STUN, DTLS, RTCP: without these there is no call
    RANK_SOUND = 1
    RANK_VIDEO = 2
    RANK_EXCESS = 3  # of a room that has had more than its share
    RANK_REPAIR = 4  # retransmissions
    RANKS = 5
    # Of `overload_admit` alone:
    RANK_BEGIN = 5  # video of a receiver that has none yet
    RANK_SHED = 6  # not to be sent at all

cdef enum:
    NO_CEILING = 0x10000000

cdef struct Share:
    # A room's. Zeroed memory is a valid start.
    uint32_t window
    uint32_t used  # packets in it
    uint32_t sound  # of these
    uint32_t spell  # of pressure that the rest is about
    int64_t credit  # packets times `window_us`
    int64_t credit_at  # µs

cdef struct Overload:
    # settings; `overload_init` fills them in
    int64_t window_us
    # state
    int64_t ends_us  # of the present window
    uint32_t window
    uint32_t ceiling  # packets of one room in one window, or NO_CEILING
    uint32_t fair  # mean of the rooms in the window before
    uint32_t rooms  # of the present window, so far
    uint32_t total
    uint32_t busiest  # the most that one room has had
    uint32_t busiest_before
    uint32_t spell  # counts the times that a ceiling was set where there was none
    uint8_t pressed  # in the present window
    uint64_t presses

cdef void overload_init(Overload* state) noexcept nogil
cdef void overload_turn(Overload* state, int64_t now) noexcept nogil  # the window's end may have come
# More was to be sent than could be: from here on the busiest rooms get less. Once a window.
cdef void overload_press(Overload* state, int64_t now) noexcept nogil

# `packets` of a room, of RANK_SOUND, RANK_VIDEO, RANK_BEGIN or RANK_REPAIR: the rank that they go out with, or
# RANK_SHED. Of receivers of video, those with the lowest `lot` give way first.
cdef int overload_admit(Overload* state, Share* share, int64_t now, int rank, uint8_t lot,
                        uint32_t packets) noexcept nogil
