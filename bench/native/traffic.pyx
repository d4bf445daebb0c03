"""Many endpoints on one native thread: each sends its streams at their pace and verifies what it is sent.

Every received packet is authenticated, opened and held against what its sender stamped into it; what is missing is
asked for, what is asked of a sender is sent again. Loss is made here too, before a packet is looked at.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from bench.native.incoming cimport (
    IN_EARLY, IN_REPAIRED, IN_STRANGE, Incoming, in_free, in_init, in_missing, in_packet, in_restart,
)
from bench.native.net cimport (
    CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_THREAD_CPUTIME_ID, NET_MESSAGE, POLLIN, net_batch, net_clock, net_epoll,
    net_epoll_add, net_epoll_close, net_epoll_wait, net_receive, net_received, net_wait, pollfd,
)
from bench.native.outgoing cimport (
    OUT_STAMPED, OUT_STAMPS, Outgoing, lost_now, next_random, out_free, out_init, out_send_frame,
)
from bench.native.talk cimport ask_key, hear, tick
from rtp_core.ext cimport EXT_TRANSPORT_CC, ExtView, ext_map_set, ext_parse, ext_transport_cc
from rtp_core.nack cimport NACK_OVERFLOW, nack_packet
from rtp_core.protect cimport SRTP_OK, SRTP_REPLAY, SrtpContext, srtp_open_rtp
from rtp_core.reception cimport reception_packet
from rtp_core.rtp cimport RTP_OK, RtpHeader, load32, load64, rtp_parse, rtx_unwrap
from rtp_core.twcc cimport TwccLog, twcc_arrived, twcc_init

from array import array

cdef enum:
    TICK_US = 5_000
    READY = 256  # sockets of one wake-up
    BURST = 16  # frames sent before sockets are looked at again


# --- the order of frames: a heap by `due` ------------------------------------------------------------------

cdef void sift(Load* load, int at) noexcept nogil:
    """Moves the stream at `at` down to its place."""
    cdef Outgoing* s = load.heap[at]
    cdef int owner = load.owner[at]
    cdef int child = 2 * at + 1
    while child < load.heap_count:
        if child + 1 < load.heap_count and load.heap[child + 1].due < load.heap[child].due:
            child += 1
        if load.heap[child].due >= s.due:
            break
        load.heap[at] = load.heap[child]
        load.owner[at] = load.owner[child]
        at = child
        child = 2 * at + 1
    load.heap[at] = s
    load.owner[at] = owner


cdef bint send_due(Load* load, int64_t now) noexcept nogil:
    """The first stream's frame, if its time has come."""
    cdef Outgoing* s
    if load.heap_count == 0:
        return False
    s = load.heap[0]
    if s.due > now:
        return False
    if now - s.due > load.late_us:
        load.late_us = now - s.due
    out_send_frame(s, &load.transports[load.owner[0]].wire)
    s.due += s.interval
    if s.due < now - s.interval:
        s.due = now  # this thread was held up: what was missed is not made up for in a burst
    sift(load, 0)
    return True


# --- what arrives ------------------------------------------------------------------------------------------

cdef Incoming* incoming_of(Transport* t, uint32_t ssrc, bint* repeated) noexcept nogil:
    cdef Incoming* s
    cdef int i
    cdef int at = t.last
    for i in range(t.incoming_count):
        s = &t.incoming[at]
        if s.ssrc == ssrc or (s.rtx_ssrc == ssrc and ssrc):
            t.last = at
            repeated[0] = s.ssrc != ssrc
            return s
        at = at + 1 if at + 1 < t.incoming_count else 0
    return NULL


cdef void note_number(Transport* t, const uint8_t* data, const RtpHeader* header, int64_t now) noexcept nogil:
    cdef ExtView view
    cdef int number
    if not header.has_extension:
        return
    view.present = 0
    ext_parse(data + header.extension_offset, header.extension_len, header.extension_profile, &t.ext_in, &view)
    number = ext_transport_cc(&view)
    if number >= 0:
        twcc_arrived(t.log, <uint16_t>number, now)


cdef void judge(Load* load, Transport* t, uint8_t* data, int size, int64_t stamp, int64_t now) noexcept nogil:
    cdef RtpHeader header
    cdef Incoming* s
    cdef bint repeated = False
    cdef const uint8_t* body
    cdef int64_t delay = 0
    cdef int verdict
    if size < 12 or data[0] < 128:  # an answer to a check
        return
    if 192 <= data[1] <= 223:
        hear(load, t, data, size, now)
        return
    if lost_now(&load.random, load.loss):
        load.totals.dropped += 1
        return
    verdict = srtp_open_rtp(t.wire.context, data, &size)
    if verdict != SRTP_OK or rtp_parse(data, size, &header) != RTP_OK:
        if verdict == SRTP_REPLAY:
            load.totals.replayed += 1
        else:
            load.totals.forged += 1
        return
    load.totals.received += 1
    note_number(t, data, &header, now)
    s = incoming_of(t, header.ssrc, &repeated)
    if s == NULL:
        load.totals.unknown += 1
        return
    if repeated:
        load.totals.rtx_received += 1
        size = rtx_unwrap(data, size, &header, s.payload_type, s.ssrc, &data)
        if size < 0:
            return
    else:
        reception_packet(&s.reception, header.sequence, header.timestamp, <uint32_t>size, now)
    if header.payload_type != s.payload_type or header.payload_len < OUT_STAMPED:
        load.totals.unknown += 1
        return
    body = data + header.header_len + OUT_STAMPS
    verdict = in_packet(s, header.sequence, header.timestamp, load32(body + 20), <int64_t>load64(body + 8),
                        load32(body + 16), repeated, now, &delay)
    s.bytes += header.payload_len
    if verdict == IN_STRANGE or verdict == IN_EARLY:
        return
    if s.nack != NULL and nack_packet(s.nack, header.sequence, now) == NACK_OVERFLOW:
        ask_key(load, t, s, now)
    if verdict == IN_REPAIRED and load.repaired < load.room:
        load.repairs[load.repaired] = delay
        load.repaired += 1
    if stamp and not repeated and load.measured < load.room:
        load.latencies[load.measured] = stamp - <int64_t>load64(body)
        load.measured += 1


cdef void receive(Load* load, Transport* t, int64_t now) noexcept nogil:
    cdef int got, i, size, segment, offset, length
    cdef int64_t stamp
    while True:
        got = net_receive(t.wire.fd, load.into, load.arena, 16, NET_MESSAGE)
        for i in range(got):
            size = net_received(load.into, i, &segment, &stamp)
            offset = 0
            while offset < size:
                length = segment if size - offset > segment else size - offset
                judge(load, t, load.arena + <size_t>i * NET_MESSAGE + offset, length, stamp, now)
                offset += segment
        if got < 16:
            return


# --- the thread --------------------------------------------------------------------------------------------

cdef void drive(Load* load, int64_t end, int64_t quiet_end) noexcept nogil:
    """Sends until `end`, repairs and receives until `quiet_end`."""
    cdef int ready[READY]
    cdef int64_t now = net_clock(CLOCK_MONOTONIC) // 1000
    cdef int64_t offset = net_clock(CLOCK_REALTIME) // 1000 - now
    cdef int64_t next_tick = now
    cdef int64_t wake
    cdef int i, count
    cdef pollfd waiting
    waiting.fd = load.epoll
    waiting.events = POLLIN
    while now < quiet_end and not load.stop:
        if now < end:
            i = 0
            while i < BURST and send_due(load, now):
                i += 1
        if now >= next_tick:
            for i in range(load.count):
                tick(load, &load.transports[i], now, now + offset)
            next_tick = now + TICK_US
        wake = next_tick
        if now < end and load.heap_count and load.heap[0].due < wake:
            wake = load.heap[0].due
        now = net_clock(CLOCK_MONOTONIC) // 1000
        if net_wait(&waiting, 1, (wake - now) * 1000) > 0:
            count = net_epoll_wait(load.epoll, ready, READY)
            now = net_clock(CLOCK_MONOTONIC) // 1000
            for i in range(count):
                receive(load, &load.transports[ready[i]], now)
        now = net_clock(CLOCK_MONOTONIC) // 1000


cdef class Traffic:
    """`places` are bench.load.plan.Place; sockets and keys belong to the thread that is in `run`.

    Without `reports` no RTCP is sent, as towards the bare loop. `room` is how many latencies are kept of one run.
    """

    cdef Load load
    cdef object kept
    cdef list tags  # Outgoing addresses by tag

    def __cinit__(self, places, *, bint reports=True, uint64_t seed=1, int64_t room=2_000_000):
        cdef int i
        self.kept = list(places)
        self.load.count = len(self.kept)
        self.load.reports = reports
        self.load.random = seed * 2 + 1
        self.load.room = room
        self.load.epoll = net_epoll()
        self.load.transports = <Transport*>calloc(max(1, self.load.count), sizeof(Transport))
        total = sum(len(one.sending) for one in self.kept)
        self.load.heap = <Outgoing**>calloc(total + 1, sizeof(Outgoing*))
        self.load.owner = <int*>calloc(total + 1, sizeof(int))
        self.load.into = <net_batch*>calloc(1, sizeof(net_batch))
        self.load.out = <net_batch*>calloc(1, sizeof(net_batch))
        self.load.arena = <uint8_t*>malloc(16 * NET_MESSAGE)
        self.load.sealed = <uint8_t*>malloc(NET_MESSAGE)
        self.load.latencies = <int64_t*>malloc(room * sizeof(int64_t))
        self.load.repairs = <int64_t*>malloc(room * sizeof(int64_t))
        if not (self.load.transports and self.load.heap and self.load.owner and self.load.into and self.load.out and
                self.load.arena and self.load.sealed and self.load.latencies and self.load.repairs):
            raise MemoryError
        if self.load.epoll < 0:
            raise OSError("no epoll")
        self.tags = [None] * total
        for i in range(self.load.count):
            self._place(i, self.kept[i])

    def __dealloc__(self):
        cdef int i, k
        if self.load.transports:
            for i in range(self.load.count):
                for k in range(self.load.transports[i].outgoing_count):
                    out_free(&self.load.transports[i].outgoing[k])
                for k in range(self.load.transports[i].incoming_count):
                    in_free(&self.load.transports[i].incoming[k])
                free(self.load.transports[i].outgoing)
                free(self.load.transports[i].incoming)
                free(self.load.transports[i].log)
        free(self.load.transports)
        free(self.load.heap)
        free(self.load.owner)
        free(self.load.into)
        free(self.load.out)
        free(self.load.arena)
        free(self.load.sealed)
        free(self.load.latencies)
        free(self.load.repairs)
        net_epoll_close(self.load.epoll)

    cdef int _place(self, int index, place) except -1:
        cdef Transport* t = &self.load.transports[index]
        cdef const uint8_t* check
        check_bytes = <bytes>place.check
        if len(check_bytes) > CHECK_SIZE:
            raise ValueError("the ICE check is too long")
        check = check_bytes
        memcpy(t.check, check, len(check_bytes))
        t.check_len = len(check_bytes)
        t.wire.fd = place.fd
        t.wire.context = <SrtpContext*><size_t>place.pair.context_address
        t.wire.mid_id, t.wire.twcc_id, t.wire.level_id = place.mid_id, place.twcc_id, place.level_id
        t.wire.batch = self.load.out
        t.wire.sealed = self.load.sealed
        t.wire.random = next_random(&self.load.random) | 1
        t.own_ssrc = <uint32_t>next_random(&self.load.random) | 1
        ext_map_set(&t.ext_in, EXT_TRANSPORT_CC, place.twcc_id)
        t.log = <TwccLog*>calloc(1, sizeof(TwccLog))
        t.outgoing = <Outgoing*>calloc(len(place.sending) + 1, sizeof(Outgoing))
        t.incoming = <Incoming*>calloc(len(place.receiving) + 1, sizeof(Incoming))
        if not (t.log and t.outgoing and t.incoming):
            raise MemoryError
        twcc_init(t.log)
        for one in place.sending:
            self._sending(t, index, one)
        for one in place.receiving:
            self._receiving(t, one)
        if net_epoll_add(self.load.epoll, place.fd, index) != 0:
            raise OSError("a socket that epoll will not have")
        return 0

    cdef int _sending(self, Transport* t, int index, one) except -1:
        cdef Outgoing* s = &t.outgoing[t.outgoing_count]
        cdef double frames
        media = one.media
        if not OUT_STAMPED <= media.payload <= 1224 or media.fps <= 0 or media.key_every < 1 or len(one.mid) != 1:
            raise ValueError(f"no stream that can be sent: {one}")
        s.is_video = media.kind == "video"
        s.ssrc, s.rtx_ssrc = one.ssrc, one.rtx_ssrc
        s.payload_type, s.rtx_payload_type = one.payload_type, one.rtx_payload_type
        s.mid = one.mid[0]
        s.tag = one.tag
        s.interval = <int64_t>(1e6 / media.fps)
        s.step = <uint32_t>((90000 if s.is_video else 48000) / media.fps)
        s.key_factor = media.key_factor if s.is_video else 1
        s.key_every = media.key_every
        # A key frame's size is taken from the frames between, so that the bitrate is right on average.
        frames = media.key_every / <double>(media.key_every - 1 + s.key_factor) if s.is_video else 1.0
        s.frame_bytes = <int>(media.bitrate / 8.0 / media.fps * frames)
        s.payload_max = media.payload
        t.outgoing_count += 1
        if not out_init(s, next_random(&self.load.random) >> 2):
            raise MemoryError
        self.load.heap[self.load.heap_count] = s
        self.load.owner[self.load.heap_count] = index
        self.load.heap_count += 1
        self.tags[one.tag] = <size_t>s
        return 0

    cdef int _receiving(self, Transport* t, one) except -1:
        cdef Incoming* s = &t.incoming[t.incoming_count]
        s.is_video = one.kind == "video"
        s.ssrc, s.rtx_ssrc = one.ssrc, one.rtx_ssrc
        s.payload_type, s.rtx_payload_type = one.payload_type, one.rtx_payload_type
        s.clock_rate = 90000 if s.is_video else 48000
        s.tag = one.tag
        t.incoming_count += 1
        if not in_init(s):
            raise MemoryError
        return 0

    def run(self, double seconds, *, double loss=0.0, double loss_up=0.0, double drain=0.4) -> dict:
        """Sends for `seconds`, then waits `drain` seconds for what is under way. Shares of packets are lost each way.

        Counts of this run alone. `head` and `tail`: missing packets before the first that came and behind the last;
        `silent`: streams of which nothing came.
        """
        cdef int64_t begun = net_clock(CLOCK_MONOTONIC) // 1000
        cdef int64_t cpu = net_clock(CLOCK_THREAD_CPUTIME_ID)
        cdef int64_t end = begun + <int64_t>(seconds * 1e6)
        cdef int64_t quiet_end = end + <int64_t>(drain * 1e6)
        cdef Transport* t
        cdef int i, k
        memset(&self.load.totals, 0, sizeof(Totals))
        self.load.measured = self.load.repaired = self.load.late_us = 0
        self.load.loss = loss
        self.load.stop = 0
        for i in range(self.load.count):
            t = &self.load.transports[i]
            t.wire.loss = loss_up
            t.wire.lost = t.wire.send_failures = 0
            t.check_due = begun + <int64_t>(next_random(&self.load.random) % 4_000_000)
            t.report_due = begun + <int64_t>(next_random(&self.load.random) % 1_000_000)
            t.feedback_due = begun + <int64_t>(next_random(&self.load.random) % 100_000)
            for k in range(t.incoming_count):
                in_restart(&t.incoming[k])
        sent_before = self._sent()
        for i in range(self.load.heap_count):
            self.load.heap[i].began = self.load.heap[i].counter
            self.load.heap[i].due = begun + <int64_t>(next_random(&self.load.random) % <uint64_t>self.load.heap[i].interval)
        for i in range(self.load.heap_count // 2, -1, -1):
            if i < self.load.heap_count:
                sift(&self.load, i)
        with nogil:
            drive(&self.load, end, quiet_end)
        found = self._found()
        found["sent"], found["sent_bytes"], found["key_frames"], found["sent_again"] = [
            after - before for after, before in zip(self._sent(), sent_before)
        ]
        found["seconds"] = seconds
        found["cpu_ns"] = net_clock(CLOCK_THREAD_CPUTIME_ID) - cpu
        return found

    cdef object _sent(self):
        cdef int i
        out = [0, 0, 0, 0]
        for i in range(self.load.heap_count):
            out[0] += self.load.heap[i].packets
            out[1] += self.load.heap[i].bytes
            out[2] += self.load.heap[i].key_frames
            out[3] += self.load.heap[i].repeated
        return out

    cdef dict _found(self):
        cdef Transport* t
        cdef Incoming* s
        cdef int i, k
        cdef Outgoing* source
        found = dict(self.load.totals)
        found["late_us"] = self.load.late_us
        names = ("packets", "bytes", "missing", "head", "tail", "silent", "gaps", "repaired", "reordered", "twice", "spare",
                 "strange", "broken", "early", "lost_up", "send_failures", "streams")
        found.update(dict.fromkeys(names, 0))
        found["twice"] = found.pop("replayed")
        for i in range(self.load.count):
            t = &self.load.transports[i]
            found["lost_up"] += t.wire.lost
            found["send_failures"] += t.wire.send_failures
            for k in range(t.incoming_count):
                s = &t.incoming[k]
                found["streams"] += 1
                found["strange"] += s.strange
                if not s.started:
                    found["silent"] += 1
                    continue
                source = <Outgoing*><size_t>self.tags[s.tag]
                found["packets"] += s.packets
                found["bytes"] += s.bytes
                found["missing"] += in_missing(s)
                found["head"] += s.first - source.began
                found["tail"] += source.counter - 1 - s.highest
                found["gaps"] += s.gaps
                found["repaired"] += s.repaired
                found["reordered"] += s.reordered
                found["twice"] += s.twice
                found["spare"] += s.spare
                found["broken"] += s.broken
                found["early"] += s.early
        return found

    def stop(self) -> None:
        """Ends a run that another thread is in."""
        self.load.stop = 1

    def latencies(self) -> object:
        """Of the last run, in nanoseconds, sorted: sender's stamp to the kernel's time of arrival."""
        return self._sorted(self.load.latencies, self.load.measured)

    def repairs(self) -> object:
        """Of the last run, in microseconds, sorted: from the gap's discovery to the repair."""
        return self._sorted(self.load.repairs, self.load.repaired)

    cdef object _sorted(self, int64_t* values, int64_t count):
        cdef int64_t i
        out = array("q", bytes(8 * count))
        for i in range(count):
            out[i] = values[i]
        return array("q", sorted(out))
