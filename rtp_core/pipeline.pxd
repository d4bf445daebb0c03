"""The pure step: a packet or the passing of time in, packets to send and events out. No clock, no sockets."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from rtp_core.commands cimport Command
from rtp_core.objects cimport Core, Head, Slab
from rtp_core.route cimport Path

# One datagram, or one frame of a TCP connection. `data` is overwritten.
cdef void pipeline_receive(Core* core, int64_t now, const Path* path, uint8_t* data, int size) noexcept nogil
# What is due. Returns when to call again, in µs (NEVER: when something else happens).
cdef int64_t pipeline_tick(Core* core, int64_t now) noexcept nogil

cdef enum EventType:
    EVENT_DTLS = 1
    EVENT_LEVELS = 2

cdef struct LevelEntry:
    uint64_t producer
    double level

cdef enum:
    MAX_LEVELS = 120  # of one event

cdef struct EventHead:
    uint32_t type
    uint32_t size  # bytes of DTLS, or number of LevelEntry that follow
    uint64_t handle

cdef class Pipeline:
    cdef Core* core
    cdef object backlog  # commands that did not fit into the ring, in order
    cdef list allocators
    cdef dict kept  # what must outlive an object, by its handle
    cdef bint attached  # to an engine, which alone may step it then

    cdef Slab* slab_of(self, int kind) noexcept
    cdef uint64_t allocate(self, int kind) except 0
    cdef int submit(self, Command* command) except -1
    cdef object simple(self, uint32_t type, uint64_t handle)
    cdef object read_event(self, uint8_t* slot)
    cdef Head* head_of(self, uint64_t handle) except? NULL
    cdef int check_free(self) except -1
