"""UDP on its way out: messages into system calls, and what is kept or given up when the kernel has no room."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from rtp_core.objects cimport Core
from rtp_core.outbox cimport SLOT_SIZE, OutMessage
from rtp_core.route cimport Path
from rtp_core.sys cimport BATCH, Batch

cdef enum:
    MAX_UDP = 8
    BACKLOG = 256  # packets of one socket

cdef struct Waiting:
    # A packet that the kernel had no room for.
    Path path
    int64_t since_us
    uint32_t size
    uint8_t rank
    uint8_t data[SLOT_SIZE]

cdef struct Backlog:
    Waiting* places  # BACKLOG of them; memory that was never needed is never touched
    uint32_t first
    uint32_t count

cdef struct Prepared:
    const OutMessage* message
    uint8_t* data  # of one of its packets; NULL: all of them at once
    uint32_t size

cdef struct Sender:
    int sockets[MAX_UDP]
    int count
    bint segments[MAX_UDP]  # UDP_SEGMENT is in use
    uint32_t refusals[MAX_UDP]  # of it, one after the other
    bint blocked[MAX_UDP]  # nothing more goes out in this flush
    Backlog backlogs[MAX_UDP]
    # The system call: as sendmmsg, with errno. Tests put one of their own here.
    int (*call)(void* context, int fd, Batch* batch, int first, int count) noexcept nogil
    void* context
    Batch* batch
    Prepared prepared[64]

cdef int sender_init(Sender* sender, int sockets) noexcept nogil  # -1: no memory
cdef void sender_free(Sender* sender) noexcept nogil
# First what waits, then these, in order, as far as their path is UDP.
cdef void send_messages(Sender* sender, Core* core, const OutMessage* messages, uint32_t count,
                        int64_t now) noexcept nogil
cdef void send_waiting(Sender* sender, Core* core, int64_t now) noexcept nogil
cdef bint sender_waits(const Sender* sender) noexcept nogil  # there is something that `send_waiting` may send
