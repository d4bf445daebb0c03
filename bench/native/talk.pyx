"""Receiver reports, transport-wide feedback, NACK and PLI as a browser sends them; answers to the server's own."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from bench.native.incoming cimport Incoming
from bench.native.net cimport net_prepare, net_send
from bench.native.outgoing cimport Outgoing, out_repeat, out_report
from bench.native.traffic cimport Load, Transport
from rtp_core.nack cimport nack_deadline, nack_due
from rtp_core.protect cimport SRTP_OK, srtp_open_rtcp, srtp_seal_rtcp
from rtp_core.reception cimport reception_report, reception_sender_report
from rtp_core.rtcp cimport (
    RTCP_FIR, RTCP_MAX_BLOCKS, RTCP_NACK, RTCP_PACKET, RTCP_PLI, RTCP_RR, RTCP_SR, RTCP_TWCC, ReportBlock, RtcpPacket,
    SenderInfo, rtcp_fir_entry, rtcp_nack_next, rtcp_next, rtcp_sender_info,
)
from rtp_core.rtcp_write cimport rtcp_write_nack, rtcp_write_pli, rtcp_write_rr
from rtp_core.twcc cimport TwccParser, TwccStatus, twcc_build, twcc_parse_begin, twcc_parse_next, twcc_pending

cdef enum:
    ROOM = 1200
    MOST_NACKS = 128
    REPORT_US = 1_000_000
    FEEDBACK_US = 100_000
    CHECK_US = 4_000_000  # RFC 7675 says about 5 s
    PLI_US = 500_000  # not sooner again


cdef void send_rtcp(Transport* t, uint8_t* data, int size) noexcept nogil:
    if size == 0:
        return
    if srtp_seal_rtcp(t.wire.context, data, &size, ROOM + 64) != SRTP_OK:
        t.wire.send_failures += 1
        return
    net_prepare(t.wire.batch, 0, data, size, 0, 0, 0)
    if net_send(t.wire.fd, t.wire.batch, 1) != 1:
        t.wire.send_failures += 1


cdef Outgoing* outgoing_of(Transport* t, uint32_t ssrc) noexcept nogil:
    cdef int i
    for i in range(t.outgoing_count):
        if t.outgoing[i].ssrc == ssrc:
            return &t.outgoing[i]
    return NULL


# --- what is heard --------------------------------------------------------------------------------------

cdef void hear_feedback(Load* load, const RtcpPacket* packet) noexcept nogil:
    cdef TwccParser parser
    cdef TwccStatus status
    if not twcc_parse_begin(&parser, packet.body, packet.body_len):
        load.totals.bad_rtcp += 1
        return
    while twcc_parse_next(&parser, &status):
        if status.received:
            load.totals.feedback_heard += 1
        else:
            load.totals.feedback_lost += 1


cdef void hear_nack(Load* load, Transport* t, const RtcpPacket* packet) noexcept nogil:
    cdef Outgoing* s = outgoing_of(t, packet.media_ssrc)
    cdef uint32_t cursor = 0
    cdef uint16_t sequence
    if s == NULL:
        return
    while rtcp_nack_next(packet, &cursor, &sequence):
        load.totals.nacks_heard += 1
        out_repeat(s, &t.wire, sequence)


cdef void hear_sender_report(Transport* t, const RtcpPacket* packet, int64_t now) noexcept nogil:
    cdef SenderInfo info
    cdef int i
    if not rtcp_sender_info(packet, &info):
        return
    for i in range(t.incoming_count):
        if t.incoming[i].ssrc == packet.sender_ssrc:
            reception_sender_report(&t.incoming[i].reception, info.ntp, now)


cdef void want_key(Load* load, Transport* t, uint32_t ssrc) noexcept nogil:
    cdef Outgoing* s = outgoing_of(t, ssrc)
    load.totals.plis_heard += 1
    if s != NULL:
        s.key_wanted = True


cdef void hear(Load* load, Transport* t, uint8_t* data, int size, int64_t now) noexcept nogil:
    cdef RtcpPacket packet
    cdef uint32_t offset = 0
    cdef uint32_t ssrc
    cdef uint8_t number
    if srtp_open_rtcp(t.wire.context, data, &size) != SRTP_OK:
        load.totals.forged += 1
        return
    while rtcp_next(data, <uint32_t>size, &offset, &packet) == RTCP_PACKET:
        if packet.kind == RTCP_SR:
            load.totals.reports_heard += 1
            hear_sender_report(t, &packet, now)
        elif packet.kind == RTCP_RR:
            load.totals.reports_heard += 1
        elif packet.kind == RTCP_NACK:
            hear_nack(load, t, &packet)
        elif packet.kind == RTCP_PLI:
            want_key(load, t, packet.media_ssrc)
        elif packet.kind == RTCP_FIR:
            if rtcp_fir_entry(&packet, 0, &ssrc, &number):
                want_key(load, t, ssrc)
        elif packet.kind == RTCP_TWCC:
            hear_feedback(load, &packet)


# --- what is said ---------------------------------------------------------------------------------------

cdef void ask_key(Load* load, Transport* t, Incoming* s, int64_t now) noexcept nogil:
    cdef uint8_t data[ROOM + 64]
    if now - s.pli_at < PLI_US:
        return
    s.pli_at = now
    load.totals.plis_sent += 1
    send_rtcp(t, data, <int>rtcp_write_pli(data, ROOM, t.own_ssrc, s.ssrc))


cdef void ask_again(Load* load, Transport* t, Incoming* s, int64_t now) noexcept nogil:
    cdef uint16_t missing[MOST_NACKS]
    cdef uint8_t data[ROOM + 64]
    cdef uint32_t used = 0
    cdef uint64_t given_up = s.nack.abandoned
    cdef uint32_t count = nack_due(s.nack, now, 0, missing, MOST_NACKS)
    cdef int size
    if count:
        size = <int>rtcp_write_nack(data, ROOM, t.own_ssrc, s.ssrc, missing, count, &used)
        load.totals.nacks_sent += used
        send_rtcp(t, data, size)
    if s.nack.abandoned != given_up:  # what is lost for good breaks the picture until the next key frame
        ask_key(load, t, s, now)


cdef void report(Load* load, Transport* t, int64_t now, int64_t wall) noexcept nogil:
    cdef ReportBlock blocks[RTCP_MAX_BLOCKS]
    cdef uint8_t data[ROOM + 64]
    cdef uint32_t count = 0
    cdef int i
    for i in range(t.outgoing_count):
        out_report(&t.outgoing[i], &t.wire, wall)
    for i in range(t.incoming_count):
        if reception_report(&t.incoming[i].reception, t.incoming[i].ssrc, now, &blocks[count]):
            count += 1
        if count == RTCP_MAX_BLOCKS or (count and i == t.incoming_count - 1):
            load.totals.reports_sent += 1
            send_rtcp(t, data, <int>rtcp_write_rr(data, ROOM, t.own_ssrc, blocks, count))
            count = 0


cdef void feed_back(Load* load, Transport* t) noexcept nogil:
    cdef uint8_t data[ROOM + 64]
    while twcc_pending(t.log):
        load.totals.feedback_sent += 1
        send_rtcp(t, data, <int>twcc_build(t.log, t.own_ssrc, t.incoming[0].ssrc, data, ROOM))


cdef void tick(Load* load, Transport* t, int64_t now, int64_t wall) noexcept nogil:
    cdef int i
    if t.check_len and now >= t.check_due:
        t.check_due = now + CHECK_US
        net_prepare(t.wire.batch, 0, t.check, t.check_len, 0, 0, 0)
        net_send(t.wire.fd, t.wire.batch, 1)
    if not load.reports:
        return
    if now >= t.report_due:
        t.report_due = now + REPORT_US
        report(load, t, now, wall)
    if now >= t.feedback_due and t.incoming_count:
        t.feedback_due = now + FEEDBACK_US
        feed_back(load, t)
    for i in range(t.incoming_count):
        if t.incoming[i].nack != NULL and nack_deadline(t.incoming[i].nack) <= now:
            ask_again(load, t, &t.incoming[i], now)
