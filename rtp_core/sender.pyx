"""Packets of one size to one address leave as one UDP_SEGMENT message: the kernel's price is by the message.

Where the kernel refuses such a message (it is old, the device has no checksum offload, the path is narrower than the
packets), its packets go out one by one. Where it has no room at all, control, sound and the video of rooms within
their share wait, for a short time and in bounded memory; other video and retransmissions are given up: receivers
ask for them, or for a key frame, when there is room again.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from rtp_core.objects cimport Core
from rtp_core.outbox cimport SLOT_SIZE, OutCursor, OutMessage, next_packet, packets_of
from rtp_core.overload cimport RANK_CONTROL, RANK_REPAIR, RANK_SOUND, RANKS, overload_press
from rtp_core.route cimport Path, is_ipv4
from rtp_core.sys cimport EAGAIN, EINTR, EIO, ENOBUFS, add_part, errno, prepare, send_batch

cdef enum:
    GIVE_UP = 64  # refusals of UDP_SEGMENT without a success
    LATE_US = 200_000  # what has waited for so long is of no more use

# How much of a backlog each rank may fill.
cdef uint32_t PLACES[RANKS]
PLACES[:] = [BACKLOG, BACKLOG * 7 // 8, BACKLOG // 2, 0, 0]


cdef int kernel(void* context, int fd, Batch* batch, int first, int count) noexcept nogil:
    return send_batch(fd, batch, first, count)


cdef int sender_init(Sender* sender, int sockets) noexcept nogil:
    cdef int i
    sender.count = sockets
    sender.call = kernel
    sender.batch = <Batch*>calloc(1, sizeof(Batch))
    if sender.batch == NULL:
        return -1
    for i in range(sockets):
        sender.backlogs[i].places = <Waiting*>calloc(BACKLOG, sizeof(Waiting))
        if sender.backlogs[i].places == NULL:
            return -1
    return 0


cdef void sender_free(Sender* sender) noexcept nogil:
    cdef int i
    free(sender.batch)
    sender.batch = NULL
    for i in range(MAX_UDP):
        free(sender.backlogs[i].places)
        sender.backlogs[i].places = NULL


# --- what the kernel has no room for ----------------------------------------------------------------------

cdef void count_shed(Core* core, int rank) noexcept nogil:
    if rank == RANK_CONTROL:
        core.counters.shed_socket_control += 1
    elif rank == RANK_SOUND:
        core.counters.shed_socket_sound += 1
    elif rank == RANK_REPAIR:
        core.counters.shed_socket_repair += 1
    else:
        core.counters.shed_socket_video += 1


cdef void keep(Core* core, Backlog* backlog, const Path* path, int rank, const uint8_t* data, uint32_t size,
               int64_t now) noexcept nogil:
    cdef Waiting* place
    core.counters.send_refused += 1
    if backlog.count >= PLACES[rank] or size > SLOT_SIZE:
        count_shed(core, rank)
        return
    place = &backlog.places[(backlog.first + backlog.count) % BACKLOG]
    backlog.count += 1
    place.path = path[0]
    place.rank = <uint8_t>rank
    place.since_us = now
    place.size = size
    memcpy(place.data, data, size)


cdef void refused(Sender* sender, Core* core, const Prepared* what, int64_t now) noexcept nogil:
    cdef const OutMessage* message = what.message
    cdef Backlog* backlog = &sender.backlogs[message.path.socket]
    cdef OutCursor cursor = packets_of(message)
    cdef uint32_t size
    cdef uint8_t* data
    if what.data != NULL:
        keep(core, backlog, &message.path, message.rank, what.data, what.size, now)
        return
    data = next_packet(&cursor, &size)
    while data != NULL:
        keep(core, backlog, &message.path, message.rank, data, size, now)
        data = next_packet(&cursor, &size)


cdef void drain(Sender* sender, Core* core, int socket, int64_t now) noexcept nogil:
    """As much of a backlog as there is room for. The socket is blocked when something is left."""
    cdef Backlog* backlog = &sender.backlogs[socket]
    cdef Waiting* place
    cdef int ready, sent
    while backlog.count:
        ready = 0
        while <uint32_t>ready < backlog.count and ready < BATCH:
            place = &backlog.places[(backlog.first + ready) % BACKLOG]
            if now - place.since_us > LATE_US:
                break
            put(sender, ready, &place.path, place.data, place.size, 0)
            ready += 1
        if ready:
            sent = sender.call(sender.context, sender.sockets[socket], sender.batch, 0, ready)
            if sent > 0:
                core.counters.send_delayed += sent
                core.counters.messages_out += sent
            elif errno == EAGAIN or errno == ENOBUFS:
                overload_press(&core.overload, now)
                sender.blocked[socket] = True
                return
            elif errno == EINTR:
                continue
            else:
                core.counters.send_errors += 1
                sent = 1
        else:
            count_shed(core, backlog.places[backlog.first].rank)
            sent = 1
        backlog.first = (backlog.first + sent) % BACKLOG
        backlog.count -= sent


cdef bint sender_waits(const Sender* sender) noexcept nogil:
    cdef int i
    for i in range(sender.count):
        if sender.backlogs[i].count:
            return True
    return False


cdef void send_waiting(Sender* sender, Core* core, int64_t now) noexcept nogil:
    cdef int i
    for i in range(sender.count):
        sender.blocked[i] = False
        if sender.backlogs[i].count:
            drain(sender, core, i, now)


# --- what there is room for -------------------------------------------------------------------------------

cdef inline void put(Sender* sender, int at, const Path* path, uint8_t* data, uint32_t size,
                     uint16_t segment) noexcept nogil:
    prepare(sender.batch, at, data, size, segment, path.remote.ip, path.remote.port, path.remote.scope, path.local_ip,
            is_ipv4(path.remote.ip))


cdef void one_by_one(Sender* sender, Core* core, const OutMessage* message, int64_t now) noexcept nogil:
    """In the batch's first place, whose message is behind us."""
    cdef OutCursor cursor = packets_of(message)
    cdef Prepared single
    cdef int socket = message.path.socket
    single.message = message
    single.data = next_packet(&cursor, &single.size)
    while single.data != NULL:
        if not sender.blocked[socket]:
            put(sender, 0, &message.path, single.data, single.size, 0)
            if sender.call(sender.context, sender.sockets[socket], sender.batch, 0, 1) > 0:
                core.counters.messages_out += 1
            elif errno == EINTR:
                continue
            elif errno == EAGAIN or errno == ENOBUFS:
                sender.blocked[socket] = True
            else:
                core.counters.send_errors += 1
        if sender.blocked[socket]:
            refused(sender, core, &single, now)
        single.data = next_packet(&cursor, &single.size)


cdef void transmit(Sender* sender, Core* core, int socket, int count, int64_t now) noexcept nogil:
    """The `count` prepared messages. One that the kernel does not take is skipped."""
    cdef int done = 0
    cdef int sent, i
    cdef const Prepared* first
    while done < count:
        first = &sender.prepared[done]
        sent = 0
        if not sender.blocked[socket]:
            sent = sender.call(sender.context, sender.sockets[socket], sender.batch, done, count - done)
        if sent > 0:
            for i in range(done, done + sent):
                if sender.prepared[i].data == NULL:
                    sender.refusals[socket] = 0
            core.counters.messages_out += sent
            done += sent
        elif sender.blocked[socket]:
            refused(sender, core, first, now)
            done += 1
        elif errno == EINTR:
            continue
        elif errno == EAGAIN or errno == ENOBUFS:
            sender.blocked[socket] = True
            overload_press(&core.overload, now)
        elif first.data == NULL:
            # EINVAL is this path's (narrower than the packets), EIO the device's, for good.
            core.counters.segments_refused += 1
            if errno == EIO:
                sender.refusals[socket] += 1
                if sender.refusals[socket] == GIVE_UP:
                    sender.segments[socket] = False
            done += 1
            # The places before `done` are free again: the first is borrowed.
            one_by_one(sender, core, first.message, now)
        else:
            core.counters.send_errors += 1
            done += 1


cdef inline void enqueue(Sender* sender, int at, const OutMessage* message, uint8_t* data,
                         uint32_t size) noexcept nogil:
    cdef int i
    sender.prepared[at].message = message
    sender.prepared[at].data = data
    sender.prepared[at].size = size
    if data != NULL:
        put(sender, at, &message.path, data, size, 0)
        return
    put(sender, at, &message.path, message.parts[0].data, message.parts[0].size, message.segment)
    for i in range(1, message.part_count):
        add_part(sender.batch, at, message.parts[i].data, message.parts[i].size)


cdef void send_messages(Sender* sender, Core* core, const OutMessage* messages, uint32_t count,
                        int64_t now) noexcept nogil:
    cdef const OutMessage* message
    cdef OutCursor cursor
    cdef uint8_t* data
    cdef uint32_t i, size
    cdef int queued = 0
    cdef int socket = -1
    send_waiting(sender, core, now)
    for i in range(count):
        message = &messages[i]
        if message.path.socket >= sender.count:
            continue
        if queued and message.path.socket != socket:
            transmit(sender, core, socket, queued, now)
            queued = 0
        socket = message.path.socket
        if message.count > 1 and sender.segments[socket]:
            if queued == BATCH:
                transmit(sender, core, socket, queued, now)
                queued = 0
            enqueue(sender, queued, message, NULL, message.size)
            queued += 1
            continue
        cursor = packets_of(message)
        data = next_packet(&cursor, &size)
        while data != NULL:
            if queued == BATCH:
                transmit(sender, core, socket, queued, now)
                queued = 0
            enqueue(sender, queued, message, data, size)
            queued += 1
            data = next_packet(&cursor, &size)
    if queued:
        transmit(sender, core, socket, queued, now)
