"""The ways between the engines of one server: a ring from each to each other."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free

from rtp_core.link cimport link_free, link_init
from rtp_core.objects cimport MAX_ENGINES, Link
from rtp_core.pipeline cimport Pipeline


cdef class Mesh:
    """Links pipelines to each other; a pipeline's place in the list is its number. Each of them keeps the mesh alive.

    `slots` is how many packets (of 2 KiB) may wait on one way before some are dropped, rounded up to a power of two.
    Before any of them has bells or an engine.
    """

    cdef Link* links  # from i to j at i * count + j
    cdef uint32_t count

    def __cinit__(self, list pipelines, *, int slots=1024):
        cdef Pipeline one
        cdef uint32_t i, j
        cdef Link* link
        if not 1 <= len(pipelines) <= MAX_ENGINES or not 16 <= slots <= 65536:
            raise ValueError(f"between 1 and {MAX_ENGINES} pipelines, between 16 and 65536 slots")
        for one in pipelines:
            if one.mesh is not None or one.attached:
                raise RuntimeError("a pipeline is part of a mesh already, or has an engine")
        self.count = len(pipelines)
        self.links = <Link*>calloc(self.count * self.count, sizeof(Link))
        if self.links == NULL:
            raise MemoryError
        for i in range(self.count):
            for j in range(self.count):
                if i != j and link_init(&self.links[i * self.count + j], <uint32_t>slots) != 0:
                    raise MemoryError
        for i, one in enumerate(pipelines):
            one.mesh = self
            one.core.engine_count = self.count
            for j in range(self.count):
                if i != j:
                    one.core.outgoing[j] = &self.links[i * self.count + j]
                    one.core.incoming[j] = &self.links[j * self.count + i]

    def __dealloc__(self):
        cdef uint32_t i
        if self.links != NULL:
            for i in range(self.count * self.count):
                link_free(&self.links[i])
        free(self.links)

    def __len__(self) -> int:
        return self.count
