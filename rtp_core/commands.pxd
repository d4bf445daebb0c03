"""What the Trio thread asks of the engine: fixed records in the command ring, applied between packets."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from rtp_core.ext cimport EXT_KINDS
from rtp_core.objects cimport (
    MAX_CNAME, MAX_MID, MAX_PAYLOADS, Core, IceCredentials, Payload,
)
from rtp_core.outbox cimport SLOT_SIZE

cdef enum CommandType:
    ADD_ROUTER = 1
    ADD_TRANSPORT = 2
    ADD_PRODUCER = 3
    ADD_CONSUMER = 4
    REMOVE = 5
    SET_ICE = 6  # an ICE restart
    SET_SRTP = 7
    SEND_DTLS = 8
    PAUSE = 9
    RESUME = 10
    KEYFRAME = 11
    ADD_RELAY = 12

cdef struct AddRouter:
    uint8_t ext_ids[EXT_KINDS]  # by ExtKind, 0: not used

cdef struct AddTransport:
    IceCredentials ice
    uint32_t own_ssrc

cdef struct AddProducer:
    uint8_t is_video
    uint8_t mid_len
    uint8_t mid[MAX_MID]
    uint32_t ssrc  # 0: to be learnt by MID
    uint32_t rtx_ssrc
    uint8_t payload_count
    Payload payloads[MAX_PAYLOADS]
    uint8_t ext_ids[EXT_KINDS]
    uint64_t origin  # of a mirror: the producer's handle on engine `peer`; else 0
    uint32_t peer

cdef struct AddRelay:
    uint64_t mirror
    uint32_t peer

cdef struct AddConsumer:
    uint32_t ssrc
    uint32_t rtx_ssrc
    uint8_t paused
    uint8_t mid_len
    uint8_t mid[MAX_MID]
    uint8_t cname_len
    uint8_t cname[MAX_CNAME]

cdef struct Datagram:
    uint32_t size
    uint8_t data[SLOT_SIZE - 64]

cdef union CommandBody:
    AddRouter router
    AddTransport transport
    AddProducer producer
    AddConsumer consumer
    AddRelay relay
    IceCredentials ice
    void* srtp
    Datagram datagram

cdef struct Command:
    uint32_t type
    uint64_t handle
    uint64_t parent  # of an ADD_: the router or transport; the producer of a relay
    uint64_t producer  # of ADD_CONSUMER
    CommandBody body

cdef int commands_apply(Core* core, int64_t now, int limit) noexcept nogil  # returns how many
