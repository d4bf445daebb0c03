"""Reading of RTCP. A bad packet costs itself only: the common header's length leads to the next one.

Left out on purpose: APP packets, SDES items but CNAME, the reasons of BYE, XR blocks but RRTR and DLRR (the
two that give a receiver a round trip time), slice and reference picture feedback.
"""

from libc.stdint cimport UINT64_MAX, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from rtp_core.rtp cimport load16, load24, load32, load64

cdef enum:
    HEADER = 4
    SENDER_INFO = 20
    BLOCK = 24
    NACK_SPAN = 17  # a PID and the sixteen after it
    SDES_CNAME = 1
    REMB_MAGIC = 0x52454D42  # "REMB"


cdef int rtcp_next(const uint8_t* data, uint32_t length, uint32_t* offset, RtcpPacket* packet) noexcept nogil:
    """RTCP_PACKET and the next packet; RTCP_END; or RTCP_BAD when the header itself makes no sense."""
    cdef const uint8_t* start
    cdef uint32_t size
    if offset[0] >= length:
        return RTCP_END
    start = data + offset[0]
    if length - offset[0] < HEADER or start[0] >> 6 != 2:
        return RTCP_BAD
    size = (<uint32_t>load16(start + 2) + 1) * 4
    if size > length - offset[0]:
        return RTCP_BAD
    offset[0] += size
    memset(packet, 0, sizeof(RtcpPacket))
    packet.count = start[0] & 0x1F
    packet.packet_type = start[1]
    packet.body = start + HEADER
    packet.body_len = size - HEADER
    packet.kind = RTCP_MALFORMED
    if start[0] & 0x20 and not _strip_padding(packet):
        return RTCP_PACKET
    packet.kind = _classify(packet)
    return RTCP_PACKET


cdef bint _strip_padding(RtcpPacket* packet) noexcept nogil:
    """RFC 3550 section 6.4.1: the last byte counts the padding, itself included, in whole words."""
    cdef uint32_t padding
    if packet.body_len == 0:
        return False
    padding = packet.body[packet.body_len - 1]
    if padding == 0 or padding % 4 != 0 or padding > packet.body_len:
        return False
    packet.body_len -= padding
    return True


cdef bint _take_ssrc(RtcpPacket* packet, uint32_t* ssrc) noexcept nogil:
    if packet.body_len < 4:
        return False
    ssrc[0] = load32(packet.body)
    packet.body += 4
    packet.body_len -= 4
    return True


cdef int _classify(RtcpPacket* packet) noexcept nogil:
    """The kind of `packet`, with the fixed SSRCs taken off its body; RTCP_MALFORMED when it is too short."""
    cdef int kind = packet.packet_type
    cdef uint32_t count = packet.count
    if kind == RTCP_PT_SDES:
        return RTCP_SDES
    if kind == RTCP_PT_BYE:
        return RTCP_BYE if packet.body_len >= 4 * count else RTCP_MALFORMED
    if kind != RTCP_PT_SR and kind != RTCP_PT_RR and kind != RTCP_PT_RTPFB and kind != RTCP_PT_PSFB \
            and kind != RTCP_PT_XR:
        return RTCP_UNKNOWN
    if not _take_ssrc(packet, &packet.sender_ssrc):
        return RTCP_MALFORMED
    if kind == RTCP_PT_SR:
        return RTCP_SR if packet.body_len >= SENDER_INFO + BLOCK * count else RTCP_MALFORMED
    if kind == RTCP_PT_RR:
        return RTCP_RR if packet.body_len >= BLOCK * count else RTCP_MALFORMED
    if kind == RTCP_PT_XR:
        return RTCP_XR
    if not _take_ssrc(packet, &packet.media_ssrc):
        return RTCP_MALFORMED
    if kind == RTCP_PT_RTPFB:
        if count == 1:
            return RTCP_NACK if packet.body_len >= 4 else RTCP_MALFORMED
        return RTCP_TWCC if count == 15 else RTCP_UNKNOWN
    if count == 1:
        return RTCP_PLI
    if count == 4:
        return RTCP_FIR if packet.body_len >= 8 else RTCP_MALFORMED
    if count == 15 and packet.body_len >= 8 and load32(packet.body) == REMB_MAGIC:
        return RTCP_REMB if packet.body_len >= 8 + 4 * <uint32_t>packet.body[4] else RTCP_MALFORMED
    return RTCP_UNKNOWN


cdef bint rtcp_sender_info(const RtcpPacket* packet, SenderInfo* info) noexcept nogil:
    if packet.kind != RTCP_SR:
        return False
    info.ntp = load64(packet.body)
    info.rtp_timestamp = load32(packet.body + 8)
    info.packets = load32(packet.body + 12)
    info.octets = load32(packet.body + 16)
    return True


cdef bint rtcp_report_block(const RtcpPacket* packet, uint32_t index, ReportBlock* block) noexcept nogil:
    cdef const uint8_t* at
    cdef uint32_t lost
    if (packet.kind != RTCP_SR and packet.kind != RTCP_RR) or index >= packet.count:
        return False
    at = packet.body + (SENDER_INFO if packet.kind == RTCP_SR else 0) + BLOCK * index
    lost = load24(at + 5)
    block.ssrc = load32(at)
    block.fraction_lost = at[4]
    block.cumulative_lost = <int32_t>lost - (0x1000000 if lost & 0x800000 else 0)
    block.highest_seq = load32(at + 8)
    block.jitter = load32(at + 12)
    block.lsr = load32(at + 16)
    block.dlsr = load32(at + 20)
    return True


cdef bint rtcp_sdes_next(const RtcpPacket* packet, uint32_t* cursor, SdesChunk* chunk) noexcept nogil:
    """RFC 3550 section 6.5. The first CNAME of each chunk; False at the end or at the first broken item."""
    cdef uint32_t at = cursor[0]
    cdef uint32_t end = packet.body_len
    cdef uint8_t item
    cdef uint8_t size
    if packet.kind != RTCP_SDES or at >= end or end - at < 8:  # an SSRC and at least one word of items
        return False
    chunk.ssrc = load32(packet.body + at)
    chunk.cname = NULL
    chunk.cname_len = 0
    at += 4
    while True:
        if at >= end:
            return False
        item = packet.body[at]
        if item == 0:
            break
        if end - at < 2:
            return False
        size = packet.body[at + 1]
        if size > end - at - 2:
            return False
        if item == SDES_CNAME and chunk.cname == NULL:
            chunk.cname = packet.body + at + 2
            chunk.cname_len = size
        at += 2 + size
    cursor[0] = (at + 4) & ~(<uint32_t>3)  # at least one null byte, up to the next word
    return True


cdef bint rtcp_bye_ssrc(const RtcpPacket* packet, uint32_t index, uint32_t* ssrc) noexcept nogil:
    if packet.kind != RTCP_BYE or index >= packet.count:
        return False
    ssrc[0] = load32(packet.body + 4 * index)
    return True


cdef bint rtcp_nack_next(const RtcpPacket* packet, uint32_t* cursor, uint16_t* seq) noexcept nogil:
    """RFC 4585 section 6.2.1: each PID, and the numbers after it that BLP's bits name. The cursor counts bits."""
    cdef uint32_t bits
    cdef uint32_t bit
    cdef const uint8_t* at
    if packet.kind != RTCP_NACK:
        return False
    bits = packet.body_len // 4 * NACK_SPAN
    while cursor[0] < bits:
        at = packet.body + cursor[0] // NACK_SPAN * 4
        bit = cursor[0] % NACK_SPAN
        cursor[0] += 1
        if bit == 0 or load16(at + 2) >> (bit - 1) & 1:
            seq[0] = <uint16_t>(load16(at) + bit)
            return True
    return False


cdef bint rtcp_fir_entry(const RtcpPacket* packet, uint32_t index, uint32_t* ssrc, uint8_t* seq) noexcept nogil:
    if packet.kind != RTCP_FIR or index >= packet.body_len // 8:
        return False
    ssrc[0] = load32(packet.body + 8 * index)
    seq[0] = packet.body[8 * index + 4]
    return True


cdef bint rtcp_remb(const RtcpPacket* packet, Remb* remb) noexcept nogil:
    """Six bits of exponent over eighteen of mantissa can pass 64 bits: then it is as much as there is."""
    cdef uint32_t word
    cdef uint64_t mantissa
    cdef uint32_t exponent
    if packet.kind != RTCP_REMB:
        return False
    word = load24(packet.body + 5)
    mantissa = word & 0x3FFFF
    exponent = word >> 18
    remb.bitrate = UINT64_MAX if mantissa > UINT64_MAX >> exponent else mantissa << exponent
    remb.count = packet.body[4]
    return True


cdef bint rtcp_remb_ssrc(const RtcpPacket* packet, uint32_t index, uint32_t* ssrc) noexcept nogil:
    if packet.kind != RTCP_REMB or index >= packet.body[4]:
        return False
    ssrc[0] = load32(packet.body + 8 + 4 * index)
    return True


cdef bint rtcp_xr_next(const RtcpPacket* packet, uint32_t* cursor, XrBlock* block) noexcept nogil:
    """RFC 3611 section 3. Blocks of every type; `ntp` and `count` are set for RRTR and DLRR only."""
    cdef const uint8_t* at
    if packet.kind != RTCP_XR or cursor[0] >= packet.body_len or packet.body_len - cursor[0] < 4:
        return False
    at = packet.body + cursor[0]
    block.type = at[0]
    block.body = at + 4
    block.body_len = <uint32_t>load16(at + 2) * 4
    block.ntp = 0
    block.count = 0
    if block.body_len > packet.body_len - cursor[0] - 4:
        return False
    cursor[0] += 4 + block.body_len
    if block.type == XR_RRTR:
        if block.body_len < 8:
            return False
        block.ntp = load64(block.body)
    elif block.type == XR_DLRR:
        block.count = block.body_len // 12
    return True


cdef bint rtcp_xr_dlrr(const XrBlock* block, uint32_t index, Dlrr* entry) noexcept nogil:
    if block.type != XR_DLRR or index >= block.count:
        return False
    entry.ssrc = load32(block.body + 12 * index)
    entry.lrr = load32(block.body + 12 * index + 4)
    entry.dlrr = load32(block.body + 12 * index + 8)
    return True


# --- for tests and tools --------------------------------------------------------------------------------

KINDS = ("unknown", "malformed", "sr", "rr", "sdes", "bye", "nack", "twcc", "pli", "fir", "remb", "xr")


def read(const uint8_t[::1] data not None):
    """([(kind, sender SSRC, media SSRC, what it says)], whether the whole datagram was RTCP)."""
    cdef uint32_t offset = 0
    cdef RtcpPacket packet
    cdef int verdict = RTCP_END
    packets = []
    while data.shape[0] > 0:
        verdict = rtcp_next(&data[0], <uint32_t>data.shape[0], &offset, &packet)
        if verdict != RTCP_PACKET:
            break
        packets.append((KINDS[packet.kind], packet.sender_ssrc, packet.media_ssrc, _content(&packet)))
    return packets, verdict == RTCP_END


cdef object _content(const RtcpPacket* packet):
    cdef SenderInfo info
    cdef SdesChunk chunk
    cdef Remb remb
    cdef uint32_t cursor = 0
    cdef uint32_t index = 0
    cdef uint32_t ssrc
    cdef uint16_t seq
    cdef uint8_t command
    content = []
    if packet.kind == RTCP_SR or packet.kind == RTCP_RR:
        blocks = _blocks(packet)
        if rtcp_sender_info(packet, &info):
            return (info.ntp, info.rtp_timestamp, info.packets, info.octets), blocks
        return blocks
    if packet.kind == RTCP_XR:
        return _xr(packet)
    if packet.kind == RTCP_TWCC:
        return packet.body[:packet.body_len]
    while rtcp_sdes_next(packet, &cursor, &chunk):
        content.append((chunk.ssrc, None if chunk.cname == NULL else chunk.cname[:chunk.cname_len]))
    while rtcp_bye_ssrc(packet, index, &ssrc):
        content.append(ssrc)
        index += 1
    while rtcp_nack_next(packet, &cursor, &seq):
        content.append(seq)
    while rtcp_fir_entry(packet, index, &ssrc, &command):
        content.append((ssrc, command))
        index += 1
    while rtcp_remb_ssrc(packet, index, &ssrc):
        content.append(ssrc)
        index += 1
    if rtcp_remb(packet, &remb):
        return remb.bitrate, content
    return content


cdef list _blocks(const RtcpPacket* packet):
    cdef ReportBlock block
    cdef uint32_t index = 0
    blocks = []
    while rtcp_report_block(packet, index, &block):
        blocks.append((block.ssrc, block.fraction_lost, block.cumulative_lost, block.highest_seq, block.jitter,
                       block.lsr, block.dlsr))
        index += 1
    return blocks


cdef list _xr(const RtcpPacket* packet):
    cdef XrBlock block
    cdef Dlrr entry
    cdef uint32_t cursor = 0
    cdef uint32_t index
    blocks = []
    while rtcp_xr_next(packet, &cursor, &block):
        entries = []
        index = 0
        while rtcp_xr_dlrr(&block, index, &entry):
            entries.append((entry.ssrc, entry.lrr, entry.dlrr))
            index += 1
        blocks.append((block.type, block.ntp, entries))
    return blocks


def ntp(wall_us: int) -> int:
    """NTP time (32.32 bits since 1900) of µs since 1970."""
    return ntp_from_unix_us(wall_us)


def compact(ntp_time: int) -> int:
    return ntp_compact(ntp_time)


def compact_duration(us: int) -> int:
    return compact_from_us(us)


def round_trip_us(now_compact: int, lsr: int, dlsr: int) -> int:
    return rtt_us(now_compact, lsr, dlsr)
