"""The Trio thread's end of the core."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from rtp_core.commands cimport Command
from rtp_core.objects cimport Core, Head, Slab

cdef class Pipeline:
    cdef Core* core
    cdef object backlog  # commands that did not fit into the ring, in order
    cdef list allocators
    cdef dict kept  # what must outlive an object, by its handle
    cdef bint attached  # to an engine, which alone may step it then
    cdef object mesh  # what links it to the pipelines of other engines, None: nothing
    cdef object ring_later  # what has the engine woken for commands, None: each does it by itself
    cdef bint ringing  # `ring_later` was called and `ring` was not

    cdef Slab* slab_of(self, int kind) noexcept
    cdef uint64_t allocate(self, int kind) except 0
    cdef int submit(self, Command* command) except -1
    cdef object simple(self, uint32_t type, uint64_t handle)
    cdef object read_event(self, uint8_t* slot)
    cdef Head* head_of(self, uint64_t handle) except? NULL
    cdef int check_free(self) except -1
