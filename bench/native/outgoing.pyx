"""Frames are cut, stamped, sealed and sent here; what was sent is kept for a while, to be sent again on request."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from bench.native.net cimport CLOCK_REALTIME, NET_MESSAGE, net_batch, net_clock, net_prepare, net_send
from rtp_core.protect cimport SRTP_OK, srtp_out, srtp_seal_apart, srtp_seal_rtcp
from rtp_core.rtcp cimport SenderInfo, ntp_from_unix_us
from rtp_core.rtcp_write cimport rtcp_write_sdes, rtcp_write_sr
from rtp_core.rtp cimport load16, store16, store32, store64

cdef enum:
    HEAD = 24  # RTP header, extension header, and two words of extensions
    MOST_PACKETS = 48  # of one frame: what a UDP_SEGMENT message takes
    KEPT_MASK = OUT_KEPT - 1
    REPORT_ROOM = 256


cdef uint64_t next_random(uint64_t* state) noexcept nogil:
    """xorshift64*: the same seed, the same run."""
    state[0] ^= state[0] >> 12
    state[0] ^= state[0] << 25
    state[0] ^= state[0] >> 27
    return state[0] * <uint64_t>2685821657736338717


cdef bint lost_now(uint64_t* state, double share) noexcept nogil:
    return share > 0 and <double>(next_random(state) >> 11) < share * 9007199254740992.0


cdef bint out_init(Outgoing* s, uint64_t seed) noexcept nogil:
    s.random = seed * 2 + 1
    s.sequence = <uint16_t>next_random(&s.random)
    s.rtx_sequence = <uint16_t>next_random(&s.random)
    s.timestamp = <uint32_t>next_random(&s.random)
    s.key_wanted = True
    if s.rtx_ssrc:
        s.kept = <Kept*>calloc(OUT_KEPT, sizeof(Kept))
    return s.rtx_ssrc == 0 or s.kept != NULL


cdef void out_free(Outgoing* s) noexcept nogil:
    free(s.kept)


cdef int out_cut(int frame_bytes, int payload_max, int* sizes, int most) noexcept nogil:
    cdef int count, larger, i
    if frame_bytes < OUT_STAMPED:
        frame_bytes = OUT_STAMPED
    if frame_bytes > payload_max * most:
        frame_bytes = payload_max * most
    count = (frame_bytes + payload_max - 1) // payload_max
    larger = frame_bytes % count
    for i in range(count):
        sizes[i] = frame_bytes // count + (1 if i >= count - larger else 0)
    return count


cdef int out_next_frame(Outgoing* s, bint* key) noexcept nogil:
    cdef int size = s.frame_bytes
    key[0] = s.is_video and (s.key_wanted or s.since_key >= s.key_every)
    # 3/4 to 5/4 of the average, as an encoder's frames vary.
    size = <int>(size * (768 + <int64_t>(next_random(&s.random) & 511)) // 1024)
    if key[0]:
        size *= s.key_factor
        s.key_wanted = False
        s.since_key = 0
        s.key_frames += 1
    s.since_key += 1
    s.frames += 1
    return size


cdef void write_head(Outgoing* s, Wire* wire, uint8_t* at, uint8_t payload_type, bint marker, uint16_t sequence,
                     uint32_t ssrc) noexcept nogil:
    """RFC 3550 and RFC 8285: MID, transport-wide number, and for audio its level (RFC 6464)."""
    at[0] = 0x90
    at[1] = <uint8_t>(payload_type | (0x80 if marker else 0))
    store16(at + 2, sequence)
    store32(at + 4, s.timestamp)
    store32(at + 8, ssrc)
    store32(at + 12, <uint32_t>0xBEDE0002)
    memset(at + 16, 0, 8)
    at[16] = <uint8_t>(wire.mid_id << 4)
    at[17] = s.mid
    at[18] = <uint8_t>(wire.twcc_id << 4 | 1)
    store16(at + 19, wire.twcc)
    wire.twcc += 1
    if not s.is_video and wire.level_id:
        at[21] = <uint8_t>(wire.level_id << 4)
        at[22] = 0x80 | 30  # voice, -30 dBov


cdef void write_payload(Outgoing* s, uint8_t* at, bint first, bint key) noexcept nogil:
    memset(at, 0, OUT_STAMPS)
    if s.is_video:
        at[0] = 0x10 if first else 0  # RFC 7741: the beginning of a partition
        at[1] = 0 if key else 1
        at[4], at[5], at[6] = 0x9D, 0x01, 0x2A
    else:
        at[0] = 0x78  # Opus, RFC 6716: CELT, 20 ms, one frame
    store64(at + OUT_STAMPS, <uint64_t>net_clock(CLOCK_REALTIME))
    store64(at + OUT_STAMPS + 8, <uint64_t>s.counter)
    store32(at + OUT_STAMPS + 16, s.timestamp)
    store32(at + OUT_STAMPS + 20, s.tag)


cdef void flush(Wire* wire, uint8_t* data, int size, int segment) noexcept nogil:
    if size == 0:
        return
    net_prepare(wire.batch, 0, data, size, segment, 0, 0)
    if net_send(wire.fd, wire.batch, 1) != 1:
        wire.send_failures += 1


cdef void out_send_frame(Outgoing* s, Wire* wire) noexcept nogil:
    cdef int sizes[MOST_PACKETS]
    cdef uint8_t plain[OUT_PACKET]
    cdef uint8_t* begin = wire.sealed  # of the message that is being filled
    cdef uint8_t* at = begin
    cdef Kept* kept
    cdef bint key
    cdef int count, i, length
    cdef int segment = 0
    count = out_cut(out_next_frame(s, &key), s.payload_max, sizes, MOST_PACKETS)
    for i in range(count):
        write_head(s, wire, plain, s.payload_type, s.is_video and i == count - 1, s.sequence, s.ssrc)
        memset(plain + HEAD, 0, sizes[i])
        write_payload(s, plain + HEAD, i == 0, key)
        if s.kept != NULL:
            kept = &s.kept[s.sequence & KEPT_MASK]
            kept.sequence = s.sequence
            kept.size = <uint16_t>(HEAD + sizes[i])
            memcpy(kept.data, plain, kept.size)
        if i and sizes[i] != sizes[i - 1]:  # segments of one message are of one size
            flush(wire, begin, <int>(at - begin), segment)
            begin = at
        memcpy(at, plain, HEAD)
        if srtp_seal_apart(&wire.context.seal, srtp_out(wire.context, s.ssrc), at, HEAD, plain + HEAD, sizes[i],
                           &length) != SRTP_OK:
            wire.send_failures += 1
            break
        s.sequence += 1
        s.counter += 1
        s.packets += 1
        s.bytes += sizes[i]
        segment = length
        if lost_now(&wire.random, wire.loss):
            wire.lost += 1
            flush(wire, begin, <int>(at - begin), segment)
            begin = at
        else:
            at += length
    flush(wire, begin, <int>(at - begin), segment)
    s.timestamp += s.step


cdef void out_repeat(Outgoing* s, Wire* wire, uint16_t sequence) noexcept nogil:
    """RFC 4588, section 4: the original's number leads the payload."""
    cdef Kept* kept
    cdef uint8_t payload[OUT_PACKET + 2]
    cdef uint8_t* at = wire.sealed
    cdef int length
    if s.kept == NULL:
        return
    kept = &s.kept[sequence & KEPT_MASK]
    if kept.sequence != sequence or kept.size == 0:
        s.too_old += 1
        return
    memcpy(at, kept.data, HEAD)
    at[1] = <uint8_t>((at[1] & 0x80) | s.rtx_payload_type)
    store16(at + 2, s.rtx_sequence)
    store32(at + 8, s.rtx_ssrc)
    store16(at + 19, wire.twcc)
    wire.twcc += 1
    store16(payload, sequence)
    memcpy(payload + 2, kept.data + HEAD, kept.size - HEAD)
    if srtp_seal_apart(&wire.context.seal, srtp_out(wire.context, s.rtx_ssrc), at, HEAD, payload, kept.size - HEAD + 2,
                       &length) != SRTP_OK:
        wire.send_failures += 1
        return
    s.rtx_sequence += 1
    s.repeated += 1
    if lost_now(&wire.random, wire.loss):
        wire.lost += 1
    else:
        flush(wire, at, length, 0)


cdef void out_report(Outgoing* s, Wire* wire, int64_t wall_us) noexcept nogil:
    cdef uint8_t data[REPORT_ROOM]
    cdef SenderInfo info
    cdef int size
    if s.packets == 0:
        return
    info.ntp = ntp_from_unix_us(wall_us)
    info.rtp_timestamp = s.timestamp
    info.packets = <uint32_t>s.packets
    info.octets = <uint32_t>s.bytes
    size = <int>rtcp_write_sr(data, REPORT_ROOM, s.ssrc, &info, NULL, 0)
    size += <int>rtcp_write_sdes(data + size, REPORT_ROOM - size, s.ssrc, b"bench", 5)
    if srtp_seal_rtcp(wire.context, data, &size, REPORT_ROOM) == SRTP_OK:
        flush(wire, data, size, 0)


cdef class Stream:
    """Owner of one stream, to be looked at without a network."""

    cdef Outgoing s

    def __cinit__(self, *, bint video, int frame_bytes, int payload_max, int key_factor=1, int key_every=60,
                  uint64_t seed=1):
        self.s.is_video = video
        self.s.frame_bytes = frame_bytes
        self.s.payload_max = payload_max
        self.s.key_factor = key_factor
        self.s.key_every = key_every
        if not out_init(&self.s, seed):
            raise MemoryError

    def __dealloc__(self):
        out_free(&self.s)

    def want_key(self) -> None:
        self.s.key_wanted = True

    def next_frame(self) -> object:
        """(whether it is a key frame, the sizes of its packets)."""
        cdef int sizes[MOST_PACKETS]
        cdef bint key
        cdef int count = out_cut(out_next_frame(&self.s, &key), self.s.payload_max, sizes, MOST_PACKETS)
        return bool(key), [sizes[i] for i in range(count)]
