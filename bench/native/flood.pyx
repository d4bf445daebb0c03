"""Packets that nobody asked for, as fast as one thread can send them or at a rate."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from bench.native.net cimport (
    CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, NET_BATCH, net_batch, net_clock, net_prepare, net_send, net_wait,
)
from rtp_core.atomic cimport exchange32, peek32

cdef enum:
    SLOT = 2048

cdef struct State:
    int* fds
    int fd_count
    uint8_t* packets
    int* sizes
    int packet_count
    int batch
    double rate
    int64_t sent
    int64_t next_packet
    uint32_t stop
    net_batch* out


cdef void flood(State* s, int64_t end) noexcept nogil:
    cdef int64_t now = net_clock(CLOCK_MONOTONIC)
    cdef int64_t begun = now
    cdef int64_t before = s.sent
    cdef int64_t due
    cdef int turn = 0
    cdef int i, at
    while now < end and not peek32(&s.stop):
        for i in range(s.batch):
            at = <int>(s.next_packet % s.packet_count)
            s.next_packet += 1
            net_prepare(s.out, i, s.packets + <size_t>at * SLOT, s.sizes[at], 0, 0, 0)
        s.sent += net_send(s.fds[turn], s.out, s.batch)
        turn = (turn + 1) % s.fd_count
        now = net_clock(CLOCK_MONOTONIC)
        if s.rate > 0:
            due = begun + <int64_t>((s.sent - before) * 1e9 / s.rate)
            if due > now:
                net_wait(NULL, 0, due - now)
                now = net_clock(CLOCK_MONOTONIC)
            elif now - due > 10_000_000:  # it was held up: don't make up for it in a burst
                begun = now
                before = s.sent


cdef class Flood:
    """Sends `packets` (each of at most 2,048 bytes) in turn from `fds` (connected sockets), `batch` from each."""

    cdef State s

    def __cinit__(self, list fds, list packets, *, int batch=8):
        if not fds or not packets or not 1 <= batch <= NET_BATCH or max(map(len, packets)) > SLOT:
            raise ValueError(f"sockets, packets of at most {SLOT} bytes, and batches of 1 to {NET_BATCH}")
        self.s.fd_count = len(fds)
        self.s.packet_count = len(packets)
        self.s.batch = batch
        self.s.fds = <int*>calloc(len(fds), sizeof(int))
        self.s.sizes = <int*>calloc(len(packets), sizeof(int))
        self.s.packets = <uint8_t*>malloc(<size_t>len(packets) * SLOT)
        self.s.out = <net_batch*>calloc(1, sizeof(net_batch))
        if not (self.s.fds and self.s.sizes and self.s.packets and self.s.out):
            raise MemoryError
        for i, fd in enumerate(fds):
            self.s.fds[<int>i] = fd
        for i, packet in enumerate(packets):
            self.s.sizes[<int>i] = len(packet)
            memcpy(self.s.packets + <size_t>i * SLOT, <const char*><bytes>packet, len(packet))

    def __dealloc__(self):
        free(self.s.fds)
        free(self.s.sizes)
        free(self.s.packets)
        free(self.s.out)

    def run(self, double seconds, *, double rate=0) -> dict:
        """`rate` in packets a second; 0: as fast as can be. Packets sent, seconds, and this thread's CPU time."""
        cdef int64_t begun = net_clock(CLOCK_MONOTONIC)
        cdef int64_t cpu = net_clock(CLOCK_THREAD_CPUTIME_ID)
        self.s.rate = rate
        self.s.sent = 0
        with nogil:
            flood(&self.s, begun + <int64_t>(seconds * 1e9))
        exchange32(&self.s.stop, 0)
        return {
            "sent": self.s.sent,
            "seconds": (net_clock(CLOCK_MONOTONIC) - begun) / 1e9,
            "cpu_ns": net_clock(CLOCK_THREAD_CPUTIME_ID) - cpu,
        }

    def stop(self) -> None:
        """From any thread: a `run` that is under way returns."""
        exchange32(&self.s.stop, 1)
