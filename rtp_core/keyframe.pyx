"""Frame starts in RTP payloads, codec by codec, and the throttle of key frame requests.

VP8: RFC 7741 section 4.2. VP9: RFC 9628 section 4.2. H264: RFC 6184 sections 5.4 to 5.8, packetization modes 0
and 1. AV1: the AOM's RTP payload format for AV1, sections 4.3 and 4.4. Everything read is checked for length first;
what is cut short says nothing.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t
from libc.string cimport memset

cdef enum:
    INTERVAL_US = 500000
    MAX_TRIES = 20
    EARLY = 5  # requests in a row that may come five times sooner
    # H264 NAL unit types
    NAL_SLICE = 1
    NAL_IDR = 5
    NAL_SPS = 7
    NAL_DELIMITER = 9
    NAL_STAP_A = 24
    NAL_FU_A = 28
    # AV1 OBU types
    OBU_SEQUENCE_HEADER = 1
    OBU_TEMPORAL_DELIMITER = 2
    OBU_FRAME_HEADER = 3
    OBU_FRAME = 6


cdef int frame_flags(int codec, const uint8_t* payload, uint32_t length) noexcept nogil:
    cdef bint spare
    if codec == CODEC_VP8:
        return _vp8(payload, length) | (FRAME_SPARE if length and payload[0] & 0x20 else 0)  # N
    if codec == CODEC_VP9:
        return _vp9(payload, length)
    if codec == CODEC_H264:  # nal_ref_idc 0 of a slice (type 1) or of what carries it (24 and above)
        spare = length and payload[0] & 0x60 == 0 and (payload[0] & 0x1F == NAL_SLICE or payload[0] & 0x1F >= NAL_STAP_A)
        return _h264(payload, length) | (FRAME_SPARE if spare else 0)
    if codec == CODEC_AV1:
        return _av1(payload, length)
    return 0


cdef uint32_t _picture_id_len(const uint8_t* payload, uint32_t length, uint32_t at) noexcept nogil:
    """One byte, or two with the M bit set. 0: cut short."""
    if at >= length:
        return 0
    return 2 if payload[at] & 0x80 else 1


cdef int _vp8(const uint8_t* payload, uint32_t length) noexcept nogil:
    cdef uint32_t at = 1
    cdef uint32_t size
    cdef uint8_t bits
    if length < 1 or not payload[0] & 0x10 or payload[0] & 0x07:  # S, and the first partition
        return 0
    if payload[0] & 0x80:  # X
        if length < 2:
            return 0
        bits = payload[1]
        at = 2
        if bits & 0x80:  # I
            size = _picture_id_len(payload, length, at)
            if size == 0:
                return 0
            at += size
        at += 1 if bits & 0x40 else 0  # L
        at += 1 if bits & 0x30 else 0  # T or K
    if at >= length:
        return 0
    return FRAME_START if payload[at] & 0x01 else FRAME_START | FRAME_KEY  # P of the frame tag, RFC 6386 9.1


cdef int _vp9(const uint8_t* payload, uint32_t length) noexcept nogil:
    cdef uint32_t at = 1
    cdef uint32_t size
    cdef uint32_t references = 0
    cdef uint8_t bits
    cdef uint8_t spatial = 0
    if length < 1 or not payload[0] & 0x08:  # B
        return 0
    bits = payload[0]
    if bits & 0x80:  # I
        size = _picture_id_len(payload, length, at)
        if size == 0:
            return 0
        at += size
    if bits & 0x20:  # L
        if at >= length:
            return 0
        spatial = payload[at] >> 1 & 0x07
        at += 1 if bits & 0x10 else 2  # TL0PICIDX in non-flexible mode only
    if bits & 0x50 == 0x50:  # F and P: up to three reference indices, each tells whether another follows
        while True:
            if at >= length or references == 3:
                return 0
            references += 1
            at += 1
            if not payload[at - 1] & 0x01:
                break
    if at >= length:
        return 0
    return FRAME_START if bits & 0x40 or spatial else FRAME_START | FRAME_KEY


cdef int _nal_flags(uint8_t kind, const uint8_t* slice_header, uint32_t length) noexcept nogil:
    """What the start of one NAL unit tells. first_mb_in_slice is 0, the picture's first slice, when the slice
    header (ITU-T H.264 section 7.3.3) begins with a one bit."""
    if kind == NAL_SPS:
        return FRAME_START | FRAME_KEY
    if kind == NAL_DELIMITER:
        return FRAME_START
    if (kind == NAL_SLICE or kind == NAL_IDR) and length > 0 and slice_header[0] & 0x80:
        return FRAME_START | FRAME_KEY if kind == NAL_IDR else FRAME_START
    return 0


cdef int _h264(const uint8_t* payload, uint32_t length) noexcept nogil:
    cdef uint8_t kind
    cdef uint32_t at = 1
    cdef uint32_t size
    cdef int flags = 0
    if length < 2:
        return 0
    kind = payload[0] & 0x1F
    if kind == NAL_FU_A:
        if length < 3 or not payload[1] & 0x80:
            return 0
        return _nal_flags(payload[1] & 0x1F, payload + 2, length - 2)
    if kind != NAL_STAP_A:
        return _nal_flags(kind, payload + 1, length - 1)
    while at < length:
        if length - at < 3:
            return 0
        size = <uint32_t>payload[at] << 8 | payload[at + 1]
        at += 2
        if size == 0 or size > length - at:
            return 0
        flags |= _nal_flags(payload[at] & 0x1F, payload + at + 1, size - 1)
        at += size
    return flags


cdef int _av1(const uint8_t* payload, uint32_t length) noexcept nogil:
    """By the first OBU, and by N, which marks the first packet of a coded video sequence."""
    cdef uint32_t at = 1
    cdef uint32_t size = 0
    cdef uint32_t shift = 0
    cdef uint8_t kind
    if length < 2 or payload[0] & 0x80:  # Z: it goes on with an OBU begun before
        return 0
    if payload[0] >> 4 & 3 != 1:  # W is 1: the only element, and it has no length
        while True:
            if at >= length or shift > 21:  # longer than any packet
                return 0
            size |= <uint32_t>(payload[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not payload[at - 1] & 0x80:
                break
        if size == 0 or size > length - at:
            return 0
    kind = payload[at] >> 3
    if kind & 0x10:  # the forbidden bit
        return 0
    if payload[0] & 0x08 or kind == OBU_SEQUENCE_HEADER:
        return FRAME_START | FRAME_KEY
    if kind == OBU_TEMPORAL_DELIMITER or kind == OBU_FRAME_HEADER or kind == OBU_FRAME:
        return FRAME_START
    return 0


# --- asking for key frames ------------------------------------------------------------------------------

cdef void keyframe_init(KeyframeThrottle* throttle) noexcept nogil:
    memset(throttle, 0, sizeof(KeyframeThrottle))
    throttle.interval_us = INTERVAL_US
    throttle.max_tries = MAX_TRIES
    throttle.credit_us = EARLY * INTERVAL_US


cdef void _note_sent(KeyframeThrottle* throttle, int64_t now) noexcept nogil:
    throttle.sent_before = True
    throttle.sent_at = now
    throttle.tries += 1
    throttle.hastened = False


cdef bint _hasten(KeyframeThrottle* throttle, int64_t now) noexcept nogil:
    """Asking before the interval is over is paid for by time in which nobody did so."""
    throttle.credit_us += now - throttle.credit_at
    throttle.credit_at = now
    if throttle.credit_us > EARLY * throttle.interval_us:
        throttle.credit_us = EARLY * throttle.interval_us
    if throttle.credit_us < throttle.interval_us:
        return False
    throttle.credit_us -= throttle.interval_us
    return True


cdef bint keyframe_request(KeyframeThrottle* throttle, int64_t now, bint new) noexcept nogil:
    if throttle.waiting:
        # What has been asked for serves the newcomer too; what is still to be asked for may be asked sooner.
        if not new or throttle.tries or throttle.hastened or not _hasten(throttle, now):
            return False
        throttle.hastened = True
    else:
        throttle.waiting = True
        throttle.tries = 0
        throttle.hastened = new and throttle.sent_before and now - throttle.sent_at < throttle.interval_us \
            and _hasten(throttle, now)
    if throttle.sent_before and now < keyframe_deadline(throttle):
        return False
    _note_sent(throttle, now)
    return True


cdef bint keyframe_due(KeyframeThrottle* throttle, int64_t now) noexcept nogil:
    """After `max_tries` requests without an answer it gives up, until someone wants one again."""
    if now < keyframe_deadline(throttle):
        return False
    if throttle.tries >= throttle.max_tries:
        throttle.waiting = False
        return False
    _note_sent(throttle, now)
    return True


cdef void keyframe_arrived(KeyframeThrottle* throttle) noexcept nogil:
    throttle.waiting = False


cdef int64_t keyframe_deadline(const KeyframeThrottle* throttle) noexcept nogil:
    if not throttle.waiting:
        return INT64_MAX
    return throttle.sent_at + (throttle.interval_us // EARLY if throttle.hastened else throttle.interval_us)


# --- for tests and tools --------------------------------------------------------------------------------

CODECS = {"VP8": CODEC_VP8, "VP9": CODEC_VP9, "H264": CODEC_H264, "AV1": CODEC_AV1}


def spare(codec: str, const uint8_t[::1] payload not None) -> bool:
    """Does no other frame need the one that this packet is of?"""
    if payload.shape[0] == 0:
        return False
    return bool(frame_flags(CODECS.get(codec, CODEC_OTHER), &payload[0], <uint32_t>payload.shape[0]) & FRAME_SPARE)


def flags(codec: str, const uint8_t[::1] payload not None) -> tuple[bool, bool]:
    """(starts a frame, starts a key frame). `codec` as in a MIME type's second half; unknown ones tell nothing."""
    if payload.shape[0] == 0:
        return False, False
    cdef int found = frame_flags(CODECS.get(codec, CODEC_OTHER), &payload[0], <uint32_t>payload.shape[0])
    return bool(found & FRAME_START), bool(found & FRAME_KEY)


cdef class Throttle:
    """Owner of one producer's throttle. Times in µs."""

    cdef KeyframeThrottle throttle

    def __cinit__(self):
        keyframe_init(&self.throttle)

    def request(self, now: int, new: bool = False) -> bool:
        return keyframe_request(&self.throttle, now, new)

    def due(self, now: int) -> bool:
        return keyframe_due(&self.throttle, now)

    def arrived(self) -> None:
        keyframe_arrived(&self.throttle)

    @property
    def deadline(self):
        """µs, or None."""
        cdef int64_t at = keyframe_deadline(&self.throttle)
        return None if at == INT64_MAX else at
