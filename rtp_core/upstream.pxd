"""What is said to those who send to us: key frame requests, NACKs, arrival feedback, receiver reports, REMB."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from rtp_core.objects cimport Core, Producer, Transport

cdef void send_keyframe_request(Core* core, Producer* producer) noexcept nogil  # now, whatever the throttle says
# Throttled; less so for who has had no picture yet.
cdef void request_keyframe(Core* core, Producer* producer, int64_t now, bint new) noexcept nogil
cdef void request_keyframes_for(Core* core, Transport* transport, int64_t now) noexcept nogil  # who waits there
cdef void send_nacks(Core* core, Producer* producer, int64_t now) noexcept nogil  # those that are due
cdef void send_arrivals(Core* core, Transport* transport, int64_t now) noexcept nogil  # transport-cc
# Receiver reports of all producers, an answer to an RRTR, and REMB where transport-cc was not negotiated.
# Returns bytes written to `out`.
cdef uint32_t write_receiver_reports(Core* core, Transport* transport, int64_t now, uint8_t* out,
                                     uint32_t capacity) noexcept nogil
