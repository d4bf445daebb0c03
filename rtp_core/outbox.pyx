"""Packets become messages as they are pushed: the kernel's price is by the message, nearly whatever its size.

A receiver's latest message takes what comes after it, also when others have been written to since: of a room's many
senders, what one batch brought leaves for each receiver together.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

from rtp_core.route cimport Path


cdef int outbox_init(Outbox* out, uint32_t packets) noexcept nogil:
    out.capacity = packets
    out.flushes = 1
    out.messages = <OutMessage*>calloc(packets, sizeof(OutMessage))
    out.size = packets * SLOT_SIZE
    out.arena = <uint8_t*>calloc(packets, SLOT_SIZE)
    return 0 if out.messages != NULL and out.arena != NULL else -1


cdef void outbox_free(Outbox* out) noexcept nogil:
    free(out.messages)
    free(out.arena)


cdef inline bint full(const Outbox* out) noexcept nogil:
    return out.count == out.capacity or out.size - out.used < SLOT_SIZE


cdef uint8_t* outbox_slot(Outbox* out) noexcept nogil:
    if full(out):
        outbox_flush(out)
        if full(out):
            return NULL
    return out.arena + out.used


cdef inline bint join(OutMessage* message, int rank, uint8_t* data, uint32_t size) noexcept nogil:
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


cdef void outbox_push(Outbox* out, OutLast* last, const Path* path, int rank, uint32_t size) noexcept nogil:
    cdef uint8_t* data = out.arena + out.used
    cdef OutMessage* message
    out.used += size
    out.count += 1
    if last != NULL:
        if last.flush == out.flushes and join(&out.messages[last.message], rank, data, size):
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


cdef void outbox_forget(Outbox* out) noexcept nogil:
    out.message_count = 0
    out.count = 0
    out.used = 0
    out.flushes += 1  # what receivers remember of their messages holds no longer
    if out.flushes == 0:
        out.flushes = 1


cdef void outbox_flush(Outbox* out) noexcept nogil:
    if out.count and out.flush != NULL:
        out.flush(out.context, out)
        outbox_forget(out)
