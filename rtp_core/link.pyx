"""The writing end of the way to another engine: one copy of a packet per engine, no lock, no allocation.

Where the reader lags behind, its ring fills: above a half no room gets more video in than its share, above three
quarters none does, and the last sixteenth is kept for requests. Whoever loses video there is told by `breaks`, closes
up the numbers and begins anew at a key frame: what never reached the mirror cannot be repaired by it.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from rtp_core.objects cimport SLOT_SIZE, Core, Link, LinkShare, Producer, Relay
from rtp_core.ring cimport bell_ring, ring_backlog, ring_claim, ring_claim_below, ring_free, ring_init, ring_publish


cdef int link_init(Link* link, uint32_t slots) noexcept nogil:
    link.bell.fd = -1
    link.bell.rung = 0
    link.spoken = 0
    link.window = 1
    link.written = link.rooms = link.rooms_before = 0
    return ring_init(&link.ring, slots, sizeof(LinkRecord))


cdef void link_free(Link* link) noexcept nogil:
    ring_free(&link.ring)


cdef inline uint64_t room_for(const Link* link, bint is_video) noexcept nogil:
    cdef uint64_t slots = <uint64_t>link.ring.mask + 1
    return slots - (slots >> 2 if is_video else slots >> 4)


cdef LinkShare* share_of(Link* link, LinkShare* share) noexcept nogil:
    """The room's share of the present window, which is as many packets as the ring has slots."""
    if link.written > link.ring.mask:
        link.window += 1
        link.written = 0
        link.rooms_before = link.rooms
        link.rooms = 0
    if share.window != link.window:
        share.window = link.window
        share.written = 0
        link.rooms += 1
    return share


cdef bint greedy(Link* link, const LinkShare* share) noexcept nogil:
    """Others want through too, and this room has had its part while the reader lags."""
    cdef uint64_t half = (<uint64_t>link.ring.mask + 1) >> 1
    cdef uint64_t rooms = link.rooms if link.rooms > link.rooms_before else link.rooms_before
    return rooms > 1 and <uint64_t>share.written * rooms >= half and ring_backlog(&link.ring) >= half


cdef void hand_over(Core* core, const Producer* producer, Relay* relay, const uint8_t* packet, int size,
                    int64_t extended, int flags) noexcept nogil:
    cdef Link* link = core.outgoing[relay.peer]
    cdef LinkRecord* record = NULL
    cdef LinkShare* share
    if link == NULL:
        return
    share = share_of(link, &producer.transport.router.shares[relay.peer])
    if not producer.is_video or not greedy(link, share):
        record = <LinkRecord*>ring_claim_below(&link.ring, room_for(link, producer.is_video))
    if record == NULL:
        if producer.is_video:
            core.counters.relay_video_dropped += 1
            relay.breaks += 1
        else:  # heard as loss, which the decoder conceals
            core.counters.relay_audio_dropped += 1
        return
    record.handle = relay.mirror
    record.extended = extended
    record.sr_ntp = producer.sr_ntp
    record.sr_at = producer.sr_at
    record.sr_timestamp = producer.sr_timestamp
    record.sr_known = producer.sr_known
    record.sources = producer.sources
    record.breaks = producer.breaks + relay.breaks
    record.size = <uint16_t>size
    record.kind = LINK_PACKET
    record.flags = <uint8_t>flags
    memcpy(record.data, packet, size)
    ring_publish(&link.ring)
    share.written += 1
    link.written += 1
    link.spoken = 1
    core.counters.relayed_out += 1


cdef void link_packet(Core* core, Producer* producer, const uint8_t* packet, int size, int64_t extended,
                      int flags) noexcept nogil:
    cdef Relay* relay = producer.relays
    if size > SLOT_SIZE:
        return
    while relay != NULL:
        if not relay.paused:
            hand_over(core, producer, relay, packet, size, extended, flags)
        relay = relay.next_of_producer


cdef void link_request(Core* core, const Producer* mirror) noexcept nogil:
    cdef Link* link = core.outgoing[mirror.peer]
    cdef LinkRecord* record
    if link == NULL:
        return
    record = <LinkRecord*>ring_claim(&link.ring)
    if record == NULL:  # the mirror's throttle asks again
        core.counters.relay_requests_dropped += 1
        return
    record.handle = mirror.origin
    record.kind = LINK_KEYFRAME
    record.size = 0
    ring_publish(&link.ring)
    bell_ring(&link.bell)


cdef void link_flush(Core* core) noexcept nogil:
    cdef uint32_t i
    for i in range(core.engine_count):
        if core.outgoing[i] != NULL and core.outgoing[i].spoken:
            core.outgoing[i].spoken = 0
            bell_ring(&core.outgoing[i].bell)
