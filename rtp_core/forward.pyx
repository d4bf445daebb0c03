"""What becomes of a sender's packet: authenticated, its stream found and brought up to date, held for the fan-out."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc
from libc.string cimport memcmp

from rtp_core.cache cimport CachedPacket, cache_get, cache_put, guard_allow
from rtp_core.egress cimport egress_ready, send_again
from rtp_core.ext cimport (
    EXT_MID, ExtView, ext_audio_level, ext_has, ext_parse, ext_transport_cc,
)
from rtp_core.fanout cimport fanout_hold, fanout_producer
from rtp_core.keyframe cimport FRAME_KEY, frame_flags, keyframe_arrived
from rtp_core.levels cimport level_packet
from rtp_core.link cimport link_packet
from rtp_core.nack cimport (
    NACK_DUPLICATE, NACK_OVERFLOW, NACK_RESET, NACK_STRAY, nack_deadline, nack_extended, nack_forget_before,
    nack_init, nack_packet,
)
from rtp_core.objects cimport (
    DIRTY_STARTED, NO_PAYLOAD, Consumer, Core, Held, Payload, Producer, SsrcEntry, Transport, mark, wake_at,
)
from rtp_core.overload cimport RANK_REPAIR, RANK_SHED, overload_admit, overload_turn
from rtp_core.reception cimport reception_init, reception_packet
from rtp_core.rewrite cimport rewrite_inverse, rewrite_resume, rewrite_switch
from rtp_core.rtp cimport RTP_OK, RtpHeader, rtp_parse, rtp_parse_header, rtx_unwrap
from rtp_core.protect cimport (
    SRTP_AUTH_FAIL, SRTP_MAX_SSRCS, SRTP_OK, SRTP_REPLAY, SrtpContext, srtp_forget_in, srtp_open_rtp,
)
from rtp_core.twcc cimport TwccLog, twcc_arrived, twcc_init
from rtp_core.upstream cimport request_keyframe

cdef enum:
    CROWDED = 48  # SSRCs of one transport
    FORMER_US = 2_000_000  # stragglers of an SSRC that was replaced are dropped for so long


cdef SsrcEntry* find_ssrc(Transport* transport, uint32_t ssrc) noexcept nogil:
    cdef int i
    for i in range(transport.ssrc_count):
        if transport.ssrcs[i].ssrc == ssrc:
            return &transport.ssrcs[i]
    return NULL


cdef Producer* find_producer(Transport* transport, uint32_t ssrc) noexcept nogil:
    cdef SsrcEntry* entry = find_ssrc(transport, ssrc)
    return entry.producer if entry != NULL and not entry.is_rtx else NULL


cdef bint bind_ssrc(Transport* transport, uint32_t ssrc, Producer* producer, bint is_rtx) noexcept nogil:
    cdef SsrcEntry* entry = find_ssrc(transport, ssrc)
    if entry == NULL:
        if transport.ssrc_count == SRTP_MAX_SSRCS:
            return False
        entry = &transport.ssrcs[transport.ssrc_count]
        transport.ssrc_count += 1
    entry.ssrc = ssrc
    entry.producer = producer
    entry.is_rtx = is_rtx
    return True


cdef void unbind_ssrc(Transport* transport, uint32_t ssrc) noexcept nogil:
    cdef SsrcEntry* entry = find_ssrc(transport, ssrc)
    if entry != NULL:
        transport.ssrc_count -= 1
        entry[0] = transport.ssrcs[transport.ssrc_count]


cdef void unbind_producer(Transport* transport, Producer* producer) noexcept nogil:
    cdef int i = 0
    while i < transport.ssrc_count:
        if transport.ssrcs[i].producer == producer:
            unbind_ssrc(transport, transport.ssrcs[i].ssrc)
        else:
            i += 1


cdef void count_refused(Core* core, Transport* transport, int verdict) noexcept nogil:
    transport.srtp_errors += 1
    if verdict == SRTP_AUTH_FAIL:
        core.counters.srtp_auth_failures += 1
    elif verdict == SRTP_REPLAY:
        core.counters.srtp_replays += 1
    else:
        core.counters.srtp_other += 1


cdef void make_room(Transport* transport) noexcept nogil:
    """Where SSRCs crowd, forget the one that has been silent longest and that no producer has.

    Not sooner: the rollover counter of an SSRC must survive until a producer wants it, as of a sender that goes
    on while the call is peer to peer.
    """
    cdef SrtpContext* srtp = transport.srtp
    cdef int i
    cdef int oldest = -1
    if srtp.ssrc_count <= CROWDED:
        return
    for i in range(srtp.ssrc_count):
        if (oldest < 0 or srtp.used[i] < srtp.used[oldest]) and find_ssrc(transport, srtp.ssrcs[i]) == NULL:
            oldest = i
    if oldest >= 0:
        srtp_forget_in(srtp, srtp.ssrcs[oldest])


cdef void replace_source(Core* core, Producer* producer, int64_t now, uint32_t ssrc) noexcept nogil:
    """The sender began anew under another SSRC: consumers go on without a break in their own stream."""
    fanout_producer(core, producer, now)
    producer.former_ssrc = producer.ssrc
    producer.switched_us = now
    unbind_ssrc(producer.transport, producer.former_ssrc)
    srtp_forget_in(producer.transport.srtp, producer.former_ssrc)
    nack_init(&producer.nack)
    reception_init(&producer.reception, producer.clock_rate)
    producer.sr_known = 0
    producer.keyframe.waiting = False
    producer.sources += 1
    switch_consumers(producer)


cdef void switch_consumers(Producer* producer) noexcept nogil:
    cdef Consumer* consumer = producer.consumers
    while consumer != NULL:
        rewrite_switch(&consumer.rewrite)
        consumer.waiting = consumer.is_video
        consumer = consumer.next_of_producer


cdef SsrcEntry* learn(Core* core, Transport* transport, int64_t now, const RtpHeader* header,
                      const ExtView* view) noexcept nogil:
    """An SSRC that signaling did not name: its MID tells the producer, its payload type media or RTX."""
    cdef Producer* producer = transport.producers
    cdef uint8_t index
    cdef Payload* payload
    if not ext_has(view, EXT_MID) or view.len[EXT_MID] == 0:
        return NULL
    while producer != NULL:
        if producer.mid_len == view.len[EXT_MID] and memcmp(producer.mid, view.data[EXT_MID], producer.mid_len) == 0:
            break
        producer = producer.next_of_transport
    if producer == NULL:
        return NULL
    index = producer.payload_index[header.payload_type]
    if index == NO_PAYLOAD:
        return NULL
    payload = &producer.payloads[index]
    if header.ssrc == producer.former_ssrc and now - producer.switched_us < FORMER_US:
        return NULL
    if not bind_ssrc(transport, header.ssrc, producer, payload.is_rtx):
        return NULL
    if payload.is_rtx:
        if producer.rtx_ssrc and producer.rtx_ssrc != header.ssrc:
            unbind_ssrc(transport, producer.rtx_ssrc)
        producer.rtx_ssrc = header.ssrc
    else:
        if producer.ssrc and producer.ssrc != header.ssrc:
            replace_source(core, producer, now, header.ssrc)
        producer.ssrc = header.ssrc
    return find_ssrc(transport, header.ssrc)


cdef void note_arrival(Core* core, Transport* transport, int64_t now, int number, uint32_t ssrc) noexcept nogil:
    if transport.twcc == NULL:
        transport.twcc = <TwccLog*>calloc(1, sizeof(TwccLog))
        if transport.twcc == NULL:
            core.counters.no_memory += 1
            return
        twcc_init(transport.twcc)
        transport.twcc_due = now + core.settings.twcc_us
        wake_at(core, transport, transport.twcc_due)
    elif transport.twcc_due == 0:
        transport.twcc_due = now + core.settings.twcc_us
        wake_at(core, transport, transport.twcc_due)
    twcc_arrived(transport.twcc, <uint16_t>number, now)
    transport.twcc_media_ssrc = ssrc


cdef void read_extensions(const Transport* transport, const uint8_t* packet, const RtpHeader* header,
                          ExtView* view) noexcept nogil:
    view.present = 0
    if header.has_extension:
        ext_parse(packet + header.extension_offset, header.extension_len, header.extension_profile,
                  &transport.ext_in, view)


cdef void forward_receive(Core* core, Transport* transport, int64_t now, uint8_t* data, int size) noexcept nogil:
    cdef RtpHeader header
    cdef ExtView view
    cdef SsrcEntry* entry
    cdef Producer* producer
    cdef Payload* payload
    cdef uint8_t* packet = data
    cdef int number, verdict
    cdef bint repaired = False
    if transport.srtp == NULL:
        core.counters.no_keys += 1
        return
    if rtp_parse_header(data, size, &header) != RTP_OK:
        core.counters.bad_rtp += 1
        return
    verdict = srtp_open_rtp(transport.srtp, data, &size)
    if verdict != SRTP_OK:
        count_refused(core, transport, verdict)
        return
    if rtp_parse(data, size, &header) != RTP_OK:
        core.counters.bad_rtp += 1
        return
    read_extensions(transport, data, &header, &view)
    number = ext_transport_cc(&view)
    if number >= 0:
        note_arrival(core, transport, now, number, header.ssrc)
    entry = find_ssrc(transport, header.ssrc)
    if entry == NULL:
        entry = learn(core, transport, now, &header, &view)
        if entry == NULL:
            core.counters.unknown_ssrc += 1
            transport.dropped += 1
            make_room(transport)
            return
        make_room(transport)
    producer = entry.producer
    if producer.payload_index[header.payload_type & 0x7F] == NO_PAYLOAD:
        core.counters.unknown_payload += 1
        transport.dropped += 1
        return
    payload = &producer.payloads[producer.payload_index[header.payload_type & 0x7F]]
    if payload.is_rtx:
        if producer.ssrc == 0 or producer.payload_index[payload.apt] == NO_PAYLOAD:
            return
        size = rtx_unwrap(data, size, &header, payload.apt, producer.ssrc, &packet)
        if size < 0:  # a padding probe: its arrival was noted, there is nothing to forward
            return
        read_extensions(transport, packet, &header, &view)
        payload = &producer.payloads[producer.payload_index[payload.apt]]
        if payload.is_rtx:
            return
        repaired = True
    elif entry.is_rtx:  # a media payload type on the RTX stream
        core.counters.unknown_payload += 1
        return
    else:
        reception_packet(&producer.reception, header.sequence, header.timestamp, <uint32_t>size, now)
    producer.last_payload = <uint8_t>(payload - producer.payloads)
    producer.counters.packets += 1
    producer.counters.bytes += size
    media(core, producer, payload, now, packet, size, &header, &view, repaired)


cdef void restart_consumers(Producer* producer) noexcept nogil:
    cdef Consumer* consumer = producer.consumers
    while consumer != NULL:
        rewrite_resume(&consumer.rewrite)
        consumer.waiting = consumer.is_video
        consumer = consumer.next_of_producer


cdef void media(Core* core, Producer* producer, const Payload* payload, int64_t now, const uint8_t* packet, int size,
                const RtpHeader* header, const ExtView* view, bint repaired) noexcept nogil:
    cdef int verdict = nack_packet(&producer.nack, header.sequence, now)
    cdef int flags = 0
    if verdict == NACK_DUPLICATE or verdict == NACK_STRAY:
        if not repaired:  # a sender probes for bandwidth by repeating by RTX what has arrived: nothing is lost
            core.counters.duplicates += 1
            producer.counters.dropped += 1
        return
    if repaired:
        producer.counters.retransmitted += 1
    if verdict == NACK_RESET:
        fanout_producer(core, producer, now)
        producer.breaks += 1
        restart_consumers(producer)
    elif verdict == NACK_OVERFLOW:
        request_keyframe(core, producer, now, False)
    if payload.nack:
        wake_at(core, producer.transport, nack_deadline(&producer.nack))
    if not producer.started:
        producer.started = 1
        mark(core, &producer.head, DIRTY_STARTED)
    if producer.is_video and header.payload_len:
        flags = frame_flags(payload.codec, packet + header.header_len, <uint32_t>header.payload_len)
        if flags & FRAME_KEY:
            nack_forget_before(&producer.nack, header.sequence)
    forward_media(core, producer, payload, now, packet, size, header, view,
                  nack_extended(&producer.nack, header.sequence), flags)


cdef void forward_media(Core* core, Producer* producer, const Payload* payload, int64_t now, const uint8_t* packet,
                        int size, const RtpHeader* header, const ExtView* view, int64_t extended,
                        int flags) noexcept nogil:
    cdef const uint8_t* body = packet + header.header_len
    cdef uint32_t body_len = <uint32_t>header.payload_len
    cdef Held* held
    cdef int level
    cdef bint voice
    if producer.relays != NULL and not producer.paused:
        link_packet(core, producer, packet, size, extended, flags)
    if body_len == 0:
        if producer.consumers != NULL:
            held = fanout_hold(core, producer, now)
            held.body_len = 0
            held.sequence = header.sequence
        return
    if producer.is_video:
        if flags & FRAME_KEY:
            producer.counters.key_frames += 1
            keyframe_arrived(&producer.keyframe)
        cache_put(&producer.cache, extended, packet, <uint16_t>size, 0, now)
    else:
        level = ext_audio_level(view, &voice)
        if level >= 0:
            level_packet(&producer.level, <uint8_t>level)
    if producer.paused or producer.consumers == NULL:
        return
    held = fanout_hold(core, producer, now)
    held.body = body
    held.body_len = body_len
    held.timestamp = header.timestamp
    held.sequence = header.sequence
    held.marker = header.marker
    held.router_type = payload.router_type
    held.flags = flags
    held.view = view[0]


cdef void forward_again(Core* core, Consumer* consumer, int64_t now, uint16_t sequence) noexcept nogil:
    cdef Producer* producer = consumer.producer
    cdef CachedPacket found
    cdef RtpHeader header
    cdef ExtView view
    cdef Payload* payload
    cdef uint16_t source
    cdef uint32_t ts_offset
    if producer == NULL or producer.cache.slots == NULL or consumer.rtx_ssrc == 0 or consumer.paused:
        return  # under GCM a number may not be sealed twice, so without RTX there is no repair
    if not egress_ready(consumer.transport) or not rewrite_inverse(&consumer.rewrite, sequence, &source, &ts_offset):
        return
    if not guard_allow(&consumer.guard, sequence, now, consumer.transport.rtt_us):
        return
    if not cache_get(&producer.cache, source, now, &found):
        return
    overload_turn(&core.overload, now)
    if overload_admit(&core.overload, &producer.transport.router.share, now, RANK_REPAIR, 0, 1) == RANK_SHED:
        core.counters.shed_load_repair += 1
        return
    if rtp_parse(found.data, found.length, &header) != RTP_OK:
        return
    payload = &producer.payloads[producer.payload_index[header.payload_type & 0x7F]]
    if payload.router_rtx_type == NO_PAYLOAD:
        return
    read_extensions(producer.transport, found.data, &header, &view)
    if send_again(core, consumer, now, &header, &view, found.data + header.header_len, <uint32_t>header.payload_len,
                  payload.router_rtx_type, header.timestamp + ts_offset, sequence):
        consumer.rtx_seq += 1
        consumer.counters.retransmitted += 1
        core.counters.retransmissions += 1
