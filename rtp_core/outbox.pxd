"""What one step wants sent: packets in one piece of memory, grouped into messages by where they go."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from rtp_core.route cimport Path

cdef enum:
    SLOT_SIZE = 2048  # of a packet, in and out
    MAX_PARTS = 8  # pieces of memory of one message
    MAX_SEGMENTS = 64  # packets of one (UDP_MAX_SEGMENTS of older kernels)
    MAX_MESSAGE = 65000  # its bytes

cdef struct Part:
    uint8_t* data
    uint32_t size

cdef struct OutMessage:
    # Packets of one size to one place: all but the last have `segment` bytes, the last may have fewer. None lies
    # across two parts.
    Path path
    uint32_t size
    uint16_t segment
    uint16_t count
    uint8_t rank  # overload's Rank
    uint8_t part_count
    Part parts[MAX_PARTS]

cdef struct OutLast:
    # Where a receiver's last packet went. Zeroed memory: nowhere.
    uint32_t flush  # the outbox's `flushes` then
    uint32_t message

cdef struct Outbox:
    # Packets lie in `arena` in the order in which they were made; those to one place are in order among the messages
    # too. `flush` takes everything.
    OutMessage* messages
    uint32_t message_count
    uint8_t* arena
    uint32_t size  # of the arena
    uint32_t used
    uint32_t count  # packets
    uint32_t capacity
    uint32_t flushes
    void (*flush)(void* context, Outbox* out) noexcept nogil
    void* context

cdef struct OutCursor:
    const OutMessage* message
    uint32_t part
    uint32_t offset
    uint32_t left  # packets

cdef int outbox_init(Outbox* out, uint32_t packets) noexcept nogil  # -1: no memory
cdef void outbox_free(Outbox* out) noexcept nogil
cdef uint8_t* outbox_slot(Outbox* out) noexcept nogil  # SLOT_SIZE bytes, for the next packet; NULL: full
# The slot holds a packet: it joins the receiver's `last` message if it can (NULL: it has none), or begins one.
cdef void outbox_push(Outbox* out, OutLast* last, const Path* path, int rank, uint32_t size) noexcept nogil
cdef void outbox_flush(Outbox* out) noexcept nogil
cdef void outbox_forget(Outbox* out) noexcept nogil  # all has been taken

cdef inline OutCursor packets_of(const OutMessage* message) noexcept nogil:
    cdef OutCursor cursor
    cursor.message = message
    cursor.part = cursor.offset = 0
    cursor.left = message.count
    return cursor

cdef inline uint8_t* next_packet(OutCursor* cursor, uint32_t* size) noexcept nogil:
    """NULL: that was the last one."""
    cdef const OutMessage* message = cursor.message
    cdef uint8_t* data
    if cursor.left == 0:
        return NULL
    cursor.left -= 1
    if cursor.offset == message.parts[cursor.part].size:
        cursor.part += 1
        cursor.offset = 0
    data = message.parts[cursor.part].data + cursor.offset
    size[0] = message.segment if cursor.left else message.size - <uint32_t>message.segment * (message.count - 1)
    cursor.offset += size[0]
    return data
