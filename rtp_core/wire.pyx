"""A wire in memory: a pipeline's sender with this in place of the kernel, for tests and for measuring the core alone.

It takes as many messages as it is told to and refuses the rest, as a socket does whose buffer is full.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from rtp_core.objects cimport Core
from rtp_core.outbox cimport Outbox, outbox_flush
from rtp_core.pipeline cimport Pipeline
from rtp_core.sender cimport (
    MAX_UDP, Sender, send_messages, send_waiting, sender_free, sender_init, sender_waits,
)
from rtp_core.sys cimport EAGAIN, Batch, errno, read_back

cdef enum:
    LOG_SIZE = 1 << 24

cdef struct Entry:
    uint8_t ip[16]
    uint16_t port
    uint16_t segment  # 0: one datagram
    uint32_t size  # bytes that follow

cdef struct State:
    Core* core
    Sender sender
    int64_t now
    int64_t room  # messages that are taken; below 0: all
    int error
    int calls
    uint8_t* log  # entries, one behind the other; NULL: nothing is kept
    uint32_t used


cdef int take(void* context, int fd, Batch* batch, int first, int count) noexcept nogil:
    cdef State* state = <State*>context
    cdef Entry* entry
    cdef int i, size
    state.calls += 1
    if state.room == 0:
        (&errno)[0] = state.error
        return -1
    if state.room > 0:
        count = count if count < state.room else <int>state.room
        state.room -= count
    if state.log == NULL:
        return count
    for i in range(first, first + count):
        if LOG_SIZE - state.used < sizeof(Entry) + 65536:
            break
        entry = <Entry*>(state.log + state.used)
        size = read_back(batch, i, entry.ip, &entry.port, &entry.segment, <uint8_t*>(entry + 1), 65536)
        entry.size = <uint32_t>size
        state.used += (sizeof(Entry) + <uint32_t>size + 7) // 8 * 8
    return count


cdef void flush(void* context, Outbox* out) noexcept nogil:
    cdef State* state = <State*>context
    send_messages(&state.sender, state.core, out.messages, out.message_count, state.now)


cdef class Wire:
    """`pipeline` is stepped by its owner, who then calls `flush`. With `keep`, what was taken can be read."""

    cdef State state
    cdef Pipeline pipeline

    def __cinit__(self, Pipeline pipeline not None, *, bint segments=True, bint keep=True):
        cdef int i
        if pipeline.attached:
            raise RuntimeError("an engine steps this pipeline")
        memset(&self.state, 0, sizeof(State))
        self.state.core = pipeline.core
        self.state.room = -1
        self.state.error = EAGAIN
        if keep:
            self.state.log = <uint8_t*>calloc(1, LOG_SIZE)
        if sender_init(&self.state.sender, MAX_UDP) != 0 or (keep and self.state.log == NULL):
            raise MemoryError
        for i in range(MAX_UDP):
            self.state.sender.segments[i] = segments
        self.state.sender.call = take
        self.state.sender.context = &self.state
        pipeline.core.out.flush = flush
        pipeline.core.out.context = &self.state
        self.pipeline = pipeline

    def __dealloc__(self):
        if self.pipeline is not None:
            self.pipeline.core.out.flush = NULL
        sender_free(&self.state.sender)
        free(self.state.log)

    def flush(self, int64_t now, *, room=None, int error=EAGAIN) -> None:
        """Send what the pipeline has made; `room` is how many messages are taken from now on (None: all)."""
        self.state.now = now
        self.state.error = error
        self.state.room = -1 if room is None else <int64_t>room
        outbox_flush(&self.pipeline.core.out)
        send_waiting(&self.state.sender, self.pipeline.core, now)

    @property
    def waits(self) -> bool:
        return sender_waits(&self.state.sender)

    @property
    def calls(self) -> int:
        """System calls that there would have been."""
        return self.state.calls

    def taken(self) -> list:
        """Messages since the last time: ((16 bytes of address, port), [datagrams])."""
        cdef uint32_t at = 0
        cdef Entry* entry
        out = []
        while at < self.state.used:
            entry = <Entry*>(self.state.log + at)
            data = (<uint8_t*>(entry + 1))[:entry.size]
            step = entry.segment or max(1, entry.size)
            out.append(((entry.ip[:16], entry.port), [data[i:i + step] for i in range(0, max(1, len(data)), step)]))
            at += (sizeof(Entry) + entry.size + 7) // 8 * 8
        self.state.used = 0
        return out
