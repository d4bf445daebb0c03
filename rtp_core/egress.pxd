"""The way out: slots to write packets in, and what seals and sends them."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from rtp_core.ext cimport ExtView
from rtp_core.objects cimport Consumer, Core, Held, Transport
from rtp_core.route cimport Path
from rtp_core.rtp cimport RtpHeader

cdef uint8_t* egress_slot(Core* core) noexcept nogil  # SLOT_SIZE bytes, valid until egress_push; NULL: full
# The slot just written leaves: to a place, or to a transport, where it may share a message with others.
cdef void egress_answer(Core* core, const Path* path, uint32_t size) noexcept nogil
cdef void egress_push(Core* core, Transport* transport, int rank, uint32_t size) noexcept nogil
cdef void egress_flush(Core* core) noexcept nogil
cdef bint egress_ready(const Transport* transport) noexcept nogil  # may media be sent there?

# To the selected path. True: sent.
cdef bint send_plain(Core* core, Transport* transport, const uint8_t* data, uint32_t size) noexcept nogil
cdef bint send_rtcp(Core* core, Transport* transport, const uint8_t* data, uint32_t size) noexcept nogil

# One packet for `consumer` with the numbers it has in that stream. False: it was not sent.
cdef bint send_held(Core* core, Consumer* consumer, int64_t now, int rank, Held* held, uint16_t sequence,
                    uint32_t timestamp) noexcept nogil
# A retransmission (RFC 4588) in the consumer's RTX stream; `original` is the number it went out under first.
cdef bint send_again(Core* core, Consumer* consumer, int64_t now, const RtpHeader* header, const ExtView* view,
                     const uint8_t* payload, uint32_t payload_len, uint8_t payload_type, uint32_t timestamp,
                     uint16_t original) noexcept nogil
