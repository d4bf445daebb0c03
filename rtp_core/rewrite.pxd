"""One consumer's numbering: a producer's sequence numbers and timestamps mapped to a continuous stream.

Gaps that the network made stay visible, so that the receiver asks for what is missing; packets that are not
forwarded on purpose leave none. The payload's own SSRC is replaced by the caller with `ssrc`.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t

cdef enum:
    REWRITE_SEGMENTS = 64  # changes of the mapping that are remembered; a power of two

cdef enum:  # verdicts of `rewrite_packet`
    REWRITE_NEW = 0  # send: the newest so far
    REWRITE_LATE = 1  # send: behind the newest, or the newest once more
    REWRITE_DROP = 2  # do not send: dropped on purpose before, from before the start, or too old

ctypedef struct RewriteSegment:
    int64_t start  # extended producer number from which it holds
    int64_t offset  # outgoing number = producer number - offset
    uint32_t ts_offset  # outgoing timestamp = producer timestamp + ts_offset
    uint32_t source  # number of the source among those this consumer has had

ctypedef struct Rewrite:
    # settings
    uint32_t ssrc  # outgoing
    uint32_t clock_rate  # Hz
    uint32_t seq_mask  # 0xFFFF; narrower only to test every edge
    uint16_t base_seq
    uint32_t base_ts
    # state
    bint started
    int pending  # what the next packet begins: nothing, a resumption, another source
    uint32_t source
    int64_t highest  # extended producer number of the newest packet seen, forwarded or dropped
    int64_t out_highest  # extended outgoing number of the newest packet sent
    uint32_t last_ts  # outgoing, of that packet
    int64_t last_at  # µs, when it was sent
    uint32_t count  # segments made so far; segment i is at i modulo REWRITE_SEGMENTS
    RewriteSegment segments[REWRITE_SEGMENTS]

# `base_seq` and `base_ts` are random (RFC 3550 section 5.1): where the outgoing stream begins.
cdef void rewrite_init(Rewrite* state, uint32_t ssrc, uint32_t clock_rate, uint16_t base_seq,
                       uint32_t base_ts) noexcept nogil
# A packet to forward. Retransmitted and late ones come through here too, and get the number they had.
cdef int rewrite_packet(Rewrite* state, uint16_t seq, uint32_t timestamp, int64_t now,
                        uint16_t* out_seq, uint32_t* out_ts) noexcept nogil
# A packet that is not forwarded on purpose: those after it close up. (One behind the newest packet has left
# its gap already.)
cdef void rewrite_drop(Rewrite* state, uint16_t seq) noexcept nogil
# Same source after a pause: the next packet follows on by +1, and timestamps stay on the source's clock.
cdef void rewrite_resume(Rewrite* state) noexcept nogil
# Another source, or the same one began numbering anew: the next packet follows on by +1, its timestamp by the
# time that has passed.
cdef void rewrite_switch(Rewrite* state) noexcept nogil
# Which packet of the present source went out as `out_seq`, and what to add to its timestamp. False: none
# that is remembered.
cdef bint rewrite_inverse(const Rewrite* state, uint16_t out_seq, uint16_t* seq, uint32_t* ts_offset) noexcept nogil
# A sender report's timestamp, translated. Only meaningful once `started` and with nothing pending.
cdef uint32_t rewrite_timestamp(const Rewrite* state, uint32_t timestamp) noexcept nogil
