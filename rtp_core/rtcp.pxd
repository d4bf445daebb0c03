"""RTCP on hostile bytes: an iterator over compound packets, and accessors. `rtcp_write` is the other way.

RFC 3550 section 6, RFC 4585, RFC 5104, RFC 5506 (reduced size), RFC 3611, draft-alvestrand-rmcat-remb-03.
Nothing here allocates or keeps pointers beyond the packet it was given.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:  # packet types
    RTCP_PT_SR = 200
    RTCP_PT_RR = 201
    RTCP_PT_SDES = 202
    RTCP_PT_BYE = 203
    RTCP_PT_RTPFB = 205
    RTCP_PT_PSFB = 206
    RTCP_PT_XR = 207

cdef enum:  # what `rtcp_next` made of one packet (RtcpPacket.kind)
    RTCP_UNKNOWN = 0  # a sound header, but a type that is not handled here
    RTCP_MALFORMED = 1  # a sound header, but a body that contradicts it: skip this one, go on
    RTCP_SR = 2
    RTCP_RR = 3
    RTCP_SDES = 4
    RTCP_BYE = 5
    RTCP_NACK = 6
    RTCP_TWCC = 7  # body = the whole FCI, for twcc_parse_begin
    RTCP_PLI = 8
    RTCP_FIR = 9
    RTCP_REMB = 10
    RTCP_XR = 11

cdef enum:  # answers of `rtcp_next`
    RTCP_END = 0
    RTCP_PACKET = 1
    RTCP_BAD = -1  # the rest of the datagram is not RTCP

cdef enum:  # XR block types, RFC 3611 sections 4.4 and 4.5
    XR_RRTR = 4
    XR_DLRR = 5

cdef enum:
    RTCP_MAX_BLOCKS = 31  # RC and SC are five bits

ctypedef struct RtcpPacket:
    int kind
    uint8_t packet_type
    uint8_t count  # RC, SC or FMT
    uint32_t sender_ssrc  # SR, RR, XR, feedback; 0 in SDES and BYE
    uint32_t media_ssrc  # feedback only
    const uint8_t* body  # what follows the fixed part of that kind, padding removed
    uint32_t body_len

ctypedef struct ReportBlock:  # RFC 3550 section 6.4.1
    uint32_t ssrc
    uint8_t fraction_lost  # of 256
    int32_t cumulative_lost  # signed 24 bits
    uint32_t highest_seq  # extended: cycles << 16 | seq
    uint32_t jitter  # RTP timestamp units
    uint32_t lsr  # compact NTP of the last SR, 0: none yet
    uint32_t dlsr  # 1/65536 s since that SR

ctypedef struct SenderInfo:
    uint64_t ntp  # 32.32 s since 1900
    uint32_t rtp_timestamp
    uint32_t packets
    uint32_t octets

ctypedef struct SdesChunk:
    uint32_t ssrc
    const uint8_t* cname  # not terminated; NULL when the chunk has none
    uint8_t cname_len

ctypedef struct Remb:
    uint64_t bitrate  # bit/s
    uint32_t count  # of SSRCs

ctypedef struct XrBlock:
    uint8_t type
    uint64_t ntp  # of an RRTR block
    uint32_t count  # sub-blocks of a DLRR block
    const uint8_t* body
    uint32_t body_len

ctypedef struct Dlrr:
    uint32_t ssrc  # of the receiver that sent the RRTR
    uint32_t lrr  # compact NTP of that RRTR
    uint32_t dlrr  # 1/65536 s since it came

# Reading. `offset` and `cursor` begin at 0 and are moved along by each call.
cdef int rtcp_next(const uint8_t* data, uint32_t length, uint32_t* offset, RtcpPacket* packet) noexcept nogil
cdef bint rtcp_sender_info(const RtcpPacket* packet, SenderInfo* info) noexcept nogil  # SR
cdef bint rtcp_report_block(const RtcpPacket* packet, uint32_t index, ReportBlock* block) noexcept nogil  # SR, RR
cdef bint rtcp_sdes_next(const RtcpPacket* packet, uint32_t* cursor, SdesChunk* chunk) noexcept nogil
cdef bint rtcp_bye_ssrc(const RtcpPacket* packet, uint32_t index, uint32_t* ssrc) noexcept nogil
cdef bint rtcp_nack_next(const RtcpPacket* packet, uint32_t* cursor, uint16_t* seq) noexcept nogil
cdef bint rtcp_fir_entry(const RtcpPacket* packet, uint32_t index, uint32_t* ssrc, uint8_t* seq) noexcept nogil
cdef bint rtcp_remb(const RtcpPacket* packet, Remb* remb) noexcept nogil
cdef bint rtcp_remb_ssrc(const RtcpPacket* packet, uint32_t index, uint32_t* ssrc) noexcept nogil
cdef bint rtcp_xr_next(const RtcpPacket* packet, uint32_t* cursor, XrBlock* block) noexcept nogil
cdef bint rtcp_xr_dlrr(const XrBlock* block, uint32_t index, Dlrr* entry) noexcept nogil

# Time. NTP counts from 1900; LSR and DLSR are its middle 32 bits, 1/65536 s (RFC 3550 section 4).
cdef inline uint64_t ntp_from_unix_us(int64_t wall_us) noexcept nogil:
    cdef uint64_t us = <uint64_t> wall_us
    return ((us // 1000000 + 2208988800ULL) << 32) | (((us % 1000000) << 32) // 1000000)

cdef inline uint32_t ntp_compact(uint64_t ntp) noexcept nogil:
    return <uint32_t> (ntp >> 16)

cdef inline uint32_t compact_from_us(int64_t us) noexcept nogil:
    """A duration of up to 18 hours in 1/65536 s, as DLSR and DLRR are; negative durations are 0."""
    return 0 if us <= 0 else <uint32_t> ((<uint64_t> us << 16) // 1000000)

cdef inline int64_t rtt_us(uint32_t now_compact, uint32_t lsr, uint32_t dlsr) noexcept nogil:
    """Round trip time in µs from a report block (RFC 3550 section 6.4.1), or -1 when it tells none.

    A difference just below zero is the rounding of the two clocks and counts as no delay at all; anything
    else that is negative or above a minute is a wrong or hostile report.
    """
    cdef int32_t delta
    if lsr == 0:
        return -1
    delta = <int32_t> (now_compact - lsr - dlsr)
    if delta < -655 or delta > 60 * 65536:
        return -1
    return 0 if delta < 0 else (<int64_t> delta * 1000000) >> 16
