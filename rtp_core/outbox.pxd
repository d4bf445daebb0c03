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
cdef void outbox_flush(Outbox* out) noexcept nogil
cdef void outbox_forget(Outbox* out) noexcept nogil  # all has been taken

cdef inline bint outbox_full(const Outbox* out) noexcept nogil:
    return out.count == out.capacity or out.size - out.used < SLOT_SIZE


cdef inline uint8_t* outbox_slot(Outbox* out) noexcept nogil:
    """SLOT_SIZE bytes, for the next packet; NULL: full."""
    if outbox_full(out):
        outbox_flush(out)
        if outbox_full(out):
            return NULL
    return out.arena + out.used


cdef inline void outbox_reserve(Outbox* out, uint32_t packets) noexcept nogil:
    """So many are to share a message: not half of them before a flush."""
    if out.capacity - out.count < packets:
        outbox_flush(out)


cdef inline bint joined(OutMessage* message, int rank, uint8_t* data, uint32_t size) noexcept nogil:
    """One more packet of the size of those before it, or a last one that is shorter."""
    cdef Part* last = &message.parts[message.part_count - 1]
    if message.rank != rank or size > message.segment or message.count == MAX_SEGMENTS \
            or message.size != <uint32_t>message.segment * message.count or message.size + size > MAX_MESSAGE:
        return False
    if data == last.data + last.size:
        last.size += size
    elif message.part_count < MAX_PARTS:
        message.parts[message.part_count].data = data
        message.parts[message.part_count].size = size
        message.part_count += 1
    else:
        return False
    message.size += size
    message.count += 1
    return True


cdef inline void outbox_push(Outbox* out, OutLast* last, const Path* path, int rank, uint32_t size) noexcept nogil:
    """The slot holds a packet: it joins the receiver's `last` message if it can (NULL: it has none), or begins one."""
    cdef uint8_t* data = out.arena + out.used
    cdef OutMessage* message
    out.used += size
    out.count += 1
    if last != NULL:
        if last.flush == out.flushes and joined(&out.messages[last.message], rank, data, size):
            return
        last.flush = out.flushes
        last.message = out.message_count
    message = &out.messages[out.message_count]
    out.message_count += 1
    message.path = path[0]
    message.rank = <uint8_t>rank
    message.size = size
    message.segment = <uint16_t>size
    message.count = 1
    message.part_count = 1
    message.parts[0].data = data
    message.parts[0].size = size


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
