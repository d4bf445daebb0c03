"""How loud each producer is (RFC 6464), and who of a room is the active speaker."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

cdef enum:
    LEVEL_SILENCE = -127  # dBov

ctypedef struct LevelMeter:
    double energy  # sum over the packets of the present window, 1.0 = 0 dBov
    uint32_t packets  # in the present window
    double level  # dBov, smoothed

ctypedef struct SpeakerSelector:
    # settings; `speaker_init` fills in the defaults
    double threshold_db  # below it is silence
    double margin_db  # louder than the present speaker by this much to take over
    int64_t challenge_us  # for so long
    int64_t hold_us  # a speaker keeps the floor for at least this long
    int64_t silence_us  # of the present speaker, until nobody is
    # state; ids are the caller's, -1: nobody
    int64_t speaker
    int64_t since
    int64_t heard_at  # the speaker was last above the threshold
    int64_t challenger
    int64_t challenge_since

cdef void level_init(LevelMeter* meter) noexcept nogil
# `attenuation` is the extension's seven bits: 0 is the loudest, 127 digital silence.
cdef void level_packet(LevelMeter* meter, uint8_t attenuation) noexcept nogil
# Close the present window (each 200 ms): the smoothed level in dBov, -127..0. No packets count as silence.
cdef double level_window(LevelMeter* meter) noexcept nogil

cdef void speaker_init(SpeakerSelector* selector) noexcept nogil
# All of a room's unpaused audio producers, after each window. True: `selector.speaker` changed.
cdef bint speaker_update(SpeakerSelector* selector, const int64_t* ids, const double* levels, uint32_t count,
                         int64_t now) noexcept nogil
