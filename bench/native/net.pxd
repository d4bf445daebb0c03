"""What net.h offers to Cython."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef extern from "net.h" nogil:
    enum: NET_BATCH
    enum: NET_MESSAGE
    enum: CLOCK_REALTIME
    enum: CLOCK_MONOTONIC
    enum: CLOCK_THREAD_CPUTIME_ID
    enum: POLLIN
    cdef struct pollfd:
        int fd
        short events
        short revents
    ctypedef struct net_batch:
        pass
    int64_t net_clock(int which) noexcept
    int net_receive(int fd, net_batch* batch, uint8_t* arena, int count, int slot) noexcept
    int net_received(net_batch* batch, int i, int* segment, int64_t* at) noexcept
    void net_prepare(net_batch* batch, int i, uint8_t* data, int size, int segment, uint32_t ip, int port) noexcept
    int net_send(int fd, net_batch* batch, int count) noexcept
    int net_wait(pollfd* fds, int count, int64_t ns) noexcept
    int net_epoll() noexcept
    void net_epoll_close(int epoll) noexcept
    int net_epoll_add(int epoll, int fd, int index) noexcept
    int net_epoll_wait(int epoll, int* indices, int most) noexcept
