"""What clients report is counted and acted upon; what they ask for is answered or passed to the sender."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rtp_core.egress cimport egress_ready, send_rtcp
from rtp_core.forward cimport count_refused, find_producer, forward_again, make_room
from rtp_core.objects cimport Consumer, Core, Producer, StreamCounters, Transport, slab_at, wake_at
from rtp_core.reception cimport reception_jitter_ms, reception_sender_report
from rtp_core.rewrite cimport rewrite_timestamp
from rtp_core.route cimport map_get
from rtp_core.rtcp cimport (
    RTCP_FIR, RTCP_NACK, RTCP_PACKET, RTCP_PLI, RTCP_REMB, RTCP_RR, RTCP_SR, RTCP_XR, XR_RRTR, Remb,
    ReportBlock, RtcpPacket, SenderInfo, XrBlock, ntp_compact, rtcp_fir_entry, rtcp_nack_next, rtcp_next,
    rtcp_remb, rtcp_report_block, rtcp_sender_info, rtcp_xr_next,
)
from rtp_core.rtcp_write cimport (
    rtcp_write_bye, rtcp_write_sdes, rtcp_write_sr,
)
from rtp_core.protect cimport SRTP_OK, srtp_open_rtcp
from rtp_core.upstream cimport request_keyframe, write_receiver_reports

cdef enum:
    REPORT_SIZE = 1200
    SR_ROOM = 200  # a sender report with its CNAME
    MAX_RESENDS = 256  # answered of one datagram
    MAX_PARTS = 64  # RTCP packets read of one datagram


cdef Consumer* find_consumer(Core* core, Transport* transport, uint32_t ssrc) noexcept nogil:
    cdef uint32_t index
    if not map_get(&core.by_ssrc, (<uint64_t>transport.head.index << 32) | ssrc, &index):
        return NULL
    return <Consumer*>slab_at(&core.consumers, index)


cdef void sender_report(Core* core, Transport* transport, int64_t now, const RtcpPacket* packet) noexcept nogil:
    cdef SenderInfo info
    cdef Producer* producer = find_producer(transport, packet.sender_ssrc)
    if producer == NULL or not rtcp_sender_info(packet, &info):
        return
    reception_sender_report(&producer.reception, info.ntp, now)
    sender_clock(core, producer, now, info.ntp, info.rtp_timestamp, now)


cdef void sender_clock(Core* core, Producer* producer, int64_t now, uint64_t ntp, uint32_t timestamp,
                       int64_t at) noexcept nogil:
    cdef bint first = not producer.sr_known
    cdef Consumer* consumer
    producer.sr_known = 1
    producer.sr_ntp = ntp
    producer.sr_timestamp = timestamp
    producer.sr_at = at
    if first:  # receivers cannot align sound and picture before they have one: don't make them wait
        consumer = producer.consumers
        while consumer != NULL:
            consumer.transport.report_due = now
            wake_at(core, consumer.transport, now)
            consumer = consumer.next_of_producer


cdef void report_block(Core* core, Transport* transport, int64_t now, const ReportBlock* block) noexcept nogil:
    cdef Consumer* consumer = find_consumer(core, transport, block.ssrc)
    cdef int64_t rtt
    if consumer == NULL or consumer.ssrc != block.ssrc:
        return
    consumer.counters.lost = block.cumulative_lost
    if consumer.rewrite.clock_rate:
        consumer.counters.jitter_ms = block.jitter * 1000.0 / consumer.rewrite.clock_rate
    # Our sender reports keep the sender's clock, so the round trip is measured by when that report left.
    if block.lsr and block.lsr == consumer.sr_compact:
        rtt = now - consumer.sr_at - (<int64_t>block.dlsr * 1_000_000 >> 16)
        if -20_000 < rtt < 60_000_000:
            rtt = rtt if rtt > 0 else 0
            consumer.counters.rtt_us = rtt
            transport.rtt_us = rtt


cdef void keyframe_wanted(Core* core, Transport* transport, int64_t now, uint32_t ssrc) noexcept nogil:
    cdef Consumer* consumer = find_consumer(core, transport, ssrc)
    if consumer == NULL or consumer.producer == NULL or consumer.paused:
        return
    consumer.counters.plis += 1
    request_keyframe(core, consumer.producer, now, False)


cdef void resend(Core* core, Transport* transport, int64_t now, const RtcpPacket* packet, int* left) noexcept nogil:
    cdef Consumer* consumer = find_consumer(core, transport, packet.media_ssrc)
    cdef uint32_t cursor = 0
    cdef uint16_t sequence
    if consumer == NULL or consumer.ssrc != packet.media_ssrc:
        return
    while left[0] > 0 and rtcp_nack_next(packet, &cursor, &sequence):
        left[0] -= 1
        consumer.counters.nacks += 1
        forward_again(core, consumer, now, sequence)


cdef void full_intra(Core* core, Transport* transport, int64_t now, const RtcpPacket* packet) noexcept nogil:
    cdef uint32_t index = 0
    cdef uint32_t ssrc
    cdef uint8_t seq
    cdef Consumer* consumer
    while index < 16 and rtcp_fir_entry(packet, index, &ssrc, &seq):
        index += 1
        consumer = find_consumer(core, transport, ssrc)
        if consumer == NULL or (consumer.fir_known and consumer.fir_seq == seq):
            continue  # RFC 5104 section 4.3.1.2: the same number is the same command, repeated
        consumer.fir_known = 1
        consumer.fir_seq = seq
        keyframe_wanted(core, transport, now, ssrc)


cdef void extended_report(Transport* transport, int64_t now, const RtcpPacket* packet) noexcept nogil:
    cdef uint32_t cursor = 0
    cdef XrBlock block
    while rtcp_xr_next(packet, &cursor, &block):
        if block.type == XR_RRTR:
            transport.rrtr_ssrc = packet.sender_ssrc
            transport.rrtr_ntp = ntp_compact(block.ntp)
            transport.rrtr_at = now


cdef void feedback_receive(Core* core, Transport* transport, int64_t now, uint8_t* data, int size) noexcept nogil:
    cdef RtcpPacket packet
    cdef ReportBlock block
    cdef Remb estimate
    cdef uint32_t offset = 0
    cdef uint32_t index
    cdef int verdict
    cdef int resends = MAX_RESENDS
    cdef int parts = MAX_PARTS
    if transport.srtp == NULL:
        core.counters.no_keys += 1
        return
    verdict = srtp_open_rtcp(transport.srtp, data, &size)
    if verdict != SRTP_OK:
        count_refused(core, transport, verdict)
        return
    make_room(transport)
    while parts:
        parts -= 1
        verdict = rtcp_next(data, <uint32_t>size, &offset, &packet)
        if verdict != RTCP_PACKET:
            if verdict < 0:
                core.counters.bad_rtcp += 1
            return
        if packet.kind == RTCP_SR or packet.kind == RTCP_RR:
            if packet.kind == RTCP_SR:
                sender_report(core, transport, now, &packet)
            index = 0
            while rtcp_report_block(&packet, index, &block):
                index += 1
                report_block(core, transport, now, &block)
        elif packet.kind == RTCP_NACK:
            resend(core, transport, now, &packet, &resends)
        elif packet.kind == RTCP_PLI:
            keyframe_wanted(core, transport, now, packet.media_ssrc)
        elif packet.kind == RTCP_FIR:
            full_intra(core, transport, now, &packet)
        elif packet.kind == RTCP_REMB:
            if rtcp_remb(&packet, &estimate):
                transport.remb = estimate.bitrate
        elif packet.kind == RTCP_XR:
            extended_report(transport, now, &packet)


cdef void measure(StreamCounters* counters, int64_t now) noexcept nogil:
    cdef int64_t elapsed = now - counters.measured_us
    if elapsed > 0:
        counters.bitrate = (counters.bytes - counters.bytes_before) * 8_000_000 // <uint64_t>elapsed
    counters.bytes_before = counters.bytes
    counters.measured_us = now


cdef uint32_t write_sender_report(Core* core, Consumer* consumer, int64_t now, uint8_t* out,
                                  uint32_t capacity) noexcept nogil:
    """The sender's own pairing of wall clock and timestamp, carried forward to now (RFC 3550 section 6.4.1).

    The sender's clock is kept, so that its sound and picture stay aligned through us.
    """
    cdef Producer* producer = consumer.producer
    cdef SenderInfo info
    cdef uint64_t elapsed
    cdef uint32_t size
    if producer == NULL or not producer.sr_known or not consumer.rewrite.started or consumer.rewrite.pending:
        return 0
    elapsed = <uint64_t>(now - producer.sr_at)
    info.ntp = producer.sr_ntp + ((elapsed // 1_000_000) << 32) + (((elapsed % 1_000_000) << 32) // 1_000_000)
    info.rtp_timestamp = rewrite_timestamp(
        &consumer.rewrite, producer.sr_timestamp + <uint32_t>(elapsed * producer.clock_rate // 1_000_000)
    )
    info.packets = consumer.packets_sent
    info.octets = consumer.octets_sent
    size = rtcp_write_sr(out, capacity, consumer.ssrc, &info, NULL, 0)
    size += rtcp_write_sdes(out + size, capacity - size, consumer.ssrc, consumer.cname, consumer.cname_len)
    consumer.sr_compact = ntp_compact(info.ntp)
    consumer.sr_at = now
    return size


cdef void send_reports(Core* core, Transport* transport, int64_t now) noexcept nogil:
    """Once a second: receiver reports of what comes in, sender reports of what goes out, and the bitrates."""
    cdef uint8_t out[REPORT_SIZE]
    cdef uint32_t size
    cdef Producer* producer = transport.producers
    cdef Consumer* consumer = transport.consumers
    while producer != NULL:
        measure(&producer.counters, now)
        producer.counters.jitter_ms = reception_jitter_ms(&producer.reception)
        producer = producer.next_of_transport
    while consumer != NULL:
        measure(&consumer.counters, now)
        consumer = consumer.next_of_transport
    if not egress_ready(transport):
        return
    size = write_receiver_reports(core, transport, now, out, REPORT_SIZE)
    consumer = transport.consumers
    while consumer != NULL:
        if size + SR_ROOM > REPORT_SIZE:
            send_rtcp(core, transport, out, size)
            size = 0
        size += write_sender_report(core, consumer, now, out + size, REPORT_SIZE - size)
        consumer = consumer.next_of_transport
    if size:
        send_rtcp(core, transport, out, size)


cdef void send_bye(Core* core, Consumer* consumer) noexcept nogil:
    cdef uint8_t out[16]
    cdef uint32_t size
    if consumer.started and egress_ready(consumer.transport):
        size = rtcp_write_bye(out, 16, &consumer.ssrc, 1)
        send_rtcp(core, consumer.transport, out, size)
