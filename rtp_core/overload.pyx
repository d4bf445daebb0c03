"""One ceiling for all rooms, lowered while the engine is pressed and raised while it is not.

Rooms below the ceiling lose nothing, whatever others do: what is taken away is taken from the largest, until the
largest are equal (max-min fairness). Within a room the ceiling is a credit that grows with time. The deeper the room
is in debt, the more of its receivers give way for a while: the others keep a whole picture, instead of all a broken
one. The marks say at which credit each rank stops: retransmissions and receivers that would begin first, then
video, then sound. A window is long enough for a frame of each sender, and short enough that the receive queue holds
what comes meanwhile.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memset

cdef enum:
    WINDOW_US = 50_000
    FLOOR = 16  # packets: below it a room can do nothing
    DEBT = 2  # windows' worth, at which all video of a room gives way
    IDLE = 64  # windows after which nothing is left of the past

cdef int MARKS[RANKS + 1]  # the credit that must be left, in quarters of the ceiling
MARKS[:] = [0, -12, 0, 0, 2, 1]


cdef void overload_init(Overload* state) noexcept nogil:
    memset(state, 0, sizeof(Overload))
    state.window_us = WINDOW_US
    state.ceiling = NO_CEILING
    state.fair = NO_CEILING


cdef void overload_turn(Overload* state, int64_t now) noexcept nogil:
    cdef uint32_t passed = 0
    if now < state.ends_us:
        return
    while state.ends_us <= now and passed < IDLE:
        passed += 1
        state.ends_us += state.window_us
        if not state.pressed and state.ceiling < NO_CEILING:
            # Twice as much after two seconds: whoever was let in too soon is shed again, which looks worse.
            state.ceiling += state.ceiling // 64 + 1
        state.pressed = 0
    if passed == IDLE:
        state.ends_us = now + state.window_us
        state.ceiling = NO_CEILING
    state.fair = state.total // state.rooms if state.rooms and passed == 1 else NO_CEILING
    state.busiest_before = state.busiest if passed == 1 else 0
    state.busiest = state.total = state.rooms = 0
    state.window += 1


cdef void overload_press(Overload* state, int64_t now) noexcept nogil:
    cdef uint32_t most
    overload_turn(state, now)
    if state.pressed:
        return
    state.pressed = 1
    state.presses += 1
    if state.ceiling >= NO_CEILING:
        state.spell += 1
    most = state.busiest if state.busiest > state.busiest_before else state.busiest_before
    if most > state.ceiling:
        most = state.ceiling
    most -= most // 4
    state.ceiling = most if most > FLOOR else FLOOR


cdef inline bint affordable(Overload* state, Share* share, int64_t now, int rank, uint8_t lot,
                            uint32_t packets) noexcept nogil:
    cdef int64_t ceiling = state.ceiling
    cdef int64_t price = packets * state.window_us
    cdef int64_t least
    if share.spell != state.spell:
        share.spell = state.spell
        share.credit = ceiling * state.window_us // 2
    else:
        share.credit += (now - share.credit_at if now - share.credit_at < state.window_us else state.window_us) * ceiling
    share.credit_at = now
    if share.credit > ceiling * state.window_us:
        share.credit = ceiling * state.window_us
    least = ceiling * state.window_us * MARKS[rank] // 4
    if rank == RANK_VIDEO:
        least -= ceiling * state.window_us * DEBT * lot // 256
    if share.credit - price < least:
        return False
    share.credit -= price
    return True


cdef int overload_admit(Overload* state, Share* share, int64_t now, int rank, uint8_t lot,
                        uint32_t packets) noexcept nogil:
    if state.ceiling < NO_CEILING and not affordable(state, share, now, rank, lot, packets):
        return RANK_SHED
    if share.window != state.window:
        share.window = state.window
        share.used = share.sound = 0
        state.rooms += 1
    share.used += packets
    state.total += packets
    if share.used > state.busiest:
        state.busiest = share.used
    if rank == RANK_SOUND:
        share.sound += packets
        return RANK_EXCESS if share.sound // 2 > state.fair else RANK_SOUND
    if rank == RANK_REPAIR:
        return RANK_REPAIR
    return RANK_EXCESS if share.used > state.fair else RANK_VIDEO


# --- for tests and tools --------------------------------------------------------------------------------

RANK_NAMES = ("control", "sound", "video", "excess", "repair", "begin")


cdef class Shares:
    """Owner of the state for `rooms` rooms. Times in µs."""

    cdef Overload state
    cdef Share shares[256]

    def __cinit__(self):
        overload_init(&self.state)
        memset(self.shares, 0, sizeof(self.shares))

    def turn(self, int64_t now) -> None:
        overload_turn(&self.state, now)

    def press(self, int64_t now) -> None:
        overload_press(&self.state, now)

    def admit(self, int room, int64_t now, str rank, uint32_t packets = 1, *, uint8_t lot = 0):
        """The rank that they go out with, or None: they are shed."""
        cdef int found = overload_admit(&self.state, &self.shares[room & 255], now, RANK_NAMES.index(rank), lot,
                                        packets)
        return None if found == RANK_SHED else RANK_NAMES[found]

    @property
    def ceiling(self):
        """Packets of one room in one window, or None."""
        return None if self.state.ceiling >= NO_CEILING else self.state.ceiling

    @property
    def fair(self):
        return None if self.state.fair == NO_CEILING else self.state.fair
