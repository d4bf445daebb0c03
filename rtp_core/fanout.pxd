"""From a batch of packets to the packets of all consumers, one consumer after the other.

What came together leaves together: a consumer's part of a frame lies in one piece, ready for one UDP_SEGMENT
message, and its state and its cipher are fetched once a frame.
"""

from libc.stdint cimport int64_t

from rtp_core.objects cimport Core, Held, Producer

# A place for one more packet of `producer`, at the end of its list; the caller fills in the rest. Never NULL: when
# there is no place, what is held goes out first.
cdef Held* fanout_hold(Core* core, Producer* producer, int64_t now) noexcept nogil
# Before something changes that packets held so far must not be touched by.
cdef void fanout_producer(Core* core, Producer* producer, int64_t now) noexcept nogil
cdef void fanout_flush(Core* core, int64_t now) noexcept nogil
