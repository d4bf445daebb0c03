"""Which part of the core a packet is for: ICE, DTLS (the Trio thread's), media or its feedback."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from rtp_core.fanout cimport fanout_flush
from rtp_core.feedback cimport feedback_receive
from rtp_core.forward cimport forward_receive
from rtp_core.link cimport link_flush
from rtp_core.ice cimport ice_lookup, ice_receive
from rtp_core.objects cimport (
    EVENT_DTLS, EVENT_SIZE, MAX_PACKET, Core, EventHead, Transport, event_claim, event_publish,
)
from rtp_core.route cimport Path, allowance_take
from rtp_core.rtp cimport KIND_DTLS, KIND_RTCP, KIND_RTP, KIND_STUN, packet_kind
from rtp_core.timers cimport timers_run


cdef enum:
    # A handshake takes some ten datagrams a side, in several tries; more would only keep the Trio thread busy.
    DTLS_EACH_US = 50_000
    DTLS_BURST = 64


cdef void receive_dtls(Core* core, Transport* transport, int64_t now, const uint8_t* data, int size) noexcept nogil:
    """Passed to the Trio thread as it is. When its queue is full the packet is lost, and DTLS repeats it."""
    cdef uint8_t* slot
    core.counters.dtls_in += 1
    if not allowance_take(&transport.dtls_paid_us, now, DTLS_EACH_US, DTLS_BURST):
        core.counters.dtls_limited += 1
        return
    if size > <int>(EVENT_SIZE - sizeof(EventHead)):
        core.counters.oversize += 1
        return
    slot = event_claim(core)
    if slot != NULL:
        (<EventHead*>slot).type = EVENT_DTLS
        (<EventHead*>slot).size = <uint32_t>size
        (<EventHead*>slot).handle = transport.head.handle
        memcpy(slot + sizeof(EventHead), data, size)
        event_publish(core)


cdef void demux_receive(Core* core, int64_t now, const Path* path, uint8_t* data, int size) noexcept nogil:
    cdef Transport* transport
    cdef int kind
    core.counters.packets_in += 1
    core.counters.bytes_in += size
    if size > MAX_PACKET:
        core.counters.oversize += 1
        return
    kind = packet_kind(data, size)
    if kind == KIND_STUN:
        ice_receive(core, now, path, data, size)
        return
    if kind != KIND_RTP and kind != KIND_RTCP and kind != KIND_DTLS:
        core.counters.unknown_kind += 1
        return
    transport = ice_lookup(core, path)
    if transport == NULL:
        core.counters.unknown_address += 1
        return
    transport.packets_in += 1
    transport.bytes_in += size
    if kind == KIND_RTP:
        forward_receive(core, transport, now, data, size)
    elif kind == KIND_RTCP:
        feedback_receive(core, transport, now, data, size)
    else:
        receive_dtls(core, transport, now, data, size)


cdef void demux_flush(Core* core, int64_t now) noexcept nogil:
    link_flush(core)  # the others begin while we go on
    fanout_flush(core, now)


cdef int64_t demux_tick(Core* core, int64_t now) noexcept nogil:
    return timers_run(core, now)
