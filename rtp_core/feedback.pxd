"""RTCP from clients, and the reports that go out on a timer."""

from libc.stdint cimport int64_t, uint8_t

from rtp_core.objects cimport Consumer, Core, Transport

cdef void feedback_receive(Core* core, Transport* transport, int64_t now, uint8_t* data, int size) noexcept nogil
cdef void send_reports(Core* core, Transport* transport, int64_t now) noexcept nogil
cdef void send_bye(Core* core, Consumer* consumer) noexcept nogil
