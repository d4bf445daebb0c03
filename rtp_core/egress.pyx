"""Builds outgoing packets in the outbox's slots and seals them there."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from rtp_core.ext cimport ExtSlots, ExtView, ext_fill_abs_send_time, ext_fill_transport_cc, ext_write
from rtp_core.objects cimport ICE_FAILED, SLOT_SIZE, Consumer, Core, OutPacket, Transport
from rtp_core.route cimport Path
from rtp_core.rtp cimport RTP_FIXED_LEN, RtpHeader, rtp_write_fixed, store16
from rtp_core.protect cimport SRTP_MAX_OVERHEAD, SRTP_OK, srtp_seal_rtcp, srtp_seal_rtp


cdef uint8_t* egress_slot(Core* core) noexcept nogil:
    if core.out.count == core.out.capacity:
        egress_flush(core)
        if core.out.count == core.out.capacity:
            core.counters.outbox_overflow += 1
            return NULL
    return core.out.packets[core.out.count].data


cdef void egress_push(Core* core, const Path* path, uint32_t size) noexcept nogil:
    cdef OutPacket* packet = &core.out.packets[core.out.count]
    packet.path = path[0]
    packet.size = size
    core.out.count += 1
    core.counters.packets_out += 1
    core.counters.bytes_out += size


cdef void egress_flush(Core* core) noexcept nogil:
    if core.out.count and core.out.flush != NULL:
        core.out.flush(core.out.context, &core.out)
        core.out.count = 0


cdef bint egress_ready(const Transport* transport) noexcept nogil:
    # RFC 7675: without consent nothing but STUN answers may be sent.
    return transport.srtp != NULL and transport.selected >= 0 and transport.state != ICE_FAILED


cdef inline void count_out(Transport* transport, uint32_t size) noexcept nogil:
    transport.packets_out += 1
    transport.bytes_out += size


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
    egress_push(core, &transport.paths[transport.selected].path, size)
    count_out(transport, size)
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
    egress_push(core, &transport.paths[transport.selected].path, <uint32_t>length)
    count_out(transport, <uint32_t>length)
    return True


cdef bint send_rtp(Core* core, Consumer* consumer, int64_t now, const RtpHeader* header, const ExtView* view,
                   const uint8_t* payload, uint32_t payload_len, uint8_t payload_type, uint32_t ssrc,
                   uint16_t sequence, uint32_t timestamp, int osn) noexcept nogil:
    cdef Transport* transport = consumer.transport
    cdef ExtSlots slots
    cdef int ext_len, length, verdict
    cdef uint8_t* slot = egress_slot(core)
    if slot == NULL:
        return False
    ext_len = ext_write(slot + RTP_FIXED_LEN, SLOT_SIZE - RTP_FIXED_LEN, view, &transport.router.ext_out,
                        consumer.mid, consumer.mid_len, &slots)
    if ext_len < 0:
        ext_len = 0
        slots.abs_send_time = -1
        slots.transport_cc = -1
    length = RTP_FIXED_LEN + ext_len
    if length + 2 + <int>payload_len + SRTP_MAX_OVERHEAD > SLOT_SIZE:
        core.counters.oversize += 1
        return False
    rtp_write_fixed(slot, payload_type, header.marker, sequence, timestamp, ssrc, ext_len > 0)
    if osn != NO_OSN:
        store16(slot + length, <uint16_t>osn)
        length += 2
    memcpy(slot + length, payload, payload_len)
    length += <int>payload_len
    if ext_len:
        if slots.abs_send_time >= 0:
            ext_fill_abs_send_time(slot + RTP_FIXED_LEN + slots.abs_send_time, now)
        if slots.transport_cc >= 0:
            ext_fill_transport_cc(slot + RTP_FIXED_LEN + slots.transport_cc, transport.twcc_out)
    verdict = srtp_seal_rtp(transport.srtp, slot, &length, SLOT_SIZE)
    if verdict != SRTP_OK:
        core.counters.seal_failures += 1
        return False
    if ext_len and slots.transport_cc >= 0:
        transport.twcc_out += 1
    egress_push(core, &transport.paths[transport.selected].path, <uint32_t>length)
    count_out(transport, <uint32_t>length)
    return True
