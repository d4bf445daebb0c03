"""The reading end of the way from another engine.

A mirror is a producer without a sender: its packets come out of a ring, opened and ordered by the engine that has
the sender, and go through the same fan-out and retransmission cache as any other's. Its handle names a generation,
so records for a mirror that has gone, or requests for a producer that has, find nothing.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from rtp_core.atomic cimport exchange32
from rtp_core.fanout cimport fanout_flush, fanout_producer
from rtp_core.feedback cimport sender_clock
from rtp_core.forward cimport forward_media, read_extensions, restart_consumers, switch_consumers
from rtp_core.link cimport LINK_KEYFRAME, LinkRecord
from rtp_core.objects cimport MAX_HELD, NO_PAYLOAD, Core, Link, Payload, Producer, slab_get
from rtp_core.ext cimport ExtView
from rtp_core.ring cimport ring_peek_at, ring_release_many, ring_used
from rtp_core.rtp cimport RTP_OK, RtpHeader, rtp_parse
from rtp_core.upstream cimport request_keyframe


cdef void follow(Core* core, Producer* mirror, int64_t now, const LinkRecord* record) noexcept nogil:
    """What happened to the producer between its last packet that came here and this one."""
    if record.sources != mirror.sources:
        fanout_producer(core, mirror, now)
        mirror.sr_known = 0
        mirror.keyframe.waiting = False
        switch_consumers(mirror)
    elif record.breaks != mirror.breaks:
        fanout_producer(core, mirror, now)
        restart_consumers(mirror)
    mirror.sources = record.sources
    mirror.breaks = record.breaks
    if record.sr_known and (not mirror.sr_known or record.sr_at != mirror.sr_at):
        sender_clock(core, mirror, now, record.sr_ntp, record.sr_timestamp, record.sr_at)


cdef void take_packet(Core* core, int64_t now, LinkRecord* record) noexcept nogil:
    cdef Producer* mirror = <Producer*>slab_get(&core.producers, record.handle)
    cdef Payload* payload
    cdef RtpHeader header
    cdef ExtView view
    if mirror == NULL or mirror.origin == 0 or rtp_parse(record.data, record.size, &header) != RTP_OK \
            or mirror.payload_index[header.payload_type & 0x7F] == NO_PAYLOAD:
        core.counters.relay_strays += 1
        return
    core.counters.relayed_in += 1
    follow(core, mirror, now, record)
    read_extensions(mirror.transport, record.data, &header, &view)
    payload = &mirror.payloads[mirror.payload_index[header.payload_type & 0x7F]]
    mirror.last_payload = mirror.payload_index[header.payload_type & 0x7F]
    mirror.counters.packets += 1
    mirror.counters.bytes += record.size
    forward_media(core, mirror, payload, now, record.data, record.size, &header, &view, record.extended, record.flags)


cdef void take_request(Core* core, int64_t now, const LinkRecord* record) noexcept nogil:
    cdef Producer* producer = <Producer*>slab_get(&core.producers, record.handle)
    if producer == NULL:
        core.counters.relay_strays += 1
        return
    request_keyframe(core, producer, now, True)


cdef bint drain(Core* core, int64_t now, Link* link) noexcept nogil:
    """As many as are fanned out together; their slots are read until then."""
    cdef uint32_t count = 0
    cdef LinkRecord* record
    while count < MAX_HELD:
        record = <LinkRecord*>ring_peek_at(&link.ring, count)
        if record == NULL:
            break
        if record.kind == LINK_KEYFRAME:
            take_request(core, now, record)
        else:
            take_packet(core, now, record)
        count += 1
    if count == 0:
        return False
    fanout_flush(core, now)
    ring_release_many(&link.ring, count)
    return count == MAX_HELD


cdef bint relay_receive(Core* core, int64_t now) noexcept nogil:
    cdef bint more = False
    cdef uint32_t i
    for i in range(core.engine_count):
        if core.incoming[i] != NULL:
            more = drain(core, now, core.incoming[i]) or more
    return more


cdef bint relay_waiting(const Core* core) noexcept nogil:
    cdef uint32_t i
    for i in range(core.engine_count):
        if core.incoming[i] != NULL and ring_used(&core.incoming[i].ring):
            return True
    return False


cdef void relay_answer(Core* core) noexcept nogil:
    """The eventfd itself is the command bell's, and is read with it."""
    cdef uint32_t i
    for i in range(core.engine_count):
        if core.incoming[i] != NULL:
            exchange32(&core.incoming[i].bell.rung, 0)
