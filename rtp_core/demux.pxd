"""The pure step: a packet or the passing of time in, packets to send and events out. No clock, no sockets."""

from libc.stdint cimport int64_t, uint8_t

from rtp_core.objects cimport Core
from rtp_core.route cimport Path

# One datagram, or one frame of a TCP connection. `data` is overwritten, and read until `demux_flush`.
cdef void demux_receive(Core* core, int64_t now, const Path* path, uint8_t* data, int size) noexcept nogil
# At the end of a batch, before its memory is used again: sends what came to all who want it.
cdef void demux_flush(Core* core, int64_t now) noexcept nogil
# What is due. Returns when to call again, in µs (NEVER: when something else happens).
cdef int64_t demux_tick(Core* core, int64_t now) noexcept nogil
