"""The way out: slots to write packets in, and what seals and sends them."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from rtp_core.ext cimport ExtView
from rtp_core.objects cimport Consumer, Core, Transport
from rtp_core.route cimport Path
from rtp_core.rtp cimport RtpHeader

cdef enum:
    NO_OSN = -1  # not a retransmission

cdef uint8_t* egress_slot(Core* core) noexcept nogil  # SLOT_SIZE bytes, valid until egress_push; NULL: full
cdef void egress_push(Core* core, const Path* path, uint32_t size) noexcept nogil  # the slot just written
cdef void egress_flush(Core* core) noexcept nogil
cdef bint egress_ready(const Transport* transport) noexcept nogil  # may media be sent there?

# To the selected path. True: sent.
cdef bint send_plain(Core* core, Transport* transport, const uint8_t* data, uint32_t size) noexcept nogil
cdef bint send_rtcp(Core* core, Transport* transport, const uint8_t* data, uint32_t size) noexcept nogil

# One RTP packet for `consumer`: a fresh header and extension block, then `payload`. `osn` is the original
# sequence number of a retransmission (RFC 4588), or NO_OSN.
cdef bint send_rtp(Core* core, Consumer* consumer, int64_t now, const RtpHeader* header, const ExtView* view,
                   const uint8_t* payload, uint32_t payload_len, uint8_t payload_type, uint32_t ssrc,
                   uint16_t sequence, uint32_t timestamp, int osn) noexcept nogil
