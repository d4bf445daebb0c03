"""Feedback to senders. Sent as reduced-size RTCP (RFC 5506) except for the reports themselves."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rtp_core.egress cimport egress_ready, send_rtcp
from rtp_core.ext cimport EXT_TRANSPORT_CC
from rtp_core.keyframe cimport keyframe_deadline, keyframe_request
from rtp_core.link cimport link_request
from rtp_core.nack cimport nack_due
from rtp_core.objects cimport Consumer, Core, Producer, Transport, wake_at
from rtp_core.reception cimport reception_report
from rtp_core.rtcp cimport (
    Dlrr, ReportBlock, compact_from_us,
)
from rtp_core.rtcp_write cimport (
    rtcp_write_fir, rtcp_write_nack, rtcp_write_pli, rtcp_write_remb, rtcp_write_rr, rtcp_write_xr_dlrr,
)
from rtp_core.twcc cimport twcc_build, twcc_pending

cdef enum:
    FEEDBACK_SIZE = 1200
    MAX_NACKS = 128  # of one message
    MAX_REPORTS = 24
    REMB_FLOOR = 2_000_000  # bit/s, while nothing speaks against it
    REMB_LEAST = 150_000
    REMB_CEILING = 20_000_000


cdef void send_keyframe_request(Core* core, Producer* producer) noexcept nogil:
    cdef uint8_t out[64]
    cdef uint32_t size
    cdef Transport* transport = producer.transport
    if producer.origin:
        link_request(core, producer)
        return
    if producer.payloads[producer.last_payload].fir_only:
        size = rtcp_write_fir(out, 64, transport.own_ssrc, producer.ssrc, producer.fir_seq)
        producer.fir_seq += 1
    else:
        size = rtcp_write_pli(out, 64, transport.own_ssrc, producer.ssrc)
    if send_rtcp(core, transport, out, size):
        producer.counters.plis += 1
        core.counters.plis_sent += 1


cdef void request_keyframe(Core* core, Producer* producer, int64_t now, bint new) noexcept nogil:
    """At once if none was asked for lately; else the throttle's deadline asks again while one is wanted."""
    if not producer.is_video or producer.paused:
        return
    if producer.origin == 0 and (producer.ssrc == 0 or not egress_ready(producer.transport)):
        return  # there is nobody to ask yet; the first packet that is no key frame asks again
    if keyframe_request(&producer.keyframe, now, new):
        send_keyframe_request(core, producer)
    wake_at(core, producer.transport, keyframe_deadline(&producer.keyframe))


cdef void request_keyframes_for(Core* core, Transport* transport, int64_t now) noexcept nogil:
    cdef Consumer* consumer = transport.consumers
    while consumer != NULL:
        if consumer.waiting and not consumer.paused and consumer.producer != NULL:
            request_keyframe(core, consumer.producer, now, not consumer.started)
        consumer = consumer.next_of_transport


cdef void send_nacks(Core* core, Producer* producer, int64_t now) noexcept nogil:
    cdef uint16_t seqs[MAX_NACKS]
    cdef uint8_t out[FEEDBACK_SIZE]
    cdef uint32_t count, used, size
    cdef Transport* transport = producer.transport
    if not producer.payloads[producer.last_payload].nack:
        return
    count = nack_due(&producer.nack, now, transport.rtt_us, seqs, MAX_NACKS)
    if count == 0:
        return
    size = rtcp_write_nack(out, FEEDBACK_SIZE, transport.own_ssrc, producer.ssrc, seqs, count, &used)
    if size and send_rtcp(core, transport, out, size):
        producer.counters.nacks += used
        core.counters.nacks_sent += used


cdef void send_arrivals(Core* core, Transport* transport, int64_t now) noexcept nogil:
    cdef uint8_t out[FEEDBACK_SIZE]
    cdef uint32_t size
    cdef int left = 8  # the window needs no more; never loop on hostile input
    while left and twcc_pending(transport.twcc):
        left -= 1
        size = twcc_build(transport.twcc, transport.own_ssrc, transport.twcc_media_ssrc, out, FEEDBACK_SIZE)
        if size == 0:
            break
        send_rtcp(core, transport, out, size)


cdef uint64_t remb(Transport* transport, uint8_t fraction_lost) noexcept nogil:
    """For senders without transport-cc: room to double while loss is low, less than comes in when it is high.

    The thresholds are those of the loss-based controller of draft-ietf-rmcat-gcc-02 (section 6): 2 % and 10 %.
    """
    cdef uint64_t bitrate = 0
    cdef Producer* producer = transport.producers
    while producer != NULL:
        if producer.is_video:
            bitrate += producer.counters.bitrate
        producer = producer.next_of_transport
    if fraction_lost < 5:
        bitrate = bitrate * 2 if bitrate * 2 > REMB_FLOOR else REMB_FLOOR
    elif fraction_lost > 26:
        bitrate -= bitrate * fraction_lost // 512
    if bitrate < REMB_LEAST:
        return REMB_LEAST
    return bitrate if bitrate < REMB_CEILING else REMB_CEILING


cdef uint32_t write_receiver_reports(Core* core, Transport* transport, int64_t now, uint8_t* out,
                                     uint32_t capacity) noexcept nogil:
    cdef ReportBlock blocks[MAX_REPORTS]
    cdef uint32_t ssrcs[MAX_REPORTS]
    cdef uint32_t count = 0
    cdef uint32_t videos = 0
    cdef uint32_t size
    cdef uint8_t worst = 0
    cdef Dlrr dlrr
    cdef Producer* producer = transport.producers
    while producer != NULL and count < MAX_REPORTS:
        if producer.ssrc and reception_report(&producer.reception, producer.ssrc, now, &blocks[count]):
            producer.counters.lost = blocks[count].cumulative_lost
            count += 1
            if producer.is_video:
                ssrcs[videos] = producer.ssrc
                videos += 1
                if blocks[count - 1].fraction_lost > worst:
                    worst = blocks[count - 1].fraction_lost
        producer = producer.next_of_transport
    if count == 0 and transport.rrtr_ssrc == 0:
        return 0
    size = rtcp_write_rr(out, capacity, transport.own_ssrc, blocks, count)
    if transport.rrtr_ssrc:
        dlrr.ssrc = transport.rrtr_ssrc
        dlrr.lrr = transport.rrtr_ntp
        dlrr.dlrr = compact_from_us(now - transport.rrtr_at)
        size += rtcp_write_xr_dlrr(out + size, capacity - size, transport.own_ssrc, &dlrr, 1)
        transport.rrtr_ssrc = 0
    if videos and transport.ext_in.id_of[EXT_TRANSPORT_CC] == 0:
        size += rtcp_write_remb(out + size, capacity - size, transport.own_ssrc, remb(transport, worst),
                                ssrcs, videos)
    return size
