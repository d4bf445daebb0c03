"""Where frames and key frames begin in RTP payloads, and how often a key frame may be asked for."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:  # codecs
    CODEC_OTHER = 0
    CODEC_VP8 = 1
    CODEC_VP9 = 2
    CODEC_H264 = 3
    CODEC_AV1 = 4

cdef enum:  # bits of `frame_flags`
    FRAME_START = 1  # the first packet of a frame, as far as the payload tells
    FRAME_KEY = 2  # a receiver can begin to decode here; always together with FRAME_START
    FRAME_SPARE = 4  # no other frame needs this one; told of each of its packets

ctypedef struct KeyframeThrottle:
    # settings; `keyframe_init` fills in the defaults
    int64_t interval_us
    uint8_t max_tries
    # state
    bint waiting  # a key frame is wanted and has not come
    bint sent_before
    int64_t sent_at  # µs, of the last request sent
    uint8_t tries  # requests sent for the present want
    bint hastened  # the present want does not wait for the whole interval
    int64_t credit_us  # of asking sooner: grows with time, up to EARLY times the interval
    int64_t credit_at

# 0 for what is truncated, malformed or of another codec. H264 does not mark the start of a frame: FRAME_START
# is told where it is certain (SPS, delimiter, first slice), so more than once when a frame has several of them.
cdef int frame_flags(int codec, const uint8_t* payload, uint32_t length) noexcept nogil

cdef void keyframe_init(KeyframeThrottle* throttle) noexcept nogil
# Someone wants a key frame. True: send PLI or FIR now. False: wait for `keyframe_deadline`. Who has had no picture at
# all is `new`, and waits a fifth of the interval at most, a few times in a row.
cdef bint keyframe_request(KeyframeThrottle* throttle, int64_t now, bint new) noexcept nogil
# The deadline has come. True: send PLI or FIR now (again).
cdef bint keyframe_due(KeyframeThrottle* throttle, int64_t now) noexcept nogil
cdef void keyframe_arrived(KeyframeThrottle* throttle) noexcept nogil
cdef int64_t keyframe_deadline(const KeyframeThrottle* throttle) noexcept nogil  # µs; INT64_MAX: none
