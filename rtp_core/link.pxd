"""From one engine to another: the packets of a producer, and requests for key frames the other way.

Each record says all that a mirror has to know of its producer, so a record that is lost takes no news with it.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rtp_core.objects cimport SLOT_SIZE, Core, Link, Producer

cdef enum LinkKind:
    LINK_PACKET = 1
    LINK_KEYFRAME = 2

cdef struct LinkRecord:
    uint64_t handle  # the mirror's; of a request the producer's
    int64_t extended  # sequence number
    uint64_t sr_ntp  # the pairing of the producer's last sender report
    int64_t sr_at
    uint32_t sr_timestamp
    uint32_t sources
    uint32_t breaks
    uint16_t size
    uint8_t kind
    uint8_t flags  # keyframe's FRAME_*
    uint8_t sr_known
    uint8_t data[SLOT_SIZE]  # the packet as it came, decrypted

cdef int link_init(Link* link, uint32_t slots) noexcept nogil  # -1: no memory
cdef void link_free(Link* link) noexcept nogil

# To all mirrors that want it. Where another engine lags behind, video is left out before audio, busiest rooms' first.
cdef void link_packet(Core* core, Producer* producer, const uint8_t* packet, int size, int64_t extended,
                      int flags) noexcept nogil
cdef void link_request(Core* core, const Producer* mirror) noexcept nogil  # for a key frame
cdef void link_flush(Core* core) noexcept nogil  # wakes those who were written to
