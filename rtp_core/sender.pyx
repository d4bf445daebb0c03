"""Consecutive packets of one size to one address leave as one UDP_SEGMENT message.

The kernel's price is by the message, nearly whatever its size. The last packet of a message may be shorter than the
others; all of them lie one behind the other, as the outbox keeps them. Where the kernel refuses such a message (it
is old, the device has no checksum offload, the path is narrower than the packets), they go out one by one.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp

from rtp_core.objects cimport Core, OutPacket
from rtp_core.route cimport Path, is_ipv4, same_address
from rtp_core.sys cimport BATCH, EAGAIN, EINTR, EIO, ENOBUFS, errno, prepare, send_batch

cdef enum:
    MAX_SEGMENTS = 64  # UDP_MAX_SEGMENTS of older kernels
    MAX_BYTES = 65000  # of one message
    GIVE_UP = 64  # refusals without a success


cdef inline bint same_way(const Path* a, const Path* b) noexcept nogil:
    return a.socket == b.socket and same_address(&a.remote, &b.remote) and memcmp(a.local_ip, b.local_ip, 16) == 0


cdef uint32_t group(const OutPacket* packets, uint32_t count) noexcept nogil:
    """How many of the packets the first message takes."""
    cdef uint32_t size = packets[0].size
    cdef uint32_t total = size
    cdef uint32_t taken = 1
    if count > MAX_SEGMENTS:
        count = MAX_SEGMENTS
    while taken < count and packets[taken].size <= size and total + packets[taken].size <= MAX_BYTES and \
            packets[taken].data == packets[0].data + total and same_way(&packets[taken].path, &packets[0].path):
        total += packets[taken].size
        taken += 1
        if packets[taken - 1].size < size:
            break
    return taken


cdef void put(Sender* sender, int at, OutPacket* packet, uint32_t size, uint16_t segment) noexcept nogil:
    prepare(sender.batch, at, packet.data, size, segment, packet.path.remote.ip, packet.path.remote.port,
            packet.path.remote.scope, packet.path.local_ip, is_ipv4(packet.path.remote.ip))


cdef void one_by_one(Sender* sender, Core* core, OutPacket* packets, uint32_t count) noexcept nogil:
    """In the batch's first place, whose message is behind us."""
    cdef uint32_t i
    for i in range(count):
        put(sender, 0, &packets[i], packets[i].size, 0)
        while send_batch(sender.sockets[packets[i].path.socket], sender.batch, 0, 1) < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN or errno == ENOBUFS:
                core.counters.send_full += count - i
                return
            core.counters.send_errors += 1
            break


cdef void transmit(Sender* sender, Core* core, int socket, OutPacket* packets, int count) noexcept nogil:
    """The `count` prepared messages, made of `packets`. A message that the kernel refuses is skipped."""
    cdef int done = 0
    cdef int sent, i
    while done < count:
        sent = send_batch(sender.sockets[socket], sender.batch, done, count - done)
        if sent > 0:
            for i in range(done, done + sent):
                if sender.counts[i] > 1:
                    sender.refusals[socket] = 0
            core.counters.messages_out += sent
            done += sent
        elif errno == EINTR:
            continue
        elif errno == EAGAIN or errno == ENOBUFS:
            while done < count:
                core.counters.send_full += sender.counts[done]
                done += 1
        elif sender.counts[done] > 1:
            # EINVAL is this path's (narrower than the packets), EIO the device's, for good.
            core.counters.segments_refused += 1
            if errno == EIO:
                sender.refusals[socket] += 1
                if sender.refusals[socket] == GIVE_UP:
                    sender.segments[socket] = False
            i = done
            done += 1
            # The places before `done` are free again: the first is borrowed.
            one_by_one(sender, core, packets + sender.firsts[i], sender.counts[i])
        else:
            core.counters.send_errors += 1
            done += 1


cdef void send_packets(Sender* sender, Core* core, OutPacket* packets, uint32_t count) noexcept nogil:
    cdef uint32_t i = 0
    cdef uint32_t taken, k, size
    cdef int queued = 0
    cdef int socket = -1
    while i < count:
        if packets[i].path.socket >= sender.count:
            i += 1
            continue
        if queued == BATCH or (queued and packets[i].path.socket != socket):
            transmit(sender, core, socket, packets, queued)
            queued = 0
        socket = packets[i].path.socket
        taken = group(packets + i, count - i) if sender.segments[socket] else 1
        size = 0
        for k in range(taken):
            size += packets[i + k].size
        put(sender, queued, &packets[i], size, <uint16_t>packets[i].size if taken > 1 else 0)
        sender.firsts[queued] = i
        sender.counts[queued] = taken
        queued += 1
        i += taken
    if queued:
        transmit(sender, core, socket, packets, queued)
