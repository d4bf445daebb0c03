"""RTCP from clients, and the reports that go out on a timer."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from rtp_core.objects cimport Consumer, Core, Producer, Transport

cdef void feedback_receive(Core* core, Transport* transport, int64_t now, uint8_t* data, int size) noexcept nogil
# A sender report's pairing of wall clock and timestamp, and when it came (here or at the engine that has the sender).
cdef void sender_clock(Core* core, Producer* producer, int64_t now, uint64_t ntp, uint32_t timestamp,
                       int64_t at) noexcept nogil
cdef void send_reports(Core* core, Transport* transport, int64_t now) noexcept nogil
cdef void send_bye(Core* core, Consumer* consumer) noexcept nogil
