"""The limit: what forwarding costs when nothing but the kernel and the cipher works.

recvmmsg, decrypt, and for each destination encrypt under its own key and send. No routing, no rewriting beyond the
SSRC, no statistics, no repair. A server's cost per forwarded packet is told as a multiple of this loop's.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from bench.native.net cimport (
    CLOCK_THREAD_CPUTIME_ID, NET_BATCH, NET_MESSAGE, POLLIN, net_batch, net_clock, net_prepare, net_receive,
    net_received, net_send, net_wait, pollfd,
)
from rtp_core.gcm cimport GCM_SALT, GCM_TAG, GcmKeys, gcm_free, gcm_init, gcm_rtp_nonce, gcm_seal
from rtp_core.protect cimport SRTP_OK, SrtpContext, srtp_open_rtp
from rtp_core.rtp cimport load32, store32

cdef enum:
    GSO_BYTES = 65000
    SLOT = 2048

cdef struct Destination:
    uint32_t ip
    int port
    uint32_t ssrc
    GcmKeys keys

cdef struct Stream:
    # What one SSRC of a sender goes to.
    SrtpContext* source
    Destination* destinations
    int count

cdef struct Packet:
    Stream* stream
    uint8_t* data
    int size
    int header_len
    int64_t index

cdef struct State:
    int fd
    bint gso
    int group  # packets of one message at most
    uint32_t first_ssrc
    Stream* streams  # by SSRC less the first
    int count
    net_batch* into
    net_batch* out
    uint8_t* arena
    uint8_t* sealed
    int64_t forwarded
    int64_t messages
    int64_t cpu_ns
    int64_t packets
    int stop


cdef void send_group(State* s, Packet* packets, int first, int last, int* queued, uint8_t** at) noexcept nogil:
    """Packets first..last-1, of one stream and one size but for the last, to every destination."""
    cdef Stream* stream = packets[first].stream
    cdef uint8_t nonce[GCM_SALT]
    cdef Destination* to
    cdef Packet* p
    cdef uint8_t* begin
    cdef int i, d
    for d in range(stream.count):
        to = &stream.destinations[d]
        begin = at[0]
        for i in range(first, last):
            p = &packets[i]
            memcpy(at[0], p.data, p.header_len)
            store32(at[0] + 8, to.ssrc)
            gcm_rtp_nonce(to.keys.rtp_salt, to.ssrc, p.index, nonce)
            gcm_seal(to.keys.rtp, nonce, at[0], p.header_len, p.data + p.header_len, at[0] + p.header_len,
                     p.size - p.header_len)
            at[0] += p.size + GCM_TAG
        net_prepare(s.out, queued[0], begin, <int>(at[0] - begin), packets[first].size + GCM_TAG, to.ip, to.port)
        queued[0] += 1
        s.messages += 1
        s.forwarded += last - first
        if queued[0] == 32:
            net_send(s.fd, s.out, queued[0])
            queued[0] = 0
            at[0] = s.sealed


cdef void forward(State* s, Packet* packets, int count) noexcept nogil:
    cdef uint8_t* at = s.sealed
    cdef int queued = 0
    cdef int first = 0
    cdef int last, total
    while first < count:
        last = first + 1
        total = packets[first].size + GCM_TAG
        while s.gso and last < count and packets[last].stream == packets[first].stream and \
                packets[last].size <= packets[first].size and last - first < s.group and \
                packets[last - 1].size == packets[first].size and total + packets[last].size + GCM_TAG < GSO_BYTES:
            total += packets[last].size + GCM_TAG
            last += 1
        send_group(s, packets, first, last, &queued, &at)
        first = last
    if queued:
        net_send(s.fd, s.out, queued)


cdef void loop(State* s) noexcept nogil:
    cdef Packet packets[NET_BATCH * 4]
    cdef pollfd ready
    cdef int64_t begun = net_clock(CLOCK_THREAD_CPUTIME_ID)
    cdef int64_t stamp
    cdef int got, i, size, segment, offset, length, count, slot, batch
    cdef uint32_t which
    cdef Stream* stream
    cdef uint8_t* data
    slot = NET_MESSAGE
    batch = 16 if s.gso else NET_BATCH
    if not s.gso:
        slot = SLOT
    ready.fd = s.fd
    ready.events = POLLIN
    while not s.stop:
        got = net_receive(s.fd, s.into, s.arena, batch, slot)
        if got <= 0:
            net_wait(&ready, 1, 50_000_000)
            continue
        count = 0
        for i in range(got):
            size = net_received(s.into, i, &segment, &stamp)
            offset = 0
            while offset < size:
                length = segment if size - offset > segment else size - offset
                data = s.arena + <size_t>i * slot + offset
                offset += segment
                if length < 28:
                    continue
                which = load32(data + 8) - s.first_ssrc
                if which >= <uint32_t>s.count:
                    continue
                stream = &s.streams[which]
                if srtp_open_rtp(stream.source, data, &length) != SRTP_OK:
                    continue
                packets[count].stream = stream
                packets[count].data = data
                packets[count].size = length
                packets[count].header_len = 16 + 4 * data[15] if data[0] & 16 else 12
                packets[count].index = stream.source.streams[stream.source.ssrc_last].rtp.highest
                count += 1
                s.packets += 1
                if count == NET_BATCH * 4:
                    forward(s, packets, count)
                    count = 0
        forward(s, packets, count)
    s.cpu_ns = net_clock(CLOCK_THREAD_CPUTIME_ID) - begun


cdef class Bare:
    """Forwards what arrives at `fd`: `streams` are (rtp_core.srtp.SrtpPair, destinations), that of SSRC `first_ssrc` + n
    at place n.

    A destination is (IPv4 as an integer, port, SSRC, master key and salt of AES-128-GCM). With `gso`, up to
    `group` equal packets that came together leave in one UDP_SEGMENT message; the caller has set UDP_GRO on the socket.
    """

    cdef State s
    cdef object streams
    cdef public int thread  # that runs it, by its native id, as told by whoever began it

    def __cinit__(self, int fd, list streams, *, uint32_t first_ssrc, bint gso, int group=1):
        cdef Stream* stream
        cdef Destination* to
        self.s.fd = fd
        self.s.gso = gso
        self.s.group = group
        self.s.first_ssrc = first_ssrc
        self.streams = streams
        self.s.streams = <Stream*>calloc(len(streams) + 1, sizeof(Stream))
        self.s.into = <net_batch*>calloc(1, sizeof(net_batch))
        self.s.out = <net_batch*>calloc(1, sizeof(net_batch))
        self.s.arena = <uint8_t*>malloc(NET_BATCH * NET_MESSAGE)
        self.s.sealed = <uint8_t*>malloc(33 * NET_MESSAGE)
        if not (self.s.streams and self.s.into and self.s.out and self.s.arena and self.s.sealed):
            raise MemoryError
        for source, destinations in streams:
            stream = &self.s.streams[self.s.count]
            stream.source = <SrtpContext*><size_t>source.context_address
            stream.destinations = <Destination*>calloc(len(destinations) + 1, sizeof(Destination))
            if stream.destinations == NULL:
                raise MemoryError
            self.s.count += 1
            for ip, port, ssrc, key in destinations:
                to = &stream.destinations[stream.count]
                to.ip, to.port, to.ssrc = ip, port, ssrc
                if gcm_init(&to.keys, key, 16, True) != 0:
                    raise MemoryError
                stream.count += 1

    def __dealloc__(self):
        cdef int i, k
        for i in range(self.s.count):
            for k in range(self.s.streams[i].count):
                gcm_free(&self.s.streams[i].destinations[k].keys)
            free(self.s.streams[i].destinations)
        free(self.s.streams)
        free(self.s.into)
        free(self.s.out)
        free(self.s.arena)
        free(self.s.sealed)

    def run(self) -> None:
        """Until `stop`; call it in a thread."""
        with nogil:
            loop(&self.s)

    def stop(self) -> None:
        self.s.stop = 1

    @property
    def forwarded(self) -> int:
        return self.s.forwarded

    @property
    def messages(self) -> int:
        return self.s.messages

    @property
    def cpu_ns(self) -> int:
        """CPU time of the whole run, in nanoseconds; known once `run` has returned."""
        return self.s.cpu_ns
