"""One sender and the receivers that verify: a native thread that paces frames, and times what comes back.

Every received packet is authenticated and opened, its sequence number, its timestamp and the counter in its payload
are held against the packet before. Latency is the kernel's time of arrival less the time of sending.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from bench.native.net cimport (
    CLOCK_MONOTONIC, CLOCK_REALTIME, NET_BATCH, NET_MESSAGE, POLLIN, net_batch, net_clock, net_prepare, net_receive,
    net_received, net_send, net_wait, pollfd,
)
from rtp_core.protect cimport SRTP_OK, SrtpContext, srtp_open_rtcp, srtp_open_rtp, srtp_out, srtp_seal_apart
from rtp_core.rtp cimport RTP_OK, RtpHeader, load16, load32, load64, rtp_parse, store16, store32, store64

from array import array

cdef enum:
    MAX_RECEIVERS = 1024
    STUCK_NS = 200_000_000  # a frame of many packets to a thousand takes a while on a busy machine
    LATE_NS = 300_000_000  # a packet may be, before it is missing
    QUIET_NS = 50_000_000
    HEAD = 24  # RTP header, extension header, MID and transport-wide number
    KEY_INTERVAL = 60  # frames
    VP8_LEN = 10  # descriptor and frame header
    STAMPED = VP8_LEN + 16

cdef struct Receiver:
    int fd
    SrtpContext* context
    uint32_t ssrc
    bint started
    uint16_t sequence
    uint32_t timestamp
    int64_t counter
    int64_t packets
    int64_t missing
    int64_t twice
    int64_t forged
    int64_t disorder

cdef struct State:
    int fd
    SrtpContext* context
    uint32_t ssrc
    uint8_t payload_type
    uint8_t mid[2]  # extension id, value
    uint8_t twcc_id
    uint16_t twcc
    uint16_t sequence
    uint32_t timestamp
    int64_t frames
    int64_t counter  # of packets sent
    int packets_per_frame
    int payload_size
    int64_t interval_ns  # between frames; 0: as many as `window` lets through
    int window  # frames under way
    int64_t end
    Receiver* receivers
    int count
    net_batch* into
    net_batch* out
    uint8_t* arena
    uint8_t* sealed
    int64_t* latencies
    int64_t room
    int64_t measured
    int64_t stalls
    int64_t send_failures


cdef void send_frame(State* s) noexcept nogil:
    cdef uint8_t plain[2048]
    cdef uint8_t* at = s.sealed
    cdef int i, length
    cdef bint key = s.frames % KEY_INTERVAL == 0
    for i in range(s.packets_per_frame):
        at[0] = 0x90
        at[1] = <uint8_t>(s.payload_type | (0x80 if i == s.packets_per_frame - 1 else 0))
        store16(at + 2, s.sequence)
        store32(at + 4, s.timestamp)
        store32(at + 8, s.ssrc)
        store32(at + 12, <uint32_t>0xBEDE0002)
        at[16] = <uint8_t>(s.mid[0] << 4)  # one byte
        at[17] = s.mid[1]
        at[18] = <uint8_t>(s.twcc_id << 4 | 1)
        store16(at + 19, s.twcc)
        memset(at + 21, 0, 3)
        memset(plain, 0, VP8_LEN)
        plain[0] = 0x10 if i == 0 else 0  # RFC 7741: the beginning of a partition
        plain[1] = 0 if key else 1
        plain[4], plain[5], plain[6] = 0x9D, 0x01, 0x2A
        store64(plain + VP8_LEN, <uint64_t>net_clock(CLOCK_REALTIME))
        store64(plain + VP8_LEN + 8, <uint64_t>s.counter)
        if srtp_seal_apart(&s.context.seal, srtp_out(s.context, s.ssrc), at, HEAD, plain, s.payload_size, &length) != SRTP_OK:
            s.send_failures += 1
            return
        at += length
        s.sequence += 1
        s.twcc += 1
        s.counter += 1
    s.frames += 1
    s.timestamp += 3000
    net_prepare(s.out, 0, s.sealed, <int>(at - s.sealed), length, 0, 0)
    if net_send(s.fd, s.out, 1) != 1:
        s.send_failures += 1


cdef void judge(State* s, Receiver* r, uint8_t* data, int size, int64_t at) noexcept nogil:
    cdef RtpHeader header
    cdef int64_t counter, sent
    cdef const uint8_t* body
    if size < 28 or data[0] < 128:
        return
    if 192 <= data[1] <= 223:
        srtp_open_rtcp(r.context, data, &size)
        return
    if srtp_open_rtp(r.context, data, &size) != SRTP_OK or rtp_parse(data, size, &header) != RTP_OK:
        r.forged += 1
        return
    body = data + header.header_len
    if header.payload_len < STAMPED or not load64(body + VP8_LEN):
        return  # none of ours: a server's own probe
    if not r.started:
        r.ssrc = header.ssrc
    elif header.ssrc != r.ssrc:
        return
    sent = <int64_t>load64(body + VP8_LEN)
    counter = <int64_t>load64(body + VP8_LEN + 8)
    r.packets += 1
    if r.started:
        if counter <= r.counter:
            r.twice += 1
        elif counter > r.counter + 1:
            r.missing += counter - r.counter - 1
        if <uint16_t>(header.sequence - r.sequence) != counter - r.counter or (
            header.timestamp - r.timestamp != <uint32_t>(
                3000 * (counter // s.packets_per_frame - r.counter // s.packets_per_frame))
        ):
            r.disorder += 1
    r.started = True
    r.sequence = header.sequence
    r.timestamp = header.timestamp
    r.counter = counter
    if at and s.measured < s.room:
        s.latencies[s.measured] = at - sent
        s.measured += 1


cdef void receive(State* s, Receiver* r) noexcept nogil:
    cdef int got, i, size, segment, offset, length
    cdef int64_t at
    while True:
        got = net_receive(r.fd, s.into, s.arena, 16, NET_MESSAGE)
        for i in range(got):
            size = net_received(s.into, i, &segment, &at)
            offset = 0
            while offset < size:
                length = segment if size - offset > segment else size - offset
                judge(s, r, s.arena + <size_t>i * NET_MESSAGE + offset, length, at)
                offset += segment
        if got < 16:
            return


cdef bint whole(State* s) noexcept nogil:
    """Each receiver has the last packet that was sent."""
    cdef int i
    for i in range(s.count):
        if not s.receivers[i].started or s.receivers[i].counter + 1 != s.counter:
            return False
    return True


cdef void drive(State* s) noexcept nogil:
    cdef pollfd fds[MAX_RECEIVERS]
    cdef int64_t now = net_clock(CLOCK_MONOTONIC)
    cdef int64_t due = now
    cdef int64_t progress = now
    cdef int64_t base = s.counter  # packets that are no longer waited for
    cdef int64_t seen, wait
    cdef int i
    for i in range(s.count):
        fds[i].fd = s.receivers[i].fd
        fds[i].events = POLLIN
    while now < s.end:
        if s.interval_ns:
            wait = due - now
            if wait <= 0:
                send_frame(s)
                due += s.interval_ns
                if due < now:
                    due = now  # this thread was held up: don't burst
                continue
        else:
            seen = s.counter
            for i in range(s.count):
                if not s.receivers[i].started:
                    seen = 0
                elif s.receivers[i].counter + 1 < seen:
                    seen = s.receivers[i].counter + 1
            if seen > base:
                base = seen
                progress = now
            if s.counter - base < s.window * s.packets_per_frame:
                send_frame(s)
                now = net_clock(CLOCK_MONOTONIC)
                if s.counter - base < s.window * s.packets_per_frame:
                    continue
            if now - progress > STUCK_NS:
                s.stalls += 1
                base = s.counter
                progress = now
            wait = 5_000_000
        if net_wait(fds, s.count, wait) > 0:
            for i in range(s.count):
                if fds[i].revents:
                    receive(s, &s.receivers[i])
        now = net_clock(CLOCK_MONOTONIC)
    # What is still under way; where nothing is missing, only what comes twice.
    due = now + LATE_NS
    while now < due and net_wait(fds, s.count, min(due - now, QUIET_NS if whole(s) else LATE_NS)) > 0:
        for i in range(s.count):
            if fds[i].revents:
                receive(s, &s.receivers[i])
        now = net_clock(CLOCK_MONOTONIC)


cdef class Driver:
    """Sends one video stream at `fd` (connected) under `pair`; `receivers` are (fd, rtp_core.srtp.SrtpPair).

    The slowest receiver's progress lets the next frames out when `run` is given a window. Pairs belong to the driver's
    thread while it runs.
    """

    cdef State s
    cdef object kept

    def __cinit__(self, int fd, pair, list receivers, *, int payload_type, int mid_id, bytes mid, int twcc_id,
                  uint32_t ssrc, int room=4_000_000):
        if not 0 < len(receivers) <= MAX_RECEIVERS or len(mid) != 1:
            raise ValueError(f"between 1 and {MAX_RECEIVERS} receivers, and a mid of one byte")
        self.kept = (pair, receivers)
        self.s.fd = fd
        self.s.context = <SrtpContext*><size_t>pair.context_address
        self.s.ssrc = ssrc
        self.s.payload_type = payload_type
        self.s.mid[0] = mid_id
        self.s.mid[1] = mid[0]
        self.s.twcc_id = twcc_id
        self.s.count = len(receivers)
        self.s.room = room
        self.s.receivers = <Receiver*>calloc(self.s.count, sizeof(Receiver))
        self.s.into = <net_batch*>calloc(1, sizeof(net_batch))
        self.s.out = <net_batch*>calloc(1, sizeof(net_batch))
        self.s.arena = <uint8_t*>malloc(16 * NET_MESSAGE)
        self.s.sealed = <uint8_t*>malloc(NET_MESSAGE)
        self.s.latencies = <int64_t*>malloc(room * sizeof(int64_t))
        if not (self.s.receivers and self.s.into and self.s.out and self.s.arena and self.s.sealed and self.s.latencies):
            raise MemoryError
        for i, (one, opener) in enumerate(receivers):
            self.s.receivers[<int>i].fd = one
            self.s.receivers[<int>i].context = <SrtpContext*><size_t>opener.context_address

    def __dealloc__(self):
        free(self.s.receivers)
        free(self.s.into)
        free(self.s.out)
        free(self.s.arena)
        free(self.s.sealed)
        free(self.s.latencies)

    def run(self, double seconds, *, int packets, int payload, int window=0, double fps=0) -> dict:
        """Frames of `packets` of `payload` bytes: `fps` of them a second, or as many as fit into `window`."""
        cdef int i
        cdef int64_t before = self.s.counter
        cdef int64_t begun
        if not STAMPED <= payload <= 1300 or not 1 <= packets <= 48 or (fps <= 0) == (window <= 0):
            raise ValueError("a payload of up to 1300 bytes, 1 to 48 packets, and either fps or a window")
        self.s.packets_per_frame = packets
        self.s.payload_size = payload
        self.s.interval_ns = <int64_t>(1e9 / fps) if fps > 0 else 0
        self.s.window = window
        self.s.measured = 0
        self.s.stalls = 0
        self.s.send_failures = 0
        # A frame size that changes would upset the arithmetic of timestamps.
        self.s.counter = (before + packets - 1) // packets * packets
        before = self.s.counter
        for i in range(self.s.count):
            receiver = &self.s.receivers[i]
            receiver.started = False
            receiver.packets = receiver.missing = receiver.twice = receiver.forged = receiver.disorder = 0
        begun = net_clock(CLOCK_MONOTONIC)
        self.s.end = begun + <int64_t>(seconds * 1e9)
        with nogil:
            drive(&self.s)
        every = range(self.s.count)
        return {
            "sent": self.s.counter - before,
            "seconds": (net_clock(CLOCK_MONOTONIC) - begun) / 1e9,
            "received": sum(self.s.receivers[<int>k].packets for k in every),
            "missing": sum(self.s.receivers[<int>k].missing for k in every),
            "twice": sum(self.s.receivers[<int>k].twice for k in every),
            "forged": sum(self.s.receivers[<int>k].forged for k in every),
            "disorder": sum(self.s.receivers[<int>k].disorder for k in every),
            "stalls": self.s.stalls,
            "send_failures": self.s.send_failures,
        }

    def latencies(self) -> object:
        """Of the last run, in nanoseconds, sorted."""
        cdef int64_t i
        out = array("q", bytes(8 * self.s.measured))
        for i in range(self.s.measured):
            out[i] = self.s.latencies[i]
        return array("q", sorted(out))
