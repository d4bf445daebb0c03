"""Packets become messages as they are pushed: the kernel's price is by the message, nearly whatever its size.

A receiver's latest message takes what comes after it, also when others have been written to since: of a room's many
senders, what one batch brought leaves for each receiver together.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free


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
