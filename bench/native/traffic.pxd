"""What the parts of the native load share: an endpoint's transport, and the whole."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from bench.native.incoming cimport Incoming
from bench.native.net cimport net_batch
from bench.native.outgoing cimport Outgoing, Wire
from rtp_core.ext cimport ExtMap
from rtp_core.twcc cimport TwccLog

cdef enum:
    CHECK_SIZE = 256

ctypedef struct Totals:
    int64_t received
    int64_t forged  # not authentic
    int64_t replayed  # by SRTP's own window
    int64_t unknown  # authentic, of no stream that was announced
    int64_t dropped  # lost on purpose
    int64_t rtx_received
    int64_t nacks_sent  # sequence numbers asked for
    int64_t nacks_heard
    int64_t plis_sent
    int64_t plis_heard
    int64_t reports_sent
    int64_t reports_heard
    int64_t feedback_sent
    int64_t feedback_heard  # packets that transport-wide feedback tells of
    int64_t feedback_lost  # and those it calls lost
    int64_t bad_rtcp

ctypedef struct Transport:
    Wire wire
    uint8_t check[CHECK_SIZE]
    int check_len
    ExtMap ext_in
    Outgoing* outgoing
    int outgoing_count
    Incoming* incoming
    int incoming_count
    int last  # the incoming stream that was met last
    TwccLog* log
    uint32_t own_ssrc
    int64_t report_due
    int64_t feedback_due
    int64_t check_due

ctypedef struct Load:
    Transport* transports
    int count
    Outgoing** heap  # by time of the next frame
    int* owner  # of each, a transport's index; moved along with `heap`
    int heap_count
    int epoll
    bint reports
    double loss
    uint64_t random
    net_batch* into
    net_batch* out
    uint8_t* arena
    uint8_t* sealed
    int64_t* latencies  # ns
    int64_t* repairs  # µs
    int64_t room
    int64_t measured
    int64_t repaired
    int64_t late_us  # the worst delay of a frame against its time
    Totals totals
    int stop
