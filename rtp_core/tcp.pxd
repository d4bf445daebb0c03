"""ICE over TCP, passive side (RFC 6544), with the framing of RFC 4571: two bytes of length before each packet."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from rtp_core.objects cimport Core
from rtp_core.route cimport Path

cdef enum:
    TCP_READ_SIZE = 8192  # bytes buffered on the way in: whole frames leave at once
    FIRST_TAG = 16  # epoll tags below it are the engine's own
    TCP_WRITE_SIZE = 131072  # on the way out, per connection; a power of two

cdef struct TcpConnection:
    int fd  # -1: free
    uint32_t generation
    Path path
    uint8_t proved  # has passed an ICE check
    int64_t opened_us
    int64_t heard_us
    int64_t blocked_us  # since when nothing could be written, 0: not blocked
    uint32_t read_len
    uint32_t write_head
    uint32_t write_len
    uint8_t* write_buffer  # allocated when first needed
    uint8_t* read_buffer  # while it is open

cdef struct TcpTable:
    TcpConnection* connections
    uint32_t capacity
    uint32_t count
    int epoll_fd
    int64_t swept_us

cdef int tcp_init(TcpTable* table, uint32_t capacity, int epoll_fd) noexcept nogil
cdef void tcp_free(Core* core, TcpTable* table) noexcept nogil
cdef void tcp_accept(Core* core, TcpTable* table, int listener, int64_t now) noexcept nogil
# What epoll said of connection `index`.
cdef void tcp_ready(Core* core, TcpTable* table, uint32_t index, uint32_t events, int64_t now) noexcept nogil
cdef bint tcp_send(Core* core, TcpTable* table, uint32_t channel, const uint8_t* data, uint32_t size,
                   int64_t now) noexcept nogil
# Closes those who never proved themselves, fell silent, or don't read. Cheap: looks once in half a second.
cdef void tcp_sweep(Core* core, TcpTable* table, int64_t now) noexcept nogil
