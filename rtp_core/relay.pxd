"""What other engines handed over: the packets of mirrors, for their consumers here, and requests for key frames."""

from libc.stdint cimport int64_t

from rtp_core.objects cimport Core

# Takes and sends on up to a batch from each engine. True: there may be more.
cdef bint relay_receive(Core* core, int64_t now) noexcept nogil
cdef bint relay_waiting(const Core* core) noexcept nogil  # is there anything to receive?
cdef void relay_answer(Core* core) noexcept nogil  # the bells, before receiving
