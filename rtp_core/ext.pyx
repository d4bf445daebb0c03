"""RFC 8285 header extensions. The C interface and what each function promises is in ext.pxd."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from enum import IntEnum

# Elements that stay true when a packet is forwarded, and so are copied into the consumer's block.
cdef uint32_t COPIED = (
    (1 << EXT_AUDIO_LEVEL) | (1 << EXT_CSRC_AUDIO_LEVEL) | (1 << EXT_ORIENTATION) | (1 << EXT_PLAYOUT_DELAY)
    | (1 << EXT_CONTENT_TYPE) | (1 << EXT_VIDEO_TIMING) | (1 << EXT_COLOR_SPACE)
    | (1 << EXT_DEPENDENCY_DESCRIPTOR) | (1 << EXT_ABS_CAPTURE_TIME) | (1 << EXT_FRAME_MARKING)
)

# The room of fields that are filled just before sending.
cdef uint8_t BLANK[4]


cdef void ext_map_clear(ExtMap* map) noexcept nogil:
    memset(map, 0, sizeof(ExtMap))


cdef bint ext_map_set(ExtMap* map, int kind, int id) noexcept nogil:
    if kind <= EXT_NONE or kind >= EXT_KINDS or id < 1 or id > 255:
        return False
    # Index 0 of either table is "none" and stays 0, so an unset neighbour needs no test.
    map.id_of[map.kind_of[id]] = 0
    map.kind_of[map.id_of[kind]] = EXT_NONE
    map.kind_of[id] = <uint8_t>kind
    map.id_of[kind] = <uint8_t>id
    return True


cdef int ext_parse(const uint8_t* block, int len, uint16_t profile, const ExtMap* map, ExtView* view) noexcept nogil:
    cdef bint one_byte = profile == EXT_PROFILE_ONE_BYTE
    cdef int at = 0, id, size, kind
    view.present = 0
    if not one_byte and profile & 0xFFF0 != EXT_PROFILE_TWO_BYTE:
        return EXT_UNKNOWN_PROFILE
    while at < len:
        if one_byte:
            id = block[at] >> 4
            if id == 0:
                # RFC 8285 section 4.2: padding, unless it claims a length, which ends the block.
                if block[at]:
                    return EXT_OK
                at += 1
                continue
            if id == 15:  # the same section: reserved, ends the block
                return EXT_OK
            size = (block[at] & 0x0F) + 1
            at += 1
        else:
            id = block[at]
            if id == 0:
                at += 1
                continue
            if at + 2 > len:
                return EXT_TRUNCATED
            size = block[at + 1]
            at += 2
        if size > len - at:
            return EXT_TRUNCATED
        kind = map.kind_of[id]
        if kind != EXT_NONE:
            view.present |= <uint32_t>1 << kind
            view.data[kind] = block + at
            view.len[kind] = <uint8_t>size
        at += size
    return EXT_OK


cdef int ext_write(uint8_t* dst, int cap, const ExtView* view, const ExtMap* out, const uint8_t* mid, int mid_len,
                   ExtSlots* slots) noexcept nogil:
    cdef const uint8_t* data[EXT_KINDS]
    cdef int size[EXT_KINDS]
    cdef bint two_byte = False
    cdef int kind, total = 0, at = 4, count = 0
    slots.abs_send_time = -1
    slots.transport_cc = -1
    slots.mid = -1

    for kind in range(1, EXT_KINDS):
        size[kind] = -1
        if out.id_of[kind] == 0:
            continue
        if kind == EXT_MID:
            if mid_len <= 0:
                continue
            if mid_len > 255:
                return EXT_NO_ROOM
            data[kind] = mid
            size[kind] = mid_len
        elif kind == EXT_ABS_SEND_TIME:
            data[kind] = BLANK
            size[kind] = EXT_ABS_SEND_TIME_LEN
        elif kind == EXT_TRANSPORT_CC:
            data[kind] = BLANK
            size[kind] = EXT_TRANSPORT_CC_LEN
        elif view != NULL and view.present & COPIED & (<uint32_t>1 << kind):
            data[kind] = view.data[kind]
            size[kind] = view.len[kind]
        else:
            continue
        count += 1
        total += size[kind]
        if out.id_of[kind] > 14 or size[kind] == 0 or size[kind] > 16:
            two_byte = True

    if count == 0:
        return 0
    total += count * (2 if two_byte else 1)
    total = (total + 3) & ~3
    if cap < total + 4:
        return EXT_NO_ROOM
    store16(dst, EXT_PROFILE_TWO_BYTE if two_byte else EXT_PROFILE_ONE_BYTE)
    store16(dst + 2, <uint16_t>(total >> 2))
    for kind in range(1, EXT_KINDS):
        if size[kind] < 0:
            continue
        if two_byte:
            dst[at] = out.id_of[kind]
            dst[at + 1] = <uint8_t>size[kind]
            at += 2
        else:
            dst[at] = <uint8_t>((out.id_of[kind] << 4) | (size[kind] - 1))
            at += 1
        if kind == EXT_ABS_SEND_TIME:
            slots.abs_send_time = at
        elif kind == EXT_TRANSPORT_CC:
            slots.transport_cc = at
        elif kind == EXT_MID:
            slots.mid = at
        memcpy(dst + at, data[kind], size[kind])
        at += size[kind]
    memset(dst + at, 0, total + 4 - at)
    return total + 4


# --- for Python -----------------------------------------------------------------------------------------

class ExtError(ValueError):
    """A header-extension block that breaks RFC 8285, or doesn't fit."""


class Kind(IntEnum):
    MID = EXT_MID
    RID = EXT_RID
    REPAIRED_RID = EXT_REPAIRED_RID
    AUDIO_LEVEL = EXT_AUDIO_LEVEL
    CSRC_AUDIO_LEVEL = EXT_CSRC_AUDIO_LEVEL
    ABS_SEND_TIME = EXT_ABS_SEND_TIME
    TRANSPORT_CC = EXT_TRANSPORT_CC
    ORIENTATION = EXT_ORIENTATION
    PLAYOUT_DELAY = EXT_PLAYOUT_DELAY
    CONTENT_TYPE = EXT_CONTENT_TYPE
    VIDEO_TIMING = EXT_VIDEO_TIMING
    COLOR_SPACE = EXT_COLOR_SPACE
    DEPENDENCY_DESCRIPTOR = EXT_DEPENDENCY_DESCRIPTOR
    ABS_CAPTURE_TIME = EXT_ABS_CAPTURE_TIME
    VIDEO_LAYERS_ALLOCATION = EXT_VIDEO_LAYERS_ALLOCATION
    TIME_OFFSET = EXT_TIME_OFFSET
    FRAME_MARKING = EXT_FRAME_MARKING


KIND_OF_URI = {
    "urn:ietf:params:rtp-hdrext:sdes:mid": Kind.MID,
    "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id": Kind.RID,
    "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id": Kind.REPAIRED_RID,
    "urn:ietf:params:rtp-hdrext:ssrc-audio-level": Kind.AUDIO_LEVEL,
    "urn:ietf:params:rtp-hdrext:csrc-audio-level": Kind.CSRC_AUDIO_LEVEL,
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time": Kind.ABS_SEND_TIME,
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01": Kind.TRANSPORT_CC,
    "urn:3gpp:video-orientation": Kind.ORIENTATION,
    "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay": Kind.PLAYOUT_DELAY,
    "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type": Kind.CONTENT_TYPE,
    "http://www.webrtc.org/experiments/rtp-hdrext/video-timing": Kind.VIDEO_TIMING,
    "http://www.webrtc.org/experiments/rtp-hdrext/color-space": Kind.COLOR_SPACE,
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension":
        Kind.DEPENDENCY_DESCRIPTOR,
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time": Kind.ABS_CAPTURE_TIME,
    "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00": Kind.VIDEO_LAYERS_ALLOCATION,
    "urn:ietf:params:rtp-hdrext:toffset": Kind.TIME_OFFSET,
    "urn:ietf:params:rtp-hdrext:framemarking": Kind.FRAME_MARKING,
}


cdef class Map:
    cdef ExtMap map

    def __init__(self, ids=None):
        ext_map_clear(&self.map)
        for id, kind in (ids or {}).items():
            self.set(kind, id)

    def set(self, int kind, int id):
        if not ext_map_set(&self.map, kind, id):
            raise ExtError(f"no such extension id or kind: {id}, {kind}")

    def as_dict(self):
        cdef int id
        return {id: Kind(self.map.kind_of[id]) for id in range(256) if self.map.kind_of[id]}

    def ids(self):
        cdef int kind
        return {Kind(kind): self.map.id_of[kind] for kind in range(1, EXT_KINDS) if self.map.id_of[kind]}

    @property
    def address(self):
        return <size_t>&self.map


def parse_untrusted(bytes block, int profile, Map map not None, *, partial=False):
    cdef ExtView view
    cdef int kind
    cdef int verdict = ext_parse(block, <int>len(block), <uint16_t>profile, &map.map, &view)
    if verdict != EXT_OK and not partial:
        raise ExtError("not RFC 8285" if verdict == EXT_UNKNOWN_PROFILE else "truncated")
    return {
        Kind(kind): (<const char*>view.data[kind])[:view.len[kind]]
        for kind in range(1, EXT_KINDS) if ext_has(&view, kind)
    }


def audio_level(bytes element):
    cdef ExtView view
    cdef bint voice = False
    view.present = 1 << EXT_AUDIO_LEVEL
    view.data[EXT_AUDIO_LEVEL] = element
    view.len[EXT_AUDIO_LEVEL] = <uint8_t>min(len(element), 255)
    level = ext_audio_level(&view, &voice)
    return None if level < 0 else (level, bool(voice))


def abs_send_time_at(int64_t now_us):
    return ext_abs_send_time_at(now_us)


def write(elements, Map map not None, *, bytes mid=b"", capacity=1500, now_us=None, transport_sequence=None):
    cdef ExtView view
    cdef ExtSlots slots
    cdef bytes element
    cdef list keep = []  # the view points into these
    cdef bytearray dst = bytearray(<Py_ssize_t>capacity)
    cdef uint8_t* p = dst
    cdef int size
    view.present = 0
    for kind, value in elements.items():
        element = bytes(value)
        if not 0 < kind < EXT_KINDS or len(element) > 255:
            raise ExtError(f"no such extension kind, or too long: {kind}")
        keep.append(element)
        view.present |= <uint32_t>1 << <int>kind
        view.data[<int>kind] = element
        view.len[<int>kind] = <uint8_t>len(element)
    size = ext_write(p, <int>len(dst), &view, &map.map, mid, <int>len(mid), &slots)
    if size < 0:
        raise ExtError("no room")
    if now_us is not None and slots.abs_send_time >= 0:
        ext_fill_abs_send_time(p + slots.abs_send_time, now_us)
    if transport_sequence is not None and slots.transport_cc >= 0:
        ext_fill_transport_cc(p + slots.transport_cc, transport_sequence)
    return bytes(dst[:size]), slots.abs_send_time, slots.transport_cc
