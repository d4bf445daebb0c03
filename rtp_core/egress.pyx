"""Builds outgoing packets in the outbox's slots and seals them there."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from rtp_core.ext cimport ExtSlots, ExtView, ext_fill_abs_send_time, ext_fill_transport_cc, ext_write
from rtp_core.objects cimport (
    HEAD_ROOM, ICE_FAILED, Consumer, Core, Held, Transport,
)
from rtp_core.outbox cimport SLOT_SIZE, outbox_flush, outbox_push, outbox_slot
from rtp_core.overload cimport RANK_CONTROL, RANK_REPAIR
from rtp_core.route cimport Path
from rtp_core.rtp cimport RTP_FIXED_LEN, RtpHeader, rtp_write_fixed, store16, store32
from rtp_core.protect cimport (
    SRTP_MAX_OVERHEAD, SRTP_OK, SrtpOut, srtp_seal_apart, srtp_seal_rtcp,
)


cdef enum:
    RTP_PADDING = 0x20  # of the first byte

cdef uint8_t* egress_slot(Core* core) noexcept nogil:
    cdef uint8_t* slot = outbox_slot(&core.out)
    if slot == NULL:
        core.counters.outbox_overflow += 1
    return slot


cdef void egress_answer(Core* core, const Path* path, uint32_t size) noexcept nogil:
    core.counters.packets_out += 1
    core.counters.bytes_out += size
    outbox_push(&core.out, NULL, path, RANK_CONTROL, size)


cdef void egress_push(Core* core, Transport* transport, int rank, uint32_t size) noexcept nogil:
    core.counters.packets_out += 1
    core.counters.bytes_out += size
    transport.packets_out += 1
    transport.bytes_out += size
    outbox_push(&core.out, &transport.last_out, &transport.paths[transport.selected].path, rank, size)


cdef void egress_flush(Core* core) noexcept nogil:
    outbox_flush(&core.out)


cdef bint egress_ready(const Transport* transport) noexcept nogil:
    # RFC 7675: without consent nothing but STUN answers may be sent.
    return transport.srtp != NULL and transport.selected >= 0 and transport.state != ICE_FAILED


cdef bint send_plain(Core* core, Transport* transport, const uint8_t* data, uint32_t size) noexcept nogil:
    """DTLS, which carries its own protection."""
    cdef uint8_t* slot
    if transport.selected < 0 or transport.state == ICE_FAILED or size > SLOT_SIZE:
        core.counters.no_path += 1
        return False
    slot = egress_slot(core)
    if slot == NULL:
        return False
    memcpy(slot, data, size)
    egress_push(core, transport, RANK_CONTROL, size)
    return True


cdef bint send_rtcp(Core* core, Transport* transport, const uint8_t* data, uint32_t size) noexcept nogil:
    cdef uint8_t* slot
    cdef int length = <int>size
    if not egress_ready(transport) or size + SRTP_MAX_OVERHEAD > SLOT_SIZE:
        return False
    slot = egress_slot(core)
    if slot == NULL:
        return False
    memcpy(slot, data, size)
    if srtp_seal_rtcp(transport.srtp, slot, &length, SLOT_SIZE) != SRTP_OK:
        core.counters.seal_failures += 1
        return False
    egress_push(core, transport, RANK_CONTROL, <uint32_t>length)
    return True


cdef int write_head(uint8_t* to, int capacity, const Consumer* consumer, int64_t now, const ExtView* view,
                    uint8_t payload_type, bint marker, ExtSlots* slots) noexcept nogil:
    """The header but for its numbers and SSRC. Its length; extensions that do not fit are left out."""
    cdef int size = ext_write(to + RTP_FIXED_LEN, capacity - RTP_FIXED_LEN, view, &consumer.transport.router.ext_out,
                              consumer.mid, consumer.mid_len, slots)
    if size <= 0:
        size = 0
        slots.abs_send_time = slots.transport_cc = slots.mid = -1
    rtp_write_fixed(to, payload_type, marker, 0, 0, 0, size > 0)
    if slots.abs_send_time >= 0:
        ext_fill_abs_send_time(to + RTP_FIXED_LEN + slots.abs_send_time, now)
    return RTP_FIXED_LEN + size


cdef bint seal_and_push(Core* core, Transport* transport, SrtpOut* out, int rank, uint8_t* slot, int head_len,
                        const uint8_t* payload, int payload_len, const ExtSlots* slots) noexcept nogil:
    cdef int length
    if slots.transport_cc >= 0:
        ext_fill_transport_cc(slot + RTP_FIXED_LEN + slots.transport_cc, transport.twcc_out)
    if srtp_seal_apart(&transport.seal, out, slot, head_len, payload, payload_len, &length) != SRTP_OK:
        core.counters.seal_failures += 1
        return False
    if slots.transport_cc >= 0:
        transport.twcc_out += 1
    egress_push(core, transport, rank, <uint32_t>length)
    return True


cdef bint send_held(Core* core, Consumer* consumer, int64_t now, int rank, Held* held, uint16_t sequence,
                    uint32_t timestamp) noexcept nogil:
    cdef Transport* transport = consumer.transport
    cdef uint8_t* slot = egress_slot(core)
    if slot == NULL:
        return False
    if held.head_router != transport.router or held.head_mid_len != consumer.mid_len:
        held.head_len = write_head(held.head, HEAD_ROOM, consumer, now, &held.view, held.router_type, held.marker,
                                   &held.slots)
        held.head_router = transport.router
        held.head_mid_len = consumer.mid_len
    if held.head_len + <int>(held.body_len + held.pad) + SRTP_MAX_OVERHEAD > SLOT_SIZE:
        core.counters.oversize += 1
        return False
    memcpy(slot, held.head, held.head_len)
    if held.pad:
        slot[0] |= RTP_PADDING
    store16(slot + 2, sequence)
    store32(slot + 4, timestamp)
    store32(slot + 8, consumer.ssrc)
    if held.slots.mid >= 0:
        memcpy(slot + RTP_FIXED_LEN + held.slots.mid, consumer.mid, consumer.mid_len)
    return seal_and_push(core, transport, &consumer.out, rank, slot, held.head_len, held.body,
                         <int>(held.body_len + held.pad), &held.slots)


cdef bint send_again(Core* core, Consumer* consumer, int64_t now, const RtpHeader* header, const ExtView* view,
                     const uint8_t* payload, uint32_t payload_len, uint8_t payload_type, uint32_t timestamp,
                     uint16_t original) noexcept nogil:
    cdef Transport* transport = consumer.transport
    cdef ExtSlots slots
    cdef int head_len
    cdef uint8_t* slot = egress_slot(core)
    if slot == NULL:
        return False
    head_len = write_head(slot, HEAD_ROOM, consumer, now, view, payload_type, header.marker, &slots)
    if head_len + 2 + <int>payload_len + SRTP_MAX_OVERHEAD > SLOT_SIZE:
        core.counters.oversize += 1
        return False
    store16(slot + 2, consumer.rtx_seq)
    store32(slot + 4, timestamp)
    store32(slot + 8, consumer.rtx_ssrc)
    store16(slot + head_len, original)
    memcpy(slot + head_len + 2, payload, payload_len)
    return seal_and_push(core, transport, &consumer.rtx_out, RANK_REPAIR, slot, head_len, slot + head_len,
                         <int>payload_len + 2, &slots)
