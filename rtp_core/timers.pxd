"""What time alone makes due: consent, NACKs, key frame retries, feedback, reports, levels."""

from libc.stdint cimport int64_t

from rtp_core.objects cimport Core

cdef int64_t timers_run(Core* core, int64_t now) noexcept nogil  # returns when to call again, in µs
cdef int64_t levels_due(const Core* core, int64_t now) noexcept nogil  # when levels are told next, in µs
