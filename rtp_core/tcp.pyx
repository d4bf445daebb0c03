"""TCP connections of clients whose UDP is blocked: bounded buffers, limits before proof, slow readers dropped."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove, memset

from rtp_core.ice cimport ice_channel_closed, ice_lookup
from rtp_core.objects cimport MAX_PACKET, Core
from rtp_core.demux cimport demux_flush, demux_receive
from rtp_core.rtp cimport load16, store16
from rtp_core.sys cimport (
    EAGAIN, EINTR, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, SHUT_RDWR,
    accept_one, close, epoll_ctl, epoll_event, errno, read, shutdown, write_two,
)

cdef enum:
    INDEX_BITS = 12  # of a channel; the rest is the generation
    UNPROVED_US = 10_000_000  # to pass an ICE check in
    SILENT_US = 35_000_000  # longer than consent lasts
    BLOCKED_US = 5_000_000
    UNPROVED_PER_SOURCE = 8
    SWEEP_US = 500_000
    READS = 4  # of one connection before the others get their turn



cdef int tcp_init(TcpTable* table, uint32_t capacity, int epoll_fd) noexcept nogil:
    cdef uint32_t i
    memset(table, 0, sizeof(TcpTable))
    table.epoll_fd = epoll_fd
    table.capacity = capacity if capacity < (1 << INDEX_BITS) else (1 << INDEX_BITS) - 1
    table.connections = <TcpConnection*>calloc(table.capacity + 1, sizeof(TcpConnection))
    if table.connections == NULL:
        return -1
    for i in range(table.capacity):
        table.connections[i].fd = -1
    return 0


cdef void tcp_close(Core* core, TcpTable* table, TcpConnection* connection) noexcept nogil:
    if connection.fd < 0:
        return
    close(connection.fd)  # which takes it out of the epoll set
    connection.fd = -1
    free(connection.write_buffer)
    connection.write_buffer = NULL
    free(connection.read_buffer)
    connection.read_buffer = NULL
    table.count -= 1
    core.counters.tcp_closed += 1
    ice_channel_closed(core, connection.path.channel)


cdef void tcp_free(Core* core, TcpTable* table) noexcept nogil:
    cdef uint32_t i
    if table.connections == NULL:
        return
    for i in range(table.capacity):
        tcp_close(core, table, &table.connections[i])
    free(table.connections)
    table.connections = NULL


cdef bint too_many(const TcpTable* table, const uint8_t* ip) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t same = 0
    for i in range(table.capacity):
        if table.connections[i].fd >= 0 and not table.connections[i].proved:
            if memcmp(table.connections[i].path.remote.ip, ip, 16) == 0:
                same += 1
    return same >= UNPROVED_PER_SOURCE


cdef void watch(TcpTable* table, uint32_t index, int operation, bint writing) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN | EPOLLRDHUP | (EPOLLOUT if writing else 0)
    event.data.u64 = index + FIRST_TAG
    epoll_ctl(table.epoll_fd, operation, table.connections[index].fd, &event)


cdef void tcp_accept(Core* core, TcpTable* table, int listener, int64_t now) noexcept nogil:
    cdef TcpConnection* connection
    cdef TcpConnection* places = table.connections
    cdef uint32_t index = 0
    cdef Path path
    cdef int fd
    memset(&path, 0, sizeof(Path))
    fd = accept_one(listener, path.remote.ip, &path.remote.port, &path.remote.scope, path.local_ip)
    if fd < 0:
        return
    if table.count == table.capacity or too_many(table, path.remote.ip):
        core.counters.tcp_refused += 1
        close(fd)
        return
    while places[index].fd >= 0:
        index += 1
    connection = &places[index]
    connection.read_buffer = <uint8_t*>malloc(TCP_READ_SIZE)
    if connection.read_buffer == NULL:
        core.counters.no_memory += 1
        close(fd)
        return
    connection.generation = (connection.generation + 1) & 0xFFFFF
    if connection.generation == 0:
        connection.generation = 1
    path.channel = connection.generation << INDEX_BITS | index
    connection.fd = fd
    connection.path = path
    connection.proved = 0
    connection.opened_us = now
    connection.heard_us = now
    connection.blocked_us = 0
    connection.read_len = 0
    connection.write_head = 0
    connection.write_len = 0
    table.count += 1
    core.counters.tcp_accepted += 1
    watch(table, index, EPOLL_CTL_ADD, False)


cdef bint take_frames(Core* core, TcpConnection* connection, int64_t now) noexcept nogil:
    """All whole frames of the read buffer. False: nonsense, to be closed."""
    cdef uint32_t at = 0
    cdef uint32_t size
    while connection.read_len - at >= 2:
        size = load16(connection.read_buffer + at)
        if size == 0 or size > MAX_PACKET:
            demux_flush(core, now)
            return False
        if connection.read_len - at - 2 < size:
            break
        demux_receive(core, now, &connection.path, connection.read_buffer + at + 2, <int>size)
        at += 2 + size
    demux_flush(core, now)
    if at:
        connection.read_len -= at
        memmove(connection.read_buffer, connection.read_buffer + at, connection.read_len)
        if not connection.proved and ice_lookup(core, &connection.path) != NULL:
            connection.proved = 1
    return True


cdef bint drain(TcpConnection* connection, int64_t now) noexcept nogil:
    """Writes what is buffered. False: the connection is broken."""
    cdef uint32_t first
    cdef ssize_t sent
    while connection.write_len:
        first = TCP_WRITE_SIZE - connection.write_head
        if first > connection.write_len:
            first = connection.write_len
        sent = write_two(connection.fd, connection.write_buffer + connection.write_head, first,
                         connection.write_buffer, connection.write_len - first)
        if sent < 0:
            if errno == EINTR:
                continue
            return errno == EAGAIN
        connection.write_head = (connection.write_head + <uint32_t>sent) & (TCP_WRITE_SIZE - 1)
        connection.write_len -= <uint32_t>sent
        connection.blocked_us = now
    connection.blocked_us = 0
    return True


cdef void tcp_ready(Core* core, TcpTable* table, uint32_t index, uint32_t events, int64_t now) noexcept nogil:
    cdef TcpConnection* connection
    cdef ssize_t got
    cdef int rounds = READS
    if index >= table.capacity or table.connections[index].fd < 0:
        return
    connection = &table.connections[index]
    if events & EPOLLOUT:
        if not drain(connection, now):
            tcp_close(core, table, connection)
            return
        if connection.write_len == 0:
            watch(table, index, EPOLL_CTL_MOD, False)
    while rounds and events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP):
        rounds -= 1
        got = read(connection.fd, connection.read_buffer + connection.read_len, TCP_READ_SIZE - connection.read_len)
        if got < 0 and errno == EINTR:
            continue
        if got < 0 and errno == EAGAIN:
            return
        if got <= 0:
            tcp_close(core, table, connection)
            return
        connection.heard_us = now
        connection.read_len += <uint32_t>got
        if not take_frames(core, connection, now):
            tcp_close(core, table, connection)
            return
        if connection.fd < 0:
            return


cdef void keep(TcpConnection* connection, const uint8_t* data, uint32_t size) noexcept nogil:
    cdef uint32_t tail = (connection.write_head + connection.write_len) & (TCP_WRITE_SIZE - 1)
    cdef uint32_t first = TCP_WRITE_SIZE - tail
    if first > size:
        first = size
    memcpy(connection.write_buffer + tail, data, first)
    memcpy(connection.write_buffer, data + first, size - first)
    connection.write_len += size


cdef bint tcp_send(Core* core, TcpTable* table, uint32_t channel, const uint8_t* data, uint32_t size,
                   int64_t now) noexcept nogil:
    """A whole frame or nothing: a reader that cannot keep up loses packets, as it would over UDP."""
    cdef uint32_t index = channel & ((1 << INDEX_BITS) - 1)
    cdef TcpConnection* connection
    cdef uint8_t prefix[2]
    cdef ssize_t sent = 0
    if index >= table.capacity or size > 0xFFFF:
        return False
    connection = &table.connections[index]
    if connection.fd < 0 or connection.path.channel != channel:
        return False
    store16(prefix, <uint16_t>size)
    if connection.write_len == 0:
        sent = write_two(connection.fd, prefix, 2, data, size)
        if sent == <ssize_t>size + 2:
            return True
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                return False  # epoll will say so too, and it is closed there
            sent = 0
        if connection.write_buffer == NULL:
            connection.write_buffer = <uint8_t*>malloc(TCP_WRITE_SIZE)
            if connection.write_buffer == NULL:
                core.counters.no_memory += 1
                if sent:  # a torn frame cannot be mended; epoll tells of the end, and it is closed there
                    shutdown(connection.fd, SHUT_RDWR)
                return False
        connection.blocked_us = now
        watch(table, index, EPOLL_CTL_MOD, True)
    elif connection.write_len + size + 2 > TCP_WRITE_SIZE:
        core.counters.tcp_dropped += 1
        return False
    if sent < 2:
        keep(connection, prefix + sent, 2 - <uint32_t>sent)
        keep(connection, data, size)
    else:
        keep(connection, data + (sent - 2), size + 2 - <uint32_t>sent)
    return True


cdef void tcp_sweep(Core* core, TcpTable* table, int64_t now) noexcept nogil:
    cdef uint32_t i
    cdef TcpConnection* connection
    if table.count == 0 or now - table.swept_us < SWEEP_US:
        return
    table.swept_us = now
    for i in range(table.capacity):
        connection = &table.connections[i]
        if connection.fd < 0:
            continue
        if (
            (not connection.proved and now - connection.opened_us > UNPROVED_US)
            or now - connection.heard_us > SILENT_US
            or (connection.blocked_us and now - connection.blocked_us > BLOCKED_US)
        ):
            tcp_close(core, table, connection)
