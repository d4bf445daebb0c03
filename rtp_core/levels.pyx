"""Loudness per window, and the choice of the active speaker.

A meter averages energy, not decibels, over the packets of a window, and moves halfway to the new value. The
selector is slow on purpose: a cough must not take the floor, a pause for breath must not lose it.
"""

from libc.math cimport log10, pow
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:
    NOBODY = -1
    CHALLENGE_US = 300000
    HOLD_US = 1000000
    SILENCE_US = 3000000

cdef double THRESHOLD_DB = -50.0
cdef double MARGIN_DB = 3.0
cdef double SMOOTHING = 0.5


cdef void level_init(LevelMeter* meter) noexcept nogil:
    meter.energy = 0.0
    meter.packets = 0
    meter.level = LEVEL_SILENCE


cdef void level_packet(LevelMeter* meter, uint8_t attenuation) noexcept nogil:
    """Silence (127) has no energy at all, so that a window of it is LEVEL_SILENCE exactly."""
    attenuation &= 0x7F
    meter.packets += 1
    if attenuation < 127:
        meter.energy += pow(10.0, -0.1 * attenuation)


cdef double level_window(LevelMeter* meter) noexcept nogil:
    cdef double heard = LEVEL_SILENCE
    if meter.energy > 0.0:
        heard = max(10.0 * log10(meter.energy / meter.packets), <double>LEVEL_SILENCE)
    meter.level += SMOOTHING * (heard - meter.level)
    if meter.level < LEVEL_SILENCE + 0.5:
        meter.level = LEVEL_SILENCE
    meter.energy = 0.0
    meter.packets = 0
    return meter.level


cdef void speaker_init(SpeakerSelector* selector) noexcept nogil:
    selector.threshold_db = THRESHOLD_DB
    selector.margin_db = MARGIN_DB
    selector.challenge_us = CHALLENGE_US
    selector.hold_us = HOLD_US
    selector.silence_us = SILENCE_US
    selector.speaker = NOBODY
    selector.since = 0
    selector.heard_at = 0
    selector.challenger = NOBODY
    selector.challenge_since = 0


cdef double _level_of(int64_t id, const int64_t* ids, const double* levels, uint32_t count, bint* found) noexcept nogil:
    cdef uint32_t i
    found[0] = False
    for i in range(count):
        if ids[i] == id:
            found[0] = True
            return levels[i]
    return LEVEL_SILENCE


cdef void _give_floor(SpeakerSelector* selector, int64_t id, int64_t now) noexcept nogil:
    selector.speaker = id
    selector.since = now
    selector.heard_at = now
    selector.challenger = NOBODY


cdef bint speaker_update(SpeakerSelector* selector, const int64_t* ids, const double* levels, uint32_t count,
                         int64_t now) noexcept nogil:
    cdef int64_t before = selector.speaker
    cdef bint present
    cdef double level = _level_of(selector.speaker, ids, levels, count, &present)
    if selector.speaker != NOBODY:
        if level >= selector.threshold_db:
            selector.heard_at = now
        if not present or now - selector.heard_at >= selector.silence_us:
            selector.speaker = NOBODY
            level = LEVEL_SILENCE
    _find_challenger(selector, level, ids, levels, count, now)
    if selector.challenger != NOBODY and now - selector.challenge_since >= selector.challenge_us \
            and (selector.speaker == NOBODY or now - selector.since >= selector.hold_us):
        _give_floor(selector, selector.challenger, now)
    return selector.speaker != before


cdef void _find_challenger(SpeakerSelector* selector, double level, const int64_t* ids, const double* levels,
                           uint32_t count, int64_t now) noexcept nogil:
    """Who has challenged for longest and still does; else the loudest who does. Two who talk over each other
    would otherwise take turns and neither would last."""
    cdef double needed = selector.threshold_db
    cdef int64_t loudest = NOBODY
    cdef double best = 0.0
    cdef uint32_t i
    if selector.speaker != NOBODY:
        needed = max(needed, level + selector.margin_db)
    for i in range(count):
        if ids[i] == selector.speaker or levels[i] < needed:
            continue
        if ids[i] == selector.challenger:
            return
        if loudest == NOBODY or levels[i] > best:
            loudest = ids[i]
            best = levels[i]
    selector.challenger = loudest
    selector.challenge_since = now


# --- for tests and tools --------------------------------------------------------------------------------

cdef class Meter:
    """Owner of one producer's meter."""

    cdef LevelMeter meter

    def __cinit__(self):
        level_init(&self.meter)

    def packet(self, attenuation: int) -> None:
        level_packet(&self.meter, attenuation)

    def window(self) -> float:
        return level_window(&self.meter)


cdef class Speaker:
    """Owner of one room's selector. Ids are not negative, times in µs."""

    cdef SpeakerSelector selector

    def __cinit__(self):
        speaker_init(&self.selector)

    def update(self, dict levels, now: int) -> bool:
        """`levels`: {id: dBov}, at most 256 of them."""
        cdef int64_t ids[256]
        cdef double values[256]
        cdef uint32_t count = 0
        for id, value in levels.items():
            if count == 256:
                break
            ids[count] = id
            values[count] = value
            count += 1
        return speaker_update(&self.selector, ids, values, count, now)

    @property
    def speaker(self):
        return None if self.selector.speaker == NOBODY else self.selector.speaker
