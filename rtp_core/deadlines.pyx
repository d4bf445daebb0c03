"""A heap of four children a node: half the levels of a binary one, and the children share a cache line."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free

cdef enum:
    ARITY = 4


cdef int deadlines_init(Deadlines* heap, uint32_t capacity) noexcept nogil:
    heap.entries = <DeadlineEntry*>calloc(capacity, sizeof(DeadlineEntry))
    heap.count = 0
    heap.capacity = capacity
    return 0 if heap.entries != NULL else -1


cdef void deadlines_free(Deadlines* heap) noexcept nogil:
    free(heap.entries)
    heap.entries = NULL
    heap.count = 0


cdef void deadline_init(Deadline* deadline, void* owner, uint32_t kind) noexcept nogil:
    deadline.due = NEVER
    deadline.owner = owner
    deadline.kind = kind
    deadline.place = 0


cdef inline void put(Deadlines* heap, uint32_t place, DeadlineEntry entry) noexcept nogil:
    heap.entries[place] = entry
    entry.who.place = place


cdef void rise(Deadlines* heap, uint32_t place, DeadlineEntry entry) noexcept nogil:
    cdef uint32_t parent
    while place:
        parent = (place - 1) // ARITY
        if heap.entries[parent].due <= entry.due:
            break
        put(heap, place, heap.entries[parent])
        place = parent
    put(heap, place, entry)


cdef void sink(Deadlines* heap, uint32_t place, DeadlineEntry entry) noexcept nogil:
    cdef uint32_t child, least, end
    while True:
        child = place * ARITY + 1
        if child >= heap.count:
            break
        end = child + ARITY if child + ARITY < heap.count else heap.count
        least = child
        while child + 1 < end:
            child += 1
            if heap.entries[child].due < heap.entries[least].due:
                least = child
        if heap.entries[least].due >= entry.due:
            break
        put(heap, place, heap.entries[least])
        place = least
    put(heap, place, entry)


cdef void deadline_set(Deadlines* heap, Deadline* deadline, int64_t due) noexcept nogil:
    cdef DeadlineEntry entry
    cdef uint32_t place = deadline.place
    cdef int64_t former = deadline.due
    if due == former:
        return
    deadline.due = due
    entry.due = due
    entry.who = deadline
    if former == NEVER:
        if heap.count == heap.capacity:
            deadline.due = NEVER
            return
        heap.count += 1
        rise(heap, heap.count - 1, entry)
    elif due == NEVER:
        heap.count -= 1
        if place != heap.count:  # the last one takes the place
            entry = heap.entries[heap.count]
            if entry.due < former:
                rise(heap, place, entry)
            else:
                sink(heap, place, entry)
    elif due < former:
        rise(heap, place, entry)
    else:
        sink(heap, place, entry)


# --- for tests and tools --------------------------------------------------------------------------------

cdef class DeadlineHeap:
    """Owner of a heap with room for `capacity` deadlines, which are named by number."""

    cdef Deadlines heap
    cdef Deadline* all
    cdef uint32_t capacity

    def __cinit__(self, uint32_t capacity):
        cdef uint32_t i
        self.capacity = capacity
        self.all = <Deadline*>calloc(capacity, sizeof(Deadline))
        if self.all == NULL or deadlines_init(&self.heap, capacity) != 0:
            raise MemoryError
        for i in range(capacity):
            deadline_init(&self.all[i], &self.all[i], i)

    def __dealloc__(self):
        deadlines_free(&self.heap)
        free(self.all)

    def __len__(self) -> int:
        return self.heap.count

    def set(self, uint32_t number, due) -> None:
        """`due` in µs; None: never."""
        if number >= self.capacity:
            raise IndexError(number)
        deadline_set(&self.heap, &self.all[number], NEVER if due is None else <int64_t>due)

    def hasten(self, uint32_t number, int64_t due) -> None:
        if number >= self.capacity:
            raise IndexError(number)
        deadline_hasten(&self.heap, &self.all[number], due)

    @property
    def next(self):
        """µs, or None."""
        return None if self.heap.count == 0 else deadlines_next(&self.heap)

    def due(self, int64_t now):
        """The number of the earliest whose time has come, or None."""
        cdef Deadline* found = deadlines_due(&self.heap, now)
        return None if found == NULL else found.kind
