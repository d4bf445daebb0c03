"""Writing of RTCP: every function checks the room first, then writes without further questions."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from rtp_core.rtcp cimport (
    RTCP_MAX_BLOCKS,
    RTCP_PT_BYE,
    RTCP_PT_PSFB,
    RTCP_PT_RR,
    RTCP_PT_RTPFB,
    RTCP_PT_SDES,
    RTCP_PT_SR,
    RTCP_PT_XR,
    XR_DLRR,
    Dlrr,
    ReportBlock,
    SenderInfo,
)
from rtp_core.rtp cimport store16, store24, store32, store64

cdef enum:
    BLOCK = 24
    XR_MAX_ENTRIES = 100


cdef inline void _header(uint8_t* out, uint32_t count, uint32_t packet_type, uint32_t size) noexcept nogil:
    out[0] = <uint8_t>(0x80 | count)
    out[1] = <uint8_t>packet_type
    store16(out + 2, <uint16_t>(size // 4 - 1))


cdef inline void _feedback(uint8_t* out, uint32_t format, uint32_t packet_type, uint32_t size,
                           uint32_t sender_ssrc, uint32_t media_ssrc) noexcept nogil:
    _header(out, format, packet_type, size)
    store32(out + 4, sender_ssrc)
    store32(out + 8, media_ssrc)


cdef void _write_blocks(uint8_t* out, const ReportBlock* blocks, uint32_t count) noexcept nogil:
    cdef uint32_t i
    cdef int32_t lost
    for i in range(count):
        lost = min(max(blocks[i].cumulative_lost, -0x800000), 0x7FFFFF)
        store32(out, blocks[i].ssrc)
        out[4] = blocks[i].fraction_lost
        store24(out + 5, <uint32_t>lost & 0xFFFFFF)
        store32(out + 8, blocks[i].highest_seq)
        store32(out + 12, blocks[i].jitter)
        store32(out + 16, blocks[i].lsr)
        store32(out + 20, blocks[i].dlsr)
        out += BLOCK


cdef uint32_t rtcp_write_sr(uint8_t* out, uint32_t capacity, uint32_t ssrc, const SenderInfo* info,
                            const ReportBlock* blocks, uint32_t count) noexcept nogil:
    cdef uint32_t size
    if count > RTCP_MAX_BLOCKS:
        return 0
    size = 28 + BLOCK * count
    if size > capacity:
        return 0
    _header(out, count, RTCP_PT_SR, size)
    store32(out + 4, ssrc)
    store64(out + 8, info.ntp)
    store32(out + 16, info.rtp_timestamp)
    store32(out + 20, info.packets)
    store32(out + 24, info.octets)
    _write_blocks(out + 28, blocks, count)
    return size


cdef uint32_t rtcp_write_rr(uint8_t* out, uint32_t capacity, uint32_t ssrc,
                            const ReportBlock* blocks, uint32_t count) noexcept nogil:
    cdef uint32_t size
    if count > RTCP_MAX_BLOCKS:
        return 0
    size = 8 + BLOCK * count
    if size > capacity:
        return 0
    _header(out, count, RTCP_PT_RR, size)
    store32(out + 4, ssrc)
    _write_blocks(out + 8, blocks, count)
    return size


cdef uint32_t rtcp_write_sdes(uint8_t* out, uint32_t capacity, uint32_t ssrc,
                              const uint8_t* cname, uint32_t cname_len) noexcept nogil:
    """One chunk with one CNAME of up to 255 bytes, ended by one to four null bytes (RFC 3550 section 6.5)."""
    cdef uint32_t size
    if cname_len > 255:
        return 0
    size = (10 + cname_len + 4) & ~(<uint32_t>3)
    if size > capacity:
        return 0
    _header(out, 1, RTCP_PT_SDES, size)
    store32(out + 4, ssrc)
    out[8] = 1
    out[9] = <uint8_t>cname_len
    memcpy(out + 10, cname, cname_len)
    memset(out + 10 + cname_len, 0, size - 10 - cname_len)
    return size


cdef uint32_t rtcp_write_bye(uint8_t* out, uint32_t capacity, const uint32_t* ssrcs, uint32_t count) noexcept nogil:
    cdef uint32_t i
    if count == 0 or count > RTCP_MAX_BLOCKS or 4 + 4 * count > capacity:
        return 0
    _header(out, count, RTCP_PT_BYE, 4 + 4 * count)
    for i in range(count):
        store32(out + 4 + 4 * i, ssrcs[i])
    return 4 + 4 * count


cdef uint32_t rtcp_write_nack(uint8_t* out, uint32_t capacity, uint32_t sender_ssrc, uint32_t media_ssrc,
                              const uint16_t* seqs, uint32_t count, uint32_t* used) noexcept nogil:
    """RFC 4585 section 6.2.1. Each entry takes a PID and what follows it within sixteen."""
    cdef uint32_t size = 12
    cdef uint32_t i = 0
    cdef uint32_t ahead
    cdef uint32_t mask
    cdef uint16_t pid
    while i < count and capacity >= 4 and size <= capacity - 4 and size < 0x40000:
        pid = seqs[i]
        mask = 0
        i += 1
        while i < count:
            ahead = <uint16_t>(seqs[i] - pid)
            if ahead > 16:
                break
            if ahead > 0:
                mask |= <uint32_t>1 << (ahead - 1)
            i += 1
        store16(out + size, pid)
        store16(out + size + 2, <uint16_t>mask)
        size += 4
    used[0] = i
    if i == 0:
        return 0
    _feedback(out, 1, RTCP_PT_RTPFB, size, sender_ssrc, media_ssrc)
    return size


cdef uint32_t rtcp_write_pli(uint8_t* out, uint32_t capacity, uint32_t sender_ssrc,
                             uint32_t media_ssrc) noexcept nogil:
    """RFC 4585 section 6.3.1."""
    if capacity < 12:
        return 0
    _feedback(out, 1, RTCP_PT_PSFB, 12, sender_ssrc, media_ssrc)
    return 12


cdef uint32_t rtcp_write_fir(uint8_t* out, uint32_t capacity, uint32_t sender_ssrc, uint32_t media_ssrc,
                             uint8_t command_seq) noexcept nogil:
    """RFC 5104 section 4.3.1: the header's media SSRC is 0, the entry names the stream."""
    if capacity < 20:
        return 0
    _feedback(out, 4, RTCP_PT_PSFB, 20, sender_ssrc, 0)
    store32(out + 12, media_ssrc)
    store32(out + 16, <uint32_t>command_seq << 24)
    return 20


cdef uint32_t rtcp_write_remb(uint8_t* out, uint32_t capacity, uint32_t sender_ssrc, uint64_t bitrate,
                              const uint32_t* ssrcs, uint32_t count) noexcept nogil:
    """draft-alvestrand-rmcat-remb-03 section 2.2; the bitrate loses what exceeds eighteen bits of it."""
    cdef uint32_t exponent = 0
    cdef uint32_t i
    if count > 255 or 20 + 4 * count > capacity:
        return 0
    while bitrate >> exponent > 0x3FFFF:
        exponent += 1
    _feedback(out, 15, RTCP_PT_PSFB, 20 + 4 * count, sender_ssrc, 0)
    out[12] = 0x52  # "REMB"
    out[13] = 0x45
    out[14] = 0x4D
    out[15] = 0x42
    out[16] = <uint8_t>count
    store24(out + 17, exponent << 18 | <uint32_t>(bitrate >> exponent))
    for i in range(count):
        store32(out + 20 + 4 * i, ssrcs[i])
    return 20 + 4 * count


cdef uint32_t rtcp_write_xr_dlrr(uint8_t* out, uint32_t capacity, uint32_t sender_ssrc,
                                 const Dlrr* entries, uint32_t count) noexcept nogil:
    """RFC 3611 section 4.5, the only block of its packet."""
    cdef uint32_t i
    cdef uint32_t size
    if count == 0 or count > XR_MAX_ENTRIES:
        return 0
    size = 12 + 12 * count
    if size > capacity:
        return 0
    _header(out, 0, RTCP_PT_XR, size)
    store32(out + 4, sender_ssrc)
    out[8] = XR_DLRR
    out[9] = 0
    store16(out + 10, <uint16_t>(3 * count))
    for i in range(count):
        store32(out + 12 + 12 * i, entries[i].ssrc)
        store32(out + 16 + 12 * i, entries[i].lrr)
        store32(out + 20 + 12 * i, entries[i].dlrr)
    return size


# --- for tests and tools --------------------------------------------------------------------------------

cdef class RtcpWriter:
    """Collects packets into one compound packet of at most `capacity` bytes; each method returns what it added."""

    cdef bytearray buffer
    cdef uint32_t size

    def __cinit__(self, int capacity=1200):
        self.buffer = bytearray(capacity)
        self.size = 0

    cdef uint8_t* _at(self) noexcept:
        return <uint8_t*>(<char*>self.buffer) + self.size

    cdef uint32_t _room(self) noexcept:
        return <uint32_t>(len(self.buffer) - self.size)

    cdef uint32_t _added(self, uint32_t size) noexcept:
        self.size += size
        return size

    @property
    def data(self) -> bytes:
        return bytes(self.buffer[:self.size])

    def sr(self, ssrc: int, info: tuple[int, int, int, int], list blocks) -> int:
        cdef ReportBlock raw[RTCP_MAX_BLOCKS]
        cdef SenderInfo sender
        sender.ntp, sender.rtp_timestamp, sender.packets, sender.octets = info
        return self._added(rtcp_write_sr(self._at(), self._room(), ssrc, &sender, raw, _fill(raw, blocks)))

    def rr(self, ssrc: int, list blocks) -> int:
        cdef ReportBlock raw[RTCP_MAX_BLOCKS]
        return self._added(rtcp_write_rr(self._at(), self._room(), ssrc, raw, _fill(raw, blocks)))

    def sdes(self, ssrc: int, bytes cname) -> int:
        return self._added(rtcp_write_sdes(self._at(), self._room(), ssrc, cname, <uint32_t>len(cname)))

    def bye(self, list ssrcs) -> int:
        cdef uint32_t raw[255]
        return self._added(rtcp_write_bye(self._at(), self._room(), raw, _fill_ssrcs(raw, ssrcs)))

    def nack(self, sender_ssrc: int, media_ssrc: int, list seqs) -> tuple[int, int]:
        """(bytes, sequence numbers that went in)."""
        cdef uint16_t raw[1024]
        cdef uint32_t used = 0
        cdef uint32_t i
        cdef uint32_t count = <uint32_t>min(len(seqs), 1024)
        for i in range(count):
            raw[i] = seqs[i]
        size = rtcp_write_nack(self._at(), self._room(), sender_ssrc, media_ssrc, raw, count, &used)
        return self._added(size), used

    def pli(self, sender_ssrc: int, media_ssrc: int) -> int:
        return self._added(rtcp_write_pli(self._at(), self._room(), sender_ssrc, media_ssrc))

    def fir(self, sender_ssrc: int, media_ssrc: int, command_seq: int) -> int:
        return self._added(rtcp_write_fir(self._at(), self._room(), sender_ssrc, media_ssrc, command_seq))

    def remb(self, sender_ssrc: int, bitrate: int, list ssrcs) -> int:
        cdef uint32_t raw[255]
        return self._added(
            rtcp_write_remb(self._at(), self._room(), sender_ssrc, bitrate, raw, _fill_ssrcs(raw, ssrcs)))

    def xr_dlrr(self, sender_ssrc: int, list entries) -> int:
        cdef Dlrr raw[XR_MAX_ENTRIES]
        cdef uint32_t i
        for i in range(<uint32_t>min(len(entries), XR_MAX_ENTRIES)):
            raw[i].ssrc, raw[i].lrr, raw[i].dlrr = entries[i]
        return self._added(
            rtcp_write_xr_dlrr(self._at(), self._room(), sender_ssrc, raw, <uint32_t>len(entries)))


cdef uint32_t _fill(ReportBlock* raw, list blocks) except? 0xFFFFFFFF:
    cdef uint32_t i
    for i in range(<uint32_t>min(len(blocks), RTCP_MAX_BLOCKS)):
        (raw[i].ssrc, raw[i].fraction_lost, raw[i].cumulative_lost, raw[i].highest_seq, raw[i].jitter,
         raw[i].lsr, raw[i].dlsr) = blocks[i]
    return <uint32_t>len(blocks)


cdef uint32_t _fill_ssrcs(uint32_t* raw, list ssrcs) except? 0xFFFFFFFF:
    cdef uint32_t i
    for i in range(<uint32_t>min(len(ssrcs), 255)):
        raw[i] = ssrcs[i]
    return <uint32_t>len(ssrcs)
