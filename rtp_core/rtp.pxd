"""RTP headers (RFC 3550), demultiplexing of one port (RFC 7983, RFC 9443, RFC 5761), RTX (RFC 4588),
and the byte and sequence arithmetic that the other modules share.

All lengths are bytes. Nothing here allocates, and nothing reads outside `data[0:len]`.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef enum PacketKind:
    KIND_UNKNOWN = 0
    KIND_STUN = 1
    KIND_ZRTP = 2
    KIND_DTLS = 3
    KIND_TURN_CHANNEL = 4
    KIND_QUIC = 5
    KIND_RTP = 6
    KIND_RTCP = 7


cdef enum RtpVerdict:
    RTP_OK = 0
    RTP_TRUNCATED = -1  # shorter than its own header says
    RTP_BAD_VERSION = -2
    RTP_BAD_PADDING = -3  # padding of zero bytes, or longer than the payload
    RTP_NO_ROOM = -4  # the caller's buffer is too small
    RTX_EMPTY = -5  # no original sequence number: a padding-only probe


cdef enum RtpLimits:
    RTP_FIXED_LEN = 12


ctypedef struct RtpHeader:
    uint32_t ssrc
    uint32_t timestamp
    uint16_t sequence
    uint8_t payload_type
    uint8_t marker  # 0 or 1
    uint8_t csrc_count
    uint8_t has_extension  # 0 or 1
    uint16_t extension_profile  # meaningless without has_extension
    int32_t extension_offset  # of the first byte after the 4-byte extension header
    int32_t extension_len  # without that header
    int32_t header_len  # fixed part, CSRCs and extension: where the payload begins
    int32_t payload_len  # without padding
    int32_t padding  # bytes at the end, the count byte included


ctypedef struct SeqUnwrapper:
    # Widens 16-bit sequence numbers to 64 bits. Zeroed memory is a valid start.
    int64_t highest
    uint8_t started


ctypedef struct TsUnwrapper:
    # The same for 32-bit timestamps.
    int64_t highest
    uint8_t started


# --- network byte order, at any alignment ---------------------------------------------------------------

cdef inline uint16_t load16(const uint8_t* p) noexcept nogil:
    return <uint16_t>((p[0] << 8) | p[1])

cdef inline uint32_t load24(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 16) | (<uint32_t>p[1] << 8) | p[2]

cdef inline uint32_t load32(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]

cdef inline uint64_t load64(const uint8_t* p) noexcept nogil:
    return (<uint64_t>load32(p) << 32) | load32(p + 4)

cdef inline void store16(uint8_t* p, uint16_t value) noexcept nogil:
    p[0] = <uint8_t>(value >> 8)
    p[1] = <uint8_t>value

cdef inline void store24(uint8_t* p, uint32_t value) noexcept nogil:
    p[0] = <uint8_t>(value >> 16)
    p[1] = <uint8_t>(value >> 8)
    p[2] = <uint8_t>value

cdef inline void store32(uint8_t* p, uint32_t value) noexcept nogil:
    p[0] = <uint8_t>(value >> 24)
    p[1] = <uint8_t>(value >> 16)
    p[2] = <uint8_t>(value >> 8)
    p[3] = <uint8_t>value

cdef inline void store64(uint8_t* p, uint64_t value) noexcept nogil:
    store32(p, <uint32_t>(value >> 32))
    store32(p + 4, <uint32_t>value)


# --- modular arithmetic (RFC 1982, RFC 3550) ------------------------------------------------------------

cdef inline int32_t seq_diff(uint16_t a, uint16_t b) noexcept nogil:
    # a - b on the circle, -32768..32767; exactly half the circle counts as older.
    return <int16_t><uint16_t>(a - b)

cdef inline bint seq_newer(uint16_t a, uint16_t b) noexcept nogil:
    return seq_diff(a, b) > 0

cdef inline int32_t ts_diff(uint32_t a, uint32_t b) noexcept nogil:
    # a - b on the circle of 32-bit timestamps.
    return <int32_t>(a - b)

cdef inline bint ts_newer(uint32_t a, uint32_t b) noexcept nogil:
    return ts_diff(a, b) > 0

cdef inline int64_t seq_extend(int64_t highest, uint16_t seq) noexcept nogil:
    # The 64-bit index nearest to `highest` whose low 16 bits are `seq`. May be negative: a packet older than
    # the first one seen, just below a wrap.
    return highest + seq_diff(seq, <uint16_t>highest)

cdef inline int64_t ts_extend(int64_t highest, uint32_t ts) noexcept nogil:
    return highest + ts_diff(ts, <uint32_t>highest)

cdef inline int64_t seq_unwrap(SeqUnwrapper* state, uint16_t seq) noexcept nogil:
    # The extended index of `seq`; the first call returns `seq` itself.
    cdef int64_t index
    if not state.started:
        state.started = 1
        state.highest = seq
        return seq
    index = seq_extend(state.highest, seq)
    if index > state.highest:
        state.highest = index
    return index

cdef inline int64_t ts_unwrap(TsUnwrapper* state, uint32_t ts) noexcept nogil:
    cdef int64_t index
    if not state.started:
        state.started = 1
        state.highest = ts
        return ts
    index = ts_extend(state.highest, ts)
    if index > state.highest:
        state.highest = index
    return index


# --- packets --------------------------------------------------------------------------------------------

# Which protocol a datagram (or RFC 4571 frame) belongs to, by its first two bytes. Says nothing more about
# the packet: it may still be malformed.
cdef PacketKind packet_kind(const uint8_t* data, int len) noexcept nogil

# Fields of an RTP packet that may still be encrypted: padding is not looked at, payload_len includes it (and
# the authentication tag). RTP_OK or RTP_TRUNCATED, RTP_BAD_VERSION.
cdef int rtp_parse_header(const uint8_t* data, int len, RtpHeader* header) noexcept nogil

# All fields of a plain RTP packet. RTP_OK or a negative RtpVerdict; on failure `header` is undefined.
cdef int rtp_parse(const uint8_t* data, int len, RtpHeader* header) noexcept nogil

# Writes the twelve fixed bytes (no CSRC, no padding); `extension` sets the X bit, the block is the caller's.
cdef void rtp_write_fixed(uint8_t* dst, uint8_t payload_type, bint marker, uint16_t sequence, uint32_t timestamp,
                          uint32_t ssrc, bint extension) noexcept nogil

# Turns an RTX packet into the original one, in place: the header moves up two bytes, over the original
# sequence number. `*original` is where the packet now begins. Returns its length, or RTX_EMPTY. `header`
# describes `packet` and is updated to describe `*original`.
cdef int rtx_unwrap(uint8_t* packet, int len, RtpHeader* header, uint8_t payload_type, uint32_t ssrc,
                    uint8_t** original) noexcept nogil

# Writes `packet` as an RTX packet to `dst` (not overlapping), which needs len + 2 bytes. Returns the length
# or RTP_NO_ROOM.
cdef int rtx_wrap(uint8_t* dst, int cap, const uint8_t* packet, int len, const RtpHeader* header,
                  uint8_t payload_type, uint32_t ssrc, uint16_t sequence) noexcept nogil
