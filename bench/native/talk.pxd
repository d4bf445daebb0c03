"""RTCP of a load's endpoint: what it tells the server, and what it does when the server asks."""

from libc.stdint cimport int64_t, uint8_t

from bench.native.incoming cimport Incoming
from bench.native.traffic cimport Load, Transport

cdef void hear(Load* load, Transport* t, uint8_t* data, int size, int64_t now) noexcept nogil
# Everything that is due: consent, reports, transport-wide feedback, requests for what is missing.
cdef void tick(Load* load, Transport* t, int64_t now, int64_t wall) noexcept nogil
cdef void ask_key(Load* load, Transport* t, Incoming* s, int64_t now) noexcept nogil
