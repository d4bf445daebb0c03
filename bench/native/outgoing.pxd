"""One stream that an endpoint of the load sends: video in frames, or audio every 20 ms, at the sender's own pace.

Times are µs of the monotonic clock unless a name says otherwise.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from bench.native.net cimport net_batch
from rtp_core.protect cimport SrtpContext
from rtp_core.rtcp cimport ReportBlock

cdef enum:
    OUT_KEPT = 128  # packets that can be sent again; a power of two
    OUT_PACKET = 1280  # bytes of a plain packet, header included
    OUT_STAMPS = 10  # where the stamps begin in a payload: behind VP8's descriptor and frame header
    OUT_STAMPED = OUT_STAMPS + 24  # bytes: time of sending, counter, timestamp, tag

ctypedef struct Kept:
    uint16_t sequence
    uint16_t size
    uint8_t data[OUT_PACKET]

ctypedef struct Wire:
    # What streams of one transport share.
    int fd
    SrtpContext* context
    uint16_t twcc  # the next transport-wide number
    uint8_t mid_id  # header extensions; 0: not sent
    uint8_t twcc_id
    uint8_t level_id
    net_batch* batch
    uint8_t* sealed  # NET_MESSAGE bytes
    double loss  # share of packets that get lost on their way to the server
    uint64_t random
    int64_t send_failures
    int64_t lost

ctypedef struct Outgoing:
    # fixed
    bint is_video
    uint32_t ssrc
    uint32_t rtx_ssrc  # 0: no retransmission
    uint8_t payload_type
    uint8_t rtx_payload_type
    uint8_t mid  # one character
    uint32_t tag  # told in every payload, so that a receiver knows whose it is
    int64_t interval  # between frames
    uint32_t step  # of timestamps
    int frame_bytes  # of a delta frame on average; key frames have `key_factor` times as much
    int key_factor
    int key_every  # frames
    int payload_max  # bytes
    # state
    int64_t due
    uint16_t sequence
    uint16_t rtx_sequence
    uint32_t timestamp
    int64_t counter  # packets, retransmissions not counted
    int64_t began  # where the counter stood when the run began
    int since_key
    bint key_wanted
    uint64_t random
    Kept* kept
    uint32_t reported  # packets by the last sender report
    # counters
    int64_t packets
    int64_t bytes  # of payload
    int64_t frames
    int64_t key_frames
    int64_t repeated
    int64_t too_old  # asked for, not kept any more

cdef bint out_init(Outgoing* s, uint64_t seed) noexcept nogil  # False: no memory. The fixed fields are set.
cdef void out_free(Outgoing* s) noexcept nogil
# Sizes of a frame's packets into `sizes`; their number. As libwebrtc cuts: equal but for a byte, larger ones last.
cdef int out_cut(int frame_bytes, int payload_max, int* sizes, int most) noexcept nogil
# The next frame's bytes of payload: moved about by a quarter; moves the stream along.
cdef int out_next_frame(Outgoing* s, bint* key) noexcept nogil
cdef void out_send_frame(Outgoing* s, Wire* wire) noexcept nogil
cdef void out_repeat(Outgoing* s, Wire* wire, uint16_t sequence) noexcept nogil
# A sender report with its CNAME, sealed and sent.
cdef void out_report(Outgoing* s, Wire* wire, int64_t wall_us) noexcept nogil
cdef uint64_t next_random(uint64_t* state) noexcept nogil
cdef bint lost_now(uint64_t* state, double share) noexcept nogil
