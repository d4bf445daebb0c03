"""The IO shell: one native thread that owns the sockets and the clock, and never holds the GIL.

UDP sockets are waited for by poll and are in no epoll set, which would cost every sent packet 7 %. Everything
else (bell, listeners, connections) sits in one epoll set, which itself is one more descriptor of that poll.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from rtp_core.atomic cimport exchange32, peek32
from rtp_core.commands cimport commands_apply
from rtp_core.deadlines cimport NEVER
from rtp_core.demux cimport demux_flush, demux_receive, demux_tick
from rtp_core.egress cimport egress_flush
from rtp_core.objects cimport Core, Counters
from rtp_core.outbox cimport SLOT_SIZE, OutCursor, Outbox, next_packet, packets_of
from rtp_core.overload cimport overload_press
from rtp_core.pipeline cimport Pipeline
from rtp_core.relay cimport relay_answer, relay_receive, relay_waiting
from rtp_core.ring cimport bell_answer, bell_ring, ring_used
from rtp_core.route cimport Path
from rtp_core.sender cimport (
    MAX_UDP, Sender, send_messages, send_waiting, sender_free, sender_init, sender_waits,
)
from rtp_core.sys cimport (
    BATCH, EAGAIN, EINTR, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLLIN, POLLIN, Batch, can_segment, clock_us, close,
    coalesce, epoll_create1, epoll_ctl, epoll_event, epoll_wait, errno, poll_us, pollfd, receive_batch, received_at,
    socket_memory,
)
from rtp_core.tcp cimport (
    FIRST_TAG, TcpTable, tcp_accept, tcp_free, tcp_init, tcp_ready, tcp_send, tcp_sweep,
)

cdef enum:
    MAX_LISTENERS = 8
    COALESCED = 16  # messages of a batch, where each may be many datagrams
    COALESCED_SIZE = 65536
    ROUNDS = 4  # batches read from one socket before the others get their turn
    BEHIND_US = 50_000  # without a pause in what comes: more than there is time for
    PACKET_NS = 350  # what packets and messages cost to send, at least (docs/benchmarks.md)
    MESSAGE_NS = 1_200
    MEASURE_US = 100_000
    RETRY_US = 500  # the kernel had no room
    LONGEST_US = 1_000_000  # the loop looks at its clocks at least so often
    BELL_TAG = 0
    LISTENER_TAG = 1  # and following

cdef struct Behind:
    # Since when a socket has always had more to read than one turn may read; 0: it has not.
    int64_t since_us
    uint64_t forwarded
    uint64_t messages

cdef struct Io:
    Core* core
    int udp[MAX_UDP]
    int udp_count
    int listeners[MAX_LISTENERS]
    int listener_count
    int epoll_fd
    int64_t now
    int64_t heard_us  # when a datagram last came
    int64_t busy_poll_us  # awake for so long after it
    uint32_t stop
    TcpTable tcp
    Batch* incoming
    uint8_t* arena  # of incoming packets
    bint coalesces[MAX_UDP]  # UDP_GRO
    Behind behind[MAX_UDP]
    int64_t measured_us
    Sender sender


cdef void flush(void* context, Outbox* out) noexcept nogil:
    """In order, in runs of one kind: UDP goes out in bulk, a TCP frame by itself."""
    cdef Io* io = <Io*>context
    cdef uint32_t i, size
    cdef uint32_t first = 0
    cdef OutCursor cursor
    cdef uint8_t* data
    for i in range(out.message_count):
        if not out.messages[i].path.channel:
            continue
        send_messages(&io.sender, io.core, out.messages + first, i - first, io.now)
        first = i + 1
        cursor = packets_of(&out.messages[i])
        data = next_packet(&cursor, &size)
        while data != NULL:
            if not tcp_send(io.core, &io.tcp, out.messages[i].path.channel, data, size, io.now):
                io.core.counters.send_errors += 1
            data = next_packet(&cursor, &size)
    send_messages(&io.sender, io.core, out.messages + first, out.message_count - first, io.now)


cdef void press_if_behind(Io* io, int index) noexcept nogil:
    """All that may be read in one turn has been, and there is more: since when?

    Rooms are made to give way only if it is their packets that take the time, and not a flood of something else.
    """
    cdef Counters* counters = &io.core.counters
    cdef Behind* behind = &io.behind[index]
    cdef int64_t spent
    if behind.since_us == 0:
        behind.since_us = io.now
        behind.forwarded = counters.forwarded
        behind.messages = counters.messages_out
    elif io.now - behind.since_us > BEHIND_US:
        spent = <int64_t>(counters.forwarded - behind.forwarded) * PACKET_NS \
            + <int64_t>(counters.messages_out - behind.messages) * MESSAGE_NS
        if spent // 1000 > (io.now - behind.since_us) // 2:
            overload_press(&io.core.overload, io.now)
        behind.since_us = 0


cdef void measure(Io* io) noexcept nogil:
    """What the kernel holds for the sockets, and what it has had no room for."""
    cdef Counters* counters = &io.core.counters
    cdef uint32_t used, receive_size, send_size, lost
    cdef uint64_t lost_by_all = 0
    cdef uint64_t granted_in = 0
    cdef uint64_t granted_out = 0
    cdef int i
    for i in range(io.udp_count):
        if not socket_memory(io.udp[i], &used, &receive_size, &send_size, &lost):
            continue
        lost_by_all += lost
        granted_in += receive_size
        granted_out += send_size
        if used > counters.receive_queue_max:
            counters.receive_queue_max = used
    counters.receive_buffer = granted_in
    counters.send_buffer = granted_out
    counters.receive_lost = lost_by_all
    io.measured_us = io.now


cdef void read_udp(Io* io, int index) noexcept nogil:
    cdef int rounds = ROUNDS
    cdef int wanted = COALESCED if io.coalesces[index] else BATCH
    cdef int room = COALESCED_SIZE if io.coalesces[index] else SLOT_SIZE
    cdef int count, i, size, segment
    cdef uint8_t* data
    cdef Path path
    memset(&path, 0, sizeof(Path))
    path.socket = index
    while rounds:
        rounds -= 1
        count = receive_batch(io.udp[index], io.incoming, io.arena, wanted, room)
        if count < 0:
            if errno != EAGAIN and errno != EINTR:
                io.core.counters.receive_errors += 1
            io.behind[index].since_us = 0
            return
        io.heard_us = io.now
        # What was commanded before these packets were sent must be known to them.
        commands_apply(io.core, io.now, 256)
        io.core.counters.batches += 1
        for i in range(count):
            size = received_at(io.incoming, i, path.remote.ip, &path.remote.port, &path.remote.scope, path.local_ip,
                               &segment)
            if size < 0:
                io.core.counters.oversize += 1
                continue
            io.core.counters.messages_in += 1
            data = io.arena + <size_t>i * room
            while size > segment:
                demux_receive(io.core, io.now, &path, data, segment)
                data += segment
                size -= segment
            demux_receive(io.core, io.now, &path, data, size)
        demux_flush(io.core, io.now)
        egress_flush(io.core)
        if count < wanted:
            io.behind[index].since_us = 0
            return
        io.now = clock_us(0)
    press_if_behind(io, index)


cdef void read_others(Io* io) noexcept nogil:
    cdef epoll_event events[64]
    cdef int count = epoll_wait(io.epoll_fd, events, 64, 0)
    cdef int i
    cdef uint64_t tag
    commands_apply(io.core, io.now, 256)
    for i in range(count):
        tag = events[i].data.u64
        if tag == BELL_TAG:
            bell_answer(&io.core.command_bell)
            relay_answer(io.core)
        elif tag < FIRST_TAG:
            tcp_accept(io.core, &io.tcp, io.listeners[tag - LISTENER_TAG], io.now)
        else:
            tcp_ready(io.core, &io.tcp, <uint32_t>(tag - FIRST_TAG), events[i].events, io.now)


cdef void read_relayed(Io* io) noexcept nogil:
    cdef int rounds = ROUNDS
    while rounds and relay_receive(io.core, io.now):
        rounds -= 1
        egress_flush(io.core)
        io.now = clock_us(0)


cdef int watch(Io* io, int fd, uint64_t tag) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN
    event.data.u64 = tag
    return epoll_ctl(io.epoll_fd, EPOLL_CTL_ADD, fd, &event)


cdef void loop(Io* io) noexcept nogil:
    cdef pollfd fds[MAX_UDP + 1]
    cdef int i, ready
    cdef int64_t due, wait, took
    cdef Core* core = io.core
    for i in range(io.udp_count):
        fds[i].fd = io.udp[i]
        fds[i].events = POLLIN
    fds[io.udp_count].fd = io.epoll_fd
    fds[io.udp_count].events = POLLIN
    io.now = clock_us(0)
    while not peek32(&io.stop):
        due = demux_tick(core, io.now)
        egress_flush(core)
        took = clock_us(0)
        if <uint64_t>(took - io.now) > core.counters.late_us_max:
            core.counters.late_us_max = <uint64_t>(took - io.now)
        wait = due - took if due != NEVER else LONGEST_US
        if wait > LONGEST_US:
            wait = LONGEST_US
        if wait < 0 or ring_used(&core.commands) or relay_waiting(core) or took - io.heard_us < io.busy_poll_us:
            wait = 0
        elif wait > RETRY_US and sender_waits(&io.sender):
            wait = RETRY_US
        ready = poll_us(fds, io.udp_count + 1, wait)
        io.now = clock_us(0)
        core.wall_offset_us = clock_us(1) - io.now
        core.counters.loops += 1
        if ready > 0:
            for i in range(io.udp_count):
                if fds[i].revents:
                    read_udp(io, i)
                else:
                    io.behind[i].since_us = 0
            if fds[io.udp_count].revents:
                read_others(io)
        commands_apply(core, io.now, 256)
        read_relayed(io)
        tcp_sweep(core, &io.tcp, io.now)
        egress_flush(core)
        if sender_waits(&io.sender):
            send_waiting(&io.sender, core, io.now)
        if io.now - io.measured_us > MEASURE_US:
            measure(io)


cdef class Engine:
    """Runs a pipeline over sockets. The caller owns the sockets and closes them after `run` has returned.

    `udp_fds` are bound, non-blocking and have IP_PKTINFO (IPV6_RECVPKTINFO) set; `tcp_fds` listen. `offload` lets the
    kernel coalesce what comes and cut what goes (UDP_GRO, UDP_SEGMENT) where it can. For `busy_poll_us` microseconds
    after a datagram the thread does not sleep: the next one need not wake it, which takes longer than to forward it.
    """

    cdef Io io
    cdef Pipeline pipeline
    cdef bint running

    def __cinit__(self, Pipeline pipeline not None, list udp_fds, list tcp_fds, *, int tcp_connections=1024,
                  bint offload=True, int64_t busy_poll_us=0):
        if len(udp_fds) > MAX_UDP or len(tcp_fds) > MAX_LISTENERS or tcp_connections < 1:
            raise ValueError(f"at most {MAX_UDP} UDP sockets and {MAX_LISTENERS} listeners")
        if busy_poll_us < 0:
            raise ValueError("a time to poll for is not negative")
        if pipeline.attached:
            raise RuntimeError("another engine steps this pipeline")
        self.io.epoll_fd = -1
        self.io.busy_poll_us = busy_poll_us
        self.io.core = pipeline.core
        self.io.incoming = <Batch*>calloc(1, sizeof(Batch))
        # Of the larger one pages that nothing is written to cost nothing.
        self.io.arena = <uint8_t*>calloc(COALESCED, COALESCED_SIZE)
        if self.io.incoming == NULL or self.io.arena == NULL or sender_init(&self.io.sender, len(udp_fds)) != 0:
            raise MemoryError
        for i, fd in enumerate(udp_fds):
            self.io.udp[<int>i] = self.io.sender.sockets[<int>i] = fd
            self.io.coalesces[<int>i] = coalesce(fd, offload) and offload
            self.io.sender.segments[<int>i] = offload and can_segment(fd)
        self.io.udp_count = len(udp_fds)
        for i, fd in enumerate(tcp_fds):
            self.io.listeners[<int>i] = fd
        self.io.listener_count = len(tcp_fds)
        self.io.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.io.epoll_fd < 0 or tcp_init(&self.io.tcp, <uint32_t>tcp_connections, self.io.epoll_fd) != 0:
            raise OSError(errno, "no epoll set for the media engine")
        if pipeline.core.command_bell.fd < 0 or watch(&self.io, pipeline.core.command_bell.fd, BELL_TAG) != 0:
            raise OSError(errno, "the pipeline needs its bells before an engine")
        for i in range(self.io.listener_count):
            if watch(&self.io, self.io.listeners[<int>i], LISTENER_TAG + i) != 0:
                raise OSError(errno, "a listener cannot be watched")
        pipeline.core.out.flush = flush
        pipeline.core.out.context = &self.io
        pipeline.attached = True
        self.pipeline = pipeline

    def __dealloc__(self):
        if self.pipeline is not None:
            self.pipeline.core.out.flush = NULL
        if self.io.epoll_fd >= 0:
            tcp_free(self.io.core, &self.io.tcp)
            close(self.io.epoll_fd)
        free(self.io.incoming)
        sender_free(&self.io.sender)
        free(self.io.arena)

    def run(self) -> None:
        """The thread's whole life: returns after `stop`, with all TCP connections closed."""
        if self.running:
            raise RuntimeError("this engine runs already")
        self.running = True
        with nogil:
            loop(&self.io)
            tcp_free(self.io.core, &self.io.tcp)
        self.pipeline.core.out.flush = NULL
        self.pipeline.attached = False

    def stop(self) -> None:
        """From any thread."""
        exchange32(&self.io.stop, 1)
        exchange32(&self.io.core.command_bell.rung, 0)
        bell_ring(&self.io.core.command_bell)

    @property
    def offload(self) -> tuple:
        """What is in use on each UDP socket: (coalescing, cutting)."""
        return tuple(
            (bool(self.io.coalesces[<int>i]), bool(self.io.sender.segments[<int>i])) for i in range(self.io.udp_count)
        )

    @property
    def tcp_connections(self) -> int:
        return self.io.tcp.count


def monotonic_us() -> int:
    """The engine's clock, in microseconds."""
    return clock_us(0)
