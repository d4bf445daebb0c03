"""ICE-lite (RFC 8445 section 2.5) on one port: answers checks, keeps each transport's paths, watches consent."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from rtp_core.objects cimport Core, IceCredentials, Transport
from rtp_core.route cimport Path

cdef void ice_receive(Core* core, int64_t now, const Path* path, const uint8_t* data, int size) noexcept nogil
# The transport that has proved to own `path`, or NULL.
cdef Transport* ice_lookup(Core* core, const Path* path) noexcept nogil
cdef int ice_register(Core* core, Transport* transport) noexcept nogil  # its current ufrag; -1: no memory
cdef void ice_restart(Core* core, Transport* transport, const IceCredentials* fresh) noexcept nogil
cdef void ice_unregister(Core* core, Transport* transport) noexcept nogil  # ufrags and paths
cdef void ice_channel_closed(Core* core, uint32_t channel) noexcept nogil  # a TCP connection has gone
# Consent (RFC 7675). Returns when to look again, in µs.
cdef int64_t ice_tick(Core* core, Transport* transport, int64_t now) noexcept nogil
