"""UDP on its way out: packets grouped into messages, messages into system calls."""

from libc.stdint cimport uint32_t

from rtp_core.objects cimport Core, OutPacket
from rtp_core.sys cimport Batch

cdef enum:
    MAX_UDP = 8

cdef struct Sender:
    int sockets[MAX_UDP]
    int count
    bint segments[MAX_UDP]  # UDP_SEGMENT is in use
    uint32_t refusals[MAX_UDP]  # of it, one after the other
    Batch* batch
    uint32_t firsts[64]  # of each prepared message: its first packet, and how many they are
    uint32_t counts[64]

# All of them, whose path is UDP, in order. What the kernel has no room for is lost, and counted.
cdef void send_packets(Sender* sender, Core* core, OutPacket* packets, uint32_t count) noexcept nogil
