"""RTP headers, demultiplexing and RTX. The C interface and what each function promises is in rtp.pxd."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memmove

from enum import IntEnum
from typing import NamedTuple


cdef PacketKind packet_kind(const uint8_t* data, int len) noexcept nogil:
    cdef uint8_t first
    if len < 1:
        return KIND_UNKNOWN
    first = data[0]
    if first < 4:
        return KIND_STUN
    if first < 16:
        return KIND_UNKNOWN
    if first < 20:
        return KIND_ZRTP
    if first < 64:
        return KIND_DTLS
    if first < 80:
        return KIND_TURN_CHANNEL
    if first < 128:
        return KIND_QUIC
    if first < 192:
        if len < 2:
            return KIND_UNKNOWN
        # RFC 5761 section 4: 192..223 can't be an RTP payload type with its marker bit, by agreement.
        return KIND_RTCP if 192 <= data[1] <= 223 else KIND_RTP
    return KIND_QUIC


cdef int rtp_parse_header(const uint8_t* data, int len, RtpHeader* header) noexcept nogil:
    cdef int offset
    if len < RTP_FIXED_LEN:
        return RTP_TRUNCATED
    if data[0] >> 6 != 2:
        return RTP_BAD_VERSION
    header.csrc_count = data[0] & 0x0F
    header.marker = data[1] >> 7
    header.payload_type = data[1] & 0x7F
    header.sequence = load16(data + 2)
    header.timestamp = load32(data + 4)
    header.ssrc = load32(data + 8)
    header.has_extension = (data[0] >> 4) & 1
    header.extension_profile = 0
    header.extension_offset = 0
    header.extension_len = 0
    header.padding = 0
    offset = RTP_FIXED_LEN + 4 * header.csrc_count
    if header.has_extension:
        if len < offset + 4:
            return RTP_TRUNCATED
        header.extension_profile = load16(data + offset)
        header.extension_len = 4 * load16(data + offset + 2)
        header.extension_offset = offset + 4
        offset += 4 + header.extension_len
    if len < offset:
        return RTP_TRUNCATED
    header.header_len = offset
    header.payload_len = len - offset
    return RTP_OK


cdef int rtp_parse(const uint8_t* data, int len, RtpHeader* header) noexcept nogil:
    cdef int verdict = rtp_parse_header(data, len, header)
    if verdict != RTP_OK:
        return verdict
    if data[0] & 0x20:
        if header.payload_len == 0:
            return RTP_BAD_PADDING
        header.padding = data[len - 1]
        if header.padding == 0 or header.padding > header.payload_len:
            return RTP_BAD_PADDING
        header.payload_len -= header.padding
    return RTP_OK


cdef void rtp_write_fixed(uint8_t* dst, uint8_t payload_type, bint marker, uint16_t sequence, uint32_t timestamp,
                          uint32_t ssrc, bint extension) noexcept nogil:
    dst[0] = 0x90 if extension else 0x80
    dst[1] = (0x80 if marker else 0) | (payload_type & 0x7F)
    store16(dst + 2, sequence)
    store32(dst + 4, timestamp)
    store32(dst + 8, ssrc)


cdef int rtx_unwrap(uint8_t* packet, int len, RtpHeader* header, uint8_t payload_type, uint32_t ssrc,
                    uint8_t** original) noexcept nogil:
    cdef uint16_t osn
    cdef uint8_t* start
    if header.payload_len < 2:
        return RTX_EMPTY
    osn = load16(packet + header.header_len)
    start = packet + 2
    memmove(start, packet, header.header_len)
    start[1] = (start[1] & 0x80) | (payload_type & 0x7F)
    store16(start + 2, osn)
    store32(start + 8, ssrc)
    header.payload_type = payload_type & 0x7F
    header.sequence = osn
    header.ssrc = ssrc
    header.payload_len -= 2
    original[0] = start
    return len - 2


cdef int rtx_wrap(uint8_t* dst, int cap, const uint8_t* packet, int len, const RtpHeader* header,
                  uint8_t payload_type, uint32_t ssrc, uint16_t sequence) noexcept nogil:
    if cap < len + 2:
        return RTP_NO_ROOM
    memcpy(dst, packet, header.header_len)
    dst[1] = (dst[1] & 0x80) | (payload_type & 0x7F)
    store16(dst + 2, sequence)
    store32(dst + 8, ssrc)
    store16(dst + header.header_len, header.sequence)
    memcpy(dst + header.header_len + 2, packet + header.header_len, len - header.header_len)
    return len + 2


# --- for Python -----------------------------------------------------------------------------------------

class RtpError(ValueError):
    """Bytes that are not a well-formed RTP packet, or don't fit."""


class Kind(IntEnum):
    UNKNOWN = KIND_UNKNOWN
    STUN = KIND_STUN
    ZRTP = KIND_ZRTP
    DTLS = KIND_DTLS
    TURN_CHANNEL = KIND_TURN_CHANNEL
    QUIC = KIND_QUIC
    RTP = KIND_RTP
    RTCP = KIND_RTCP


class Header(NamedTuple):
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    csrc_count: int
    has_extension: bool
    extension_profile: int
    extension_offset: int
    extension_len: int
    header_len: int
    payload_len: int
    padding: int


cdef object as_header(const RtpHeader* h):
    return Header(h.payload_type, bool(h.marker), h.sequence, h.timestamp, h.ssrc, h.csrc_count,
                  bool(h.has_extension), h.extension_profile, h.extension_offset, h.extension_len,
                  h.header_len, h.payload_len, h.padding)


cdef str reason(int verdict):
    if verdict == RTP_TRUNCATED:
        return "truncated"
    if verdict == RTP_BAD_VERSION:
        return "not version 2"
    if verdict == RTP_BAD_PADDING:
        return "impossible padding"
    if verdict == RTX_EMPTY:
        return "no original sequence number"
    return "no room"


def kind_of(const uint8_t[::1] data):
    return Kind(packet_kind(&data[0] if data.shape[0] else NULL, <int>data.shape[0]))


def parse_untrusted(const uint8_t[::1] data, *, encrypted=False):
    cdef RtpHeader header
    cdef const uint8_t* p = &data[0] if data.shape[0] else NULL
    cdef int verdict
    if encrypted:
        verdict = rtp_parse_header(p, <int>data.shape[0], &header)
    else:
        verdict = rtp_parse(p, <int>data.shape[0], &header)
    if verdict != RTP_OK:
        raise RtpError(reason(verdict))
    return as_header(&header)


def build(*, payload_type, sequence, timestamp, ssrc, marker=False, payload=b"", extension=b""):
    cdef uint8_t fixed[RTP_FIXED_LEN]
    rtp_write_fixed(fixed, payload_type, marker, sequence, timestamp, ssrc, len(extension) > 0)
    return fixed[:RTP_FIXED_LEN] + extension + payload


def unwrap_rtx_untrusted(bytes packet, *, payload_type, ssrc):
    cdef RtpHeader header
    cdef uint8_t* original
    cdef int length = <int>len(packet)
    cdef bytearray copy = bytearray(packet)
    cdef uint8_t* p = copy
    cdef int verdict = rtp_parse(p, length, &header)
    if verdict == RTP_OK:
        verdict = rtx_unwrap(p, length, &header, payload_type, ssrc, &original)
        if verdict > 0:
            return (<char*>original)[:verdict]
    raise RtpError(reason(verdict))


def wrap_rtx(bytes packet, *, payload_type, ssrc, sequence, capacity=65536):
    cdef RtpHeader header
    cdef int length = <int>len(packet)
    cdef const uint8_t* p = packet
    cdef bytearray out = bytearray(<Py_ssize_t>capacity)
    cdef int verdict = rtp_parse(p, length, &header)
    if verdict == RTP_OK:
        verdict = rtx_wrap(out, <int>len(out), p, length, &header, payload_type, ssrc, sequence)
        if verdict > 0:
            return bytes(out[:verdict])
    raise RtpError(reason(verdict))


def sequence_diff(uint16_t a, uint16_t b):
    return seq_diff(a, b)


def sequence_newer(uint16_t a, uint16_t b):
    return bool(seq_newer(a, b))


def timestamp_diff(uint32_t a, uint32_t b):
    return ts_diff(a, b)


def timestamp_newer(uint32_t a, uint32_t b):
    return bool(ts_newer(a, b))


cdef class SequenceUnwrapper:
    cdef SeqUnwrapper state

    def unwrap(self, uint16_t sequence):
        return seq_unwrap(&self.state, sequence)


cdef class TimestampUnwrapper:
    cdef TsUnwrapper state

    def unwrap(self, uint32_t timestamp):
        return ts_unwrap(&self.state, timestamp)


def byte_order(const uint8_t[::1] data):
    """The leading eight bytes of `data` read as 16, 24, 32 and 64 bits, and written back as they came."""
    cdef uint8_t out[17]
    if data.shape[0] < 8:
        raise RtpError("truncated")
    store16(out, load16(&data[0]))
    store24(out + 2, load24(&data[0]))
    store32(out + 5, load32(&data[0]))
    store64(out + 9, load64(&data[0]))
    return load16(&data[0]), load24(&data[0]), load32(&data[0]), load64(&data[0]), out[:17]
