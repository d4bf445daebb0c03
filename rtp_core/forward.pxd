"""A sender's packets on their way in, and a receiver's requests for what it missed."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from rtp_core.ext cimport ExtView
from rtp_core.objects cimport Consumer, Core, Payload, Producer, Transport
from rtp_core.rtp cimport RtpHeader

cdef void forward_receive(Core* core, Transport* transport, int64_t now, uint8_t* data, int size) noexcept nogil
# An opened packet that is new: handed to other engines, kept for repair, held for the fan-out.
cdef void forward_media(Core* core, Producer* producer, const Payload* payload, int64_t now, const uint8_t* packet,
                        int size, const RtpHeader* header, const ExtView* view, int64_t extended,
                        int flags) noexcept nogil
# The sender's numbers jumped, or packets are lost for good: outgoing ones go on by one, video from a key frame.
cdef void restart_consumers(Producer* producer) noexcept nogil
cdef void switch_consumers(Producer* producer) noexcept nogil  # to another source
cdef void read_extensions(const Transport* transport, const uint8_t* packet, const RtpHeader* header,
                          ExtView* view) noexcept nogil
# Sends a packet of the producer's cache again, as the consumer's stream. `sequence` is the outgoing one.
cdef void forward_again(Core* core, Consumer* consumer, int64_t now, uint16_t sequence) noexcept nogil
cdef Producer* find_producer(Transport* transport, uint32_t ssrc) noexcept nogil  # of a known media SSRC
# Ties an SSRC to a producer. False: the table is full.
cdef bint bind_ssrc(Transport* transport, uint32_t ssrc, Producer* producer, bint is_rtx) noexcept nogil
cdef void unbind_ssrc(Transport* transport, uint32_t ssrc) noexcept nogil
# An SSRC has been heard: where too many are known, one that nobody wants is forgotten.
cdef void make_room(Transport* transport) noexcept nogil
# SRTP or SRTCP that did not open, by its verdict.
cdef void count_refused(Core* core, Transport* transport, int verdict) noexcept nogil
cdef void unbind_producer(Transport* transport, Producer* producer) noexcept nogil
