"""The engine's objects as plain structs: core, routers, transports, producers, consumers.

Only the engine's thread writes them. The Trio thread reads counters and states (aligned words, so a value is
old or new, never torn) and names objects by handle: kind, generation and index. Slabs never shrink or move.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rtp_core.cache cimport PacketCache, ResendGuard
from rtp_core.deadlines cimport Deadline, Deadlines, deadline_hasten
from rtp_core.ext cimport ExtMap, ExtSlots, ExtView
from rtp_core.keyframe cimport KeyframeThrottle
from rtp_core.levels cimport LevelMeter, SpeakerSelector
from rtp_core.nack cimport NackTracker
from rtp_core.outbox cimport SLOT_SIZE, OutLast, Outbox
from rtp_core.overload cimport Overload, Share
from rtp_core.reception cimport Reception
from rtp_core.rewrite cimport Rewrite
from rtp_core.ring cimport Bell, Ring
from rtp_core.route cimport Limiter, Map64, Path
from rtp_core.protect cimport SRTP_MAX_SSRCS, SrtpContext, SrtpOut, SrtpSeal
from rtp_core.twcc cimport TwccLog

cdef enum:
    KIND_ROUTER = 1
    KIND_TRANSPORT = 2
    KIND_PRODUCER = 3
    KIND_CONSUMER = 4
    KIND_RELAY = 5

cdef enum Dirty:
    # What the Trio thread is to be told about an object; bits, so that tellings coalesce.
    DIRTY_REMOVED = 1
    DIRTY_STATE = 2
    DIRTY_STARTED = 4
    DIRTY_SPEAKER = 8

cdef enum EventType:
    EVENT_DTLS = 1
    EVENT_LEVELS = 2

cdef struct LevelEntry:
    uint64_t producer
    double level

cdef enum:
    MAX_LEVELS = 120  # of one event

cdef struct EventHead:
    uint32_t type
    uint32_t size  # bytes of DTLS, or number of LevelEntry that follow
    uint64_t handle

cdef enum IceState:
    ICE_NEW = 0
    ICE_CONNECTED = 1
    ICE_DISCONNECTED = 2
    ICE_FAILED = 3

cdef enum:
    MAX_PATHS = 8
    MAX_UFRAG = 32
    MAX_PASSWORD = 64
    MAX_MID = 32
    MAX_CNAME = 64
    MAX_PAYLOADS = 32
    NO_PAYLOAD = 0xFF
    MAX_PACKET = 1900  # larger ones are not taken: room for extensions and the tag
    EVENT_SIZE = 2048
    MAX_HELD = 64  # packets that are fanned out together
    MAX_ENGINES = 16  # of one server
    HEAD_ROOM = 512  # of an outgoing header with its extensions
    LINE = 64  # bytes of a cache line

cdef struct Head:
    uint64_t handle  # 0: the place is free
    uint32_t dirty
    uint32_t index

cdef struct Slab:
    uint8_t** chunks  # of a huge page each
    uint32_t chunk_count
    uint32_t each  # objects of a chunk
    uint32_t item_size

cdef struct IceCredentials:
    uint8_t ufrag[MAX_UFRAG]
    uint8_t password[MAX_PASSWORD]
    uint8_t ufrag_len
    uint8_t password_len

cdef struct IcePath:
    Path path
    int64_t checked_us  # last valid check

cdef struct Payload:
    uint8_t type  # the producer's
    uint8_t router_type
    uint8_t router_rtx_type  # NO_PAYLOAD: none
    uint8_t codec  # keyframe's CODEC_*
    uint8_t is_rtx
    uint8_t apt  # of RTX: the producer's payload type it repairs
    uint8_t nack  # negotiated
    uint8_t fir_only  # FIR instead of PLI
    uint32_t clock_rate

cdef struct SsrcEntry:
    uint32_t ssrc
    uint8_t is_rtx
    Producer* producer

cdef struct StreamCounters:
    uint64_t packets
    uint64_t bytes
    uint64_t dropped
    uint64_t nacks
    uint64_t plis
    uint64_t retransmitted
    uint64_t key_frames
    int64_t lost
    double jitter_ms
    int64_t rtt_us  # -1: unknown
    uint64_t bitrate
    uint64_t bytes_before  # at the last measurement
    int64_t measured_us

cdef struct LinkShare:
    # How much of a way a room has written, in that window.
    uint32_t window
    uint32_t written

cdef struct Router:
    Head head
    ExtMap ext_out  # ids that consumers get
    Transport* transports
    Producer* producers  # audio only: those with levels
    SpeakerSelector speaker
    Deadline timer  # of the next levels
    Share share  # of what the engine can send
    uint8_t was_loud  # the last levels told were not all silence
    LinkShare shares[MAX_ENGINES]  # of the ways to other engines

cdef struct Transport:
    Head head
    # what each packet to it reads and writes
    SrtpContext* srtp  # NULL until DTLS has made keys
    SrtpSeal seal  # its
    Router* router
    int32_t selected  # of its paths; -1: none
    int32_t state  # IceState
    uint64_t packets_out
    uint64_t bytes_out
    OutLast last_out  # the message that it was last written in
    uint16_t twcc_out
    int64_t rtt_us  # -1: unknown
    # ICE
    IcePath paths[MAX_PATHS]
    int32_t path_count
    uint32_t selected_channel  # for the Trio thread: 0 when the selected path is UDP
    int64_t consent_us  # last valid check on any path
    IceCredentials current
    IceCredentials former  # before a restart; ufrag_len 0: none
    int64_t checks_paid_us  # until then the client has had its checks: see `allowance_take`
    int64_t dtls_paid_us  # and its DTLS
    # what belongs to it
    Transport* next_of_router
    Transport* previous_of_router
    Producer* producers
    Consumer* consumers
    # media that comes in
    ExtMap ext_in  # ids of what the client sends
    SsrcEntry ssrcs[SRTP_MAX_SSRCS]
    int32_t ssrc_count
    uint32_t own_ssrc  # sender of our feedback and receiver reports
    TwccLog* twcc  # NULL until the first packet with a transport-wide number
    uint32_t twcc_media_ssrc
    int64_t twcc_due
    int64_t report_due
    Deadline timer  # the earliest of all that it waits for
    uint32_t rrtr_ssrc  # of the last receiver reference time (RFC 3611), 0: none
    uint32_t rrtr_ntp
    int64_t rrtr_at
    uint64_t remb  # bit/s, as the client last estimated; 0: never
    # counters
    uint64_t packets_in
    uint64_t bytes_in
    uint64_t srtp_errors
    uint64_t dropped

cdef struct Producer:
    Head head
    Transport* transport
    Producer* next_of_transport
    Producer* next_of_router
    Producer* previous_of_router
    Consumer* consumers
    Relay* relays  # to other engines
    uint64_t origin  # of a mirror: the producer that it stands for, on engine `peer`; else 0
    uint32_t peer
    uint32_t sources  # how often the sender took another SSRC
    uint32_t breaks  # how often its numbers jumped; of a mirror: or packets were lost on the way here
    Held* first_held
    Held* last_held
    uint8_t is_video
    uint8_t paused
    uint8_t started
    uint8_t mid[MAX_MID]
    uint8_t mid_len
    Payload payloads[MAX_PAYLOADS]
    uint8_t payload_count
    uint8_t payload_index[128]  # payload type -> index, NO_PAYLOAD: not negotiated
    uint32_t clock_rate
    # the stream
    uint32_t ssrc  # 0: not known yet
    uint32_t rtx_ssrc
    uint32_t former_ssrc
    int64_t switched_us
    uint8_t last_payload  # index of the payload last seen
    Reception reception
    NackTracker nack
    PacketCache cache  # video; slots NULL otherwise
    KeyframeThrottle keyframe
    uint8_t fir_seq
    LevelMeter level
    uint8_t sr_known
    uint64_t sr_ntp
    uint32_t sr_timestamp
    int64_t sr_at
    StreamCounters counters

cdef struct Relay:
    # A producer's way to its mirror on another engine, at the producer's end.
    Head head
    Producer* producer
    Relay* next_of_producer
    uint64_t mirror  # the handle there
    uint32_t peer  # which engine
    uint32_t breaks  # how often packets were lost on the way
    uint8_t paused  # nobody there wants it

cdef struct Link:
    # One engine's way to another: records of link.pxd, and the bell of who reads them.
    Ring ring
    Bell bell
    uint8_t pad[64]
    uint32_t spoken  # writer's: something was written since the bell was rung
    uint32_t window  # writer's: which of the stretches that shares are counted in
    uint32_t written  # in it
    uint32_t rooms  # that wrote in it
    uint32_t rooms_before  # in the one before

cdef struct Consumer:
    Head head
    # what each packet reads and writes, side by side
    Consumer* next_of_producer
    Transport* transport
    uint32_t ssrc
    uint8_t is_video
    uint8_t paused
    uint8_t waiting  # for a key frame
    uint8_t started
    int64_t held_off_us  # shed until then
    uint8_t mid[MAX_MID]
    uint8_t mid_len
    SrtpOut out
    uint32_t packets_sent  # of the sender reports
    uint32_t octets_sent
    StreamCounters counters
    Rewrite rewrite
    # what is asked for now and then
    ResendGuard guard
    Producer* producer  # NULL once that is gone
    Consumer* previous_of_producer
    Consumer* next_of_transport
    Consumer* previous_of_transport
    SrtpOut rtx_out
    uint32_t rtx_ssrc  # 0: none
    uint16_t rtx_seq
    uint8_t cname[MAX_CNAME]
    uint8_t cname_len
    uint8_t fir_seq
    uint8_t fir_known
    uint32_t sr_compact  # of the last sender report sent
    int64_t sr_at

cdef struct Held:
    # A packet that has come, until the batch it came with is fanned out. Points into the receiver's memory.
    Producer* producer
    Held* next
    const uint8_t* body
    uint32_t body_len  # 0: padding, which only takes a number
    uint32_t pad  # bytes of padding behind it
    uint32_t timestamp
    uint16_t sequence
    uint8_t marker
    uint8_t router_type
    int flags  # keyframe's FRAME_*
    ExtView view
    # The outgoing header as written for the last consumer: the next one's differs in a few fields.
    Router* head_router  # NULL: not written yet
    uint8_t head_mid_len
    int head_len
    ExtSlots slots
    uint8_t head[HEAD_ROOM]

cdef struct Counters:
    uint64_t packets_in
    uint64_t bytes_in
    uint64_t packets_out
    uint64_t bytes_out
    uint64_t unknown_address
    uint64_t unknown_kind
    uint64_t oversize
    uint64_t bad_stun
    uint64_t stun_answers
    uint64_t stun_limited
    uint64_t stun_unknown_ufrag
    uint64_t checks_limited  # by those who had had theirs
    uint64_t auth_failures  # STUN
    uint64_t dtls_in
    uint64_t dtls_limited
    uint64_t dtls_out
    uint64_t srtp_auth_failures
    uint64_t srtp_replays
    uint64_t srtp_other
    uint64_t no_keys
    uint64_t bad_rtp
    uint64_t unknown_ssrc
    uint64_t unknown_payload
    uint64_t duplicates
    uint64_t bad_rtcp
    uint64_t forwarded
    uint64_t batches  # of packets that came together
    uint64_t messages_in  # datagrams, or several coalesced
    uint64_t messages_out  # datagrams, or several in one UDP_SEGMENT message
    uint64_t segments_refused  # such messages that went out one by one after all
    uint64_t seal_failures
    uint64_t no_path
    uint64_t outbox_overflow
    uint64_t retransmissions
    uint64_t plis_sent
    uint64_t nacks_sent
    uint64_t events_dropped
    uint64_t send_errors
    uint64_t send_refused  # packets that the kernel had no room for at the first try
    uint64_t send_delayed  # of these, sent later
    uint64_t shed_socket_control  # of these, lost
    uint64_t shed_socket_sound
    uint64_t shed_socket_video
    uint64_t shed_socket_repair
    uint64_t shed_load_sound  # not even sealed: the room had had its share
    uint64_t shed_load_video
    uint64_t shed_load_repair
    uint64_t shed_consumers  # times that one's video was held off
    uint64_t receive_lost  # by the kernel, for want of room in our receive buffers
    uint64_t receive_buffer  # bytes that the kernel grants the UDP sockets, by its own way of counting
    uint64_t send_buffer
    uint64_t receive_queue_max  # the most that one of them was seen to use
    uint64_t receive_errors
    uint64_t tcp_accepted
    uint64_t tcp_refused
    uint64_t tcp_closed
    uint64_t tcp_dropped
    uint64_t commands
    uint64_t relayed_out  # packets handed to other engines
    uint64_t relayed_in
    uint64_t relay_video_dropped  # because the other engine lags behind
    uint64_t relay_audio_dropped
    uint64_t relay_requests_dropped
    uint64_t relay_strays  # for objects that have gone meanwhile
    uint64_t no_memory
    uint64_t loops
    uint64_t late_us_max  # longest iteration of the loop, µs

cdef struct Settings:
    int64_t disconnected_us  # without a valid check
    int64_t failed_us
    int64_t report_us
    int64_t twcc_us
    int64_t levels_us

cdef struct Core:
    Settings settings
    Slab routers
    Slab transports
    Slab producers
    Slab consumers
    Slab relays
    uint32_t engine_count  # of this server, this one too; 0: it is alone
    Link* outgoing[MAX_ENGINES]  # by the other's index, NULL: itself
    Link* incoming[MAX_ENGINES]
    Ring commands  # Trio -> engine
    Ring events  # engine -> Trio: may be dropped
    Ring dirty  # engine -> Trio: handles; as many slots as there can be objects, so it never overflows
    Bell command_bell
    Bell event_bell
    uint32_t backlogged  # the Trio thread has commands that the ring had no room for
    Map64 by_ufrag
    Map64 by_path
    Map64 by_ssrc  # (transport index, SSRC) -> consumer index
    Deadlines deadlines  # of routers and transports
    Limiter limiter
    int64_t checks_paid_us  # of all transports together
    Outbox out
    Overload overload
    Held held[MAX_HELD]
    uint32_t held_count
    Producer* holding[MAX_HELD]  # producers with held packets
    uint32_t holding_count
    Counters counters
    uint64_t seed
    uint64_t random
    int64_t wall_offset_us  # wall clock - monotonic clock
    uint8_t scratch[SLOT_SIZE]

cdef int slab_init(Slab* slab, uint32_t capacity, uint32_t item_size) noexcept nogil
cdef void slab_free(Slab* slab) noexcept nogil
cdef Head* slab_reserve(Slab* slab, uint32_t index) noexcept nogil  # allocates its chunk; NULL: no memory
cdef Head* slab_at(Slab* slab, uint32_t index) noexcept nogil
cdef Head* slab_get(Slab* slab, uint64_t handle) noexcept nogil  # NULL: gone, or never was

cdef void mark(Core* core, Head* head, uint32_t bits) noexcept nogil
cdef uint8_t* event_claim(Core* core) noexcept nogil
cdef void event_publish(Core* core) noexcept nogil
cdef uint64_t random64(Core* core) noexcept nogil
cdef int core_init(Core* core, uint64_t seed, uint32_t scale, uint32_t out_packets) noexcept nogil
cdef void core_free(Core* core) noexcept nogil

cdef inline int kind_of(uint64_t handle) noexcept nogil:
    return <int>(handle >> 56)

cdef inline void wake_at(Core* core, Transport* transport, int64_t when) noexcept nogil:
    # The transport has something to do at `when`.
    deadline_hasten(&core.deadlines, &transport.timer, when)
