"""Who is to be woken when: a heap that knows each entry's place, so that any deadline moves in O(log n)."""

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    NEVER = 0x7FFFFFFFFFFFFFFF

cdef struct Deadline:
    # Lies in the object that it wakes. `deadline_init` before anything else.
    int64_t due  # µs; NEVER: not in the heap
    void* owner
    uint32_t kind  # the caller's
    uint32_t place  # in the heap

cdef struct DeadlineEntry:
    int64_t due  # a copy: sifting reads the heap alone
    Deadline* who

cdef struct Deadlines:
    DeadlineEntry* entries
    uint32_t count
    uint32_t capacity

cdef int deadlines_init(Deadlines* heap, uint32_t capacity) noexcept nogil  # -1: no memory
cdef void deadlines_free(Deadlines* heap) noexcept nogil
cdef void deadline_init(Deadline* deadline, void* owner, uint32_t kind) noexcept nogil
# Earlier, later, or NEVER. The heap holds `capacity` of them; beyond that nothing is set, which the caller rules out.
cdef void deadline_set(Deadlines* heap, Deadline* deadline, int64_t due) noexcept nogil

cdef inline int64_t deadlines_next(const Deadlines* heap) noexcept nogil:
    return heap.entries[0].due if heap.count else NEVER

cdef inline Deadline* deadlines_due(const Deadlines* heap, int64_t now) noexcept nogil:
    """The earliest, if its time has come; it stays in the heap. NULL: none."""
    return heap.entries[0].who if heap.count and heap.entries[0].due <= now else NULL

cdef inline void deadline_hasten(Deadlines* heap, Deadline* deadline, int64_t due) noexcept nogil:
    """Not later than `due`."""
    if due < deadline.due:
        deadline_set(heap, deadline, due)
