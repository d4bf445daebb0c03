"""RTP header extensions: the general mechanism of RFC 8285, and what we read and write of each extension.

A producer's extensions are parsed into a view (pointers into the packet), and a fresh block is written for
each consumer in its own ids. Nothing allocates.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t

from rtp_core.rtp cimport load16, load24, store16, store24


cdef enum:  # ExtKind; anonymous, because Cython takes no named enum as an index
    EXT_NONE = 0
    EXT_MID = 1
    EXT_RID = 2
    EXT_REPAIRED_RID = 3
    EXT_AUDIO_LEVEL = 4
    EXT_CSRC_AUDIO_LEVEL = 5
    EXT_ABS_SEND_TIME = 6
    EXT_TRANSPORT_CC = 7
    EXT_ORIENTATION = 8
    EXT_PLAYOUT_DELAY = 9
    EXT_CONTENT_TYPE = 10
    EXT_VIDEO_TIMING = 11
    EXT_COLOR_SPACE = 12
    EXT_DEPENDENCY_DESCRIPTOR = 13
    EXT_ABS_CAPTURE_TIME = 14
    EXT_VIDEO_LAYERS_ALLOCATION = 15
    EXT_TIME_OFFSET = 16
    EXT_FRAME_MARKING = 17
    EXT_KINDS = 18  # how many


cdef enum ExtVerdict:
    EXT_OK = 0
    EXT_UNKNOWN_PROFILE = -1  # not RFC 8285; the view is empty
    EXT_TRUNCATED = -2  # an element runs past the end; the view holds those before it
    EXT_NO_ROOM = -3  # the caller's buffer is too small, or a MID longer than 255 bytes


cdef enum ExtSizes:
    EXT_PROFILE_ONE_BYTE = 0xBEDE
    EXT_PROFILE_TWO_BYTE = 0x1000  # low four bits are application bits
    EXT_ABS_SEND_TIME_LEN = 3
    EXT_TRANSPORT_CC_LEN = 2


ctypedef struct ExtMap:
    # Negotiated ids, both ways. Zeroed memory is a valid empty map.
    uint8_t kind_of[256]  # id -> ExtKind
    uint8_t id_of[EXT_KINDS]  # ExtKind -> id, 0: not negotiated


ctypedef struct ExtView:
    # What one packet carries. data[k] and len[k] mean something only when bit k of `present` is set.
    uint32_t present
    const uint8_t* data[EXT_KINDS]
    uint8_t len[EXT_KINDS]


ctypedef struct ExtSlots:
    # Offsets in the written block of the fields that differ between consumers or are filled just before
    # sending; -1: not there.
    int32_t abs_send_time
    int32_t transport_cc
    int32_t mid  # the value's first byte


cdef inline bint ext_has(const ExtView* view, int kind) noexcept nogil:
    return (view.present >> kind) & 1

# --- the map (ids 1..14 in the one-byte form, 1..255 in the two-byte form) ------------------------------

cdef void ext_map_clear(ExtMap* map) noexcept nogil

# Gives `kind` the id `id`, taking it from any earlier holder. False (and no change) for a bad id or kind.
cdef bint ext_map_set(ExtMap* map, int kind, int id) noexcept nogil

# --- reading --------------------------------------------------------------------------------------------

# Reads the block of `len` bytes behind the 4-byte extension header. Unknown ids are skipped. Of an id that
# occurs twice the last one counts. Returns an ExtVerdict; the view is valid whatever it says.
cdef int ext_parse(const uint8_t* block, int len, uint16_t profile, const ExtMap* map, ExtView* view) noexcept nogil

# Level of RFC 6464 in -dBov (0 loudest, 127 silence) or -1; `voice` gets the V bit.
cdef inline int ext_audio_level(const ExtView* view, bint* voice) noexcept nogil:
    if not ext_has(view, EXT_AUDIO_LEVEL) or view.len[EXT_AUDIO_LEVEL] < 1:
        return -1
    voice[0] = view.data[EXT_AUDIO_LEVEL][0] >> 7
    return view.data[EXT_AUDIO_LEVEL][0] & 0x7F

# Transport-wide sequence number, or -1.
cdef inline int ext_transport_cc(const ExtView* view) noexcept nogil:
    if not ext_has(view, EXT_TRANSPORT_CC) or view.len[EXT_TRANSPORT_CC] < 2:
        return -1
    return load16(view.data[EXT_TRANSPORT_CC])

# Send time as 6.18 fixed-point seconds (wraps every 64 s), or -1.
cdef inline int ext_abs_send_time(const ExtView* view) noexcept nogil:
    if not ext_has(view, EXT_ABS_SEND_TIME) or view.len[EXT_ABS_SEND_TIME] < 3:
        return -1
    return <int>load24(view.data[EXT_ABS_SEND_TIME])

# --- writing --------------------------------------------------------------------------------------------

# Writes a whole extension block (4-byte header included, padded to 32 bits) in the ids of `out`:
# `mid` (left out when mid_len is 0), room for abs-send-time and the transport-wide number when `out` has
# them, and those of the producer's elements that are true for a forwarded stream too. RID, time offset and
# layers allocation speak of the sender alone and are left out. `view` may be NULL.
# Returns the length, 0 when there is nothing to write (then the X bit stays clear), or EXT_NO_ROOM.
cdef int ext_write(uint8_t* dst, int cap, const ExtView* view, const ExtMap* out, const uint8_t* mid, int mid_len,
                   ExtSlots* slots) noexcept nogil

# `field` is block + slots.abs_send_time.
cdef inline void ext_fill_abs_send_time(uint8_t* field, int64_t now_us) noexcept nogil:
    store24(field, ext_abs_send_time_at(now_us))

# `field` is block + slots.transport_cc.
cdef inline void ext_fill_transport_cc(uint8_t* field, uint16_t sequence) noexcept nogil:
    store16(field, sequence)

# Microseconds to 6.18 fixed-point seconds, rounded down; the whole seconds are split off first so that no
# clock value overflows.
cdef inline uint32_t ext_abs_send_time_at(int64_t now_us) noexcept nogil:
    return <uint32_t>(((((now_us // 1000000) & 63) << 18) + ((now_us % 1000000) << 18) // 1000000) & 0xFFFFFF)
