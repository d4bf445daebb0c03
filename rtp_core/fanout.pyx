"""Who gets a packet, under which numbers; and when a key frame has to be asked for on the way."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from rtp_core.egress cimport egress_ready, send_held
from rtp_core.keyframe cimport FRAME_KEY, FRAME_SPARE
from rtp_core.objects cimport DIRTY_STARTED, MAX_HELD, Consumer, Core, Held, Producer, mark
from rtp_core.outbox cimport outbox_reserve
from rtp_core.overload cimport (
    RANK_BEGIN, RANK_SHED, RANK_SOUND, RANK_VIDEO, Share, overload_admit, overload_turn,
)
from rtp_core.rewrite cimport REWRITE_DROP, rewrite_drop, rewrite_packet, rewrite_resume
from rtp_core.upstream cimport request_keyframe

cdef enum:
    HELD_OFF_US = 2_000_000  # a consumer's video, when it was shed

cdef extern from *:
    """
    // The asm keeps GCC from taking a function that only fetches for one without effect, and leaving it out.
    #define tdm_prefetch(p) do { __builtin_prefetch(p); __asm__ volatile(""); } while (0)
    """
    void prefetch "tdm_prefetch"(const void* at) noexcept nogil


cdef Held* fanout_hold(Core* core, Producer* producer, int64_t now) noexcept nogil:
    cdef Held* held
    if core.held_count == MAX_HELD:
        fanout_flush(core, now)
    held = &core.held[core.held_count]
    core.held_count += 1
    held.producer = producer
    held.next = NULL
    held.pad = 0
    held.head_router = NULL
    if producer.first_held == NULL:
        core.holding[core.holding_count] = producer
        core.holding_count += 1
        producer.first_held = held
    else:
        producer.last_held.next = held
    producer.last_held = held
    return held


cdef void fanout_flush(Core* core, int64_t now) noexcept nogil:
    """Sound first: it is little, and what goes before it is what it waits for."""
    cdef uint32_t i
    if core.holding_count == 0:
        return
    for i in range(core.holding_count):
        if not core.holding[i].is_video:
            fanout_producer(core, core.holding[i], now)
    for i in range(core.holding_count):
        fanout_producer(core, core.holding[i], now)
    core.holding_count = 0
    core.held_count = 0


cdef inline bint of_one_frame(const Held* a, const Held* b) noexcept nogil:
    """And with the same header extensions, so that headers are of one size."""
    return a.timestamp == b.timestamp and a.view.present == b.view.present


cdef void even_out(Held* held) noexcept nogil:
    """Packetizers cut a frame into pieces that differ by a byte, the larger ones last; equal ones share a message.

    The smaller ones get a byte of padding (RFC 3550 section 5.1), in the place of the tag that was checked. A
    retransmission goes without: it is the payload that it repeats (RFC 4588 section 4).
    """
    cdef Held* begin = held  # of pieces of one size
    cdef Held* one
    while held != NULL:
        if held.body_len == begin.body_len + 1 and begin.body_len and begin.pad == 0 and of_one_frame(begin, held):
            one = begin
            while one != held:
                (<uint8_t*>one.body)[one.body_len] = 1
                one.pad = 1
                one = one.next
        elif held.body_len + held.pad != begin.body_len + begin.pad or not of_one_frame(begin, held):
            begin = held
        held = held.next


cdef inline void fetch_ahead(const Consumer* consumer) noexcept nogil:
    """The state of those whose turn comes soon lies here and there: each step fetches what the next one reads."""
    if consumer == NULL:
        return
    prefetch(consumer.transport.seal.cipher)
    prefetch(&consumer.transport.paths)
    consumer = consumer.next_of_producer
    if consumer == NULL:
        return
    prefetch(consumer.transport)
    prefetch(&consumer.mid)
    prefetch(&consumer.out)
    prefetch(&consumer.counters)
    prefetch(&consumer.rewrite)
    prefetch(&consumer.rewrite.segments)
    prefetch(consumer.next_of_producer)


cdef void fanout_producer(Core* core, Producer* producer, int64_t now) noexcept nogil:
    """The places stay taken until the whole batch is flushed: only the producer's list is emptied."""
    cdef Held* first = producer.first_held
    cdef Held* held = first
    cdef Consumer* consumer = producer.consumers
    cdef Share* share
    cdef uint32_t count = 0
    cdef bint key = False
    cdef bint wanted = False
    cdef bint new = False
    if first == NULL:
        return
    producer.first_held = NULL
    if producer.is_video:
        even_out(first)
    share = &producer.transport.router.share
    overload_turn(&core.overload, now)
    while held != NULL:
        count += held.body_len != 0
        key = key or held.flags & FRAME_KEY
        held = held.next
    while consumer != NULL:
        fetch_ahead(consumer.next_of_producer)
        if consumer.paused or (consumer.waiting and (not key or now < consumer.held_off_us)):
            pass_by(consumer, first)
        else:
            serve(core, consumer, share, first, count, now)
        if consumer.waiting and not consumer.paused and now >= consumer.held_off_us:
            wanted = True
            new = new or not consumer.started
        consumer = consumer.next_of_producer
    if wanted and not producer.keyframe.waiting:
        request_keyframe(core, producer, now, new)


cdef void pass_by(Consumer* consumer, const Held* held) noexcept nogil:
    """Nothing of this is for the consumer."""
    while held != NULL:
        if held.body_len == 0:  # padding to probe bandwidth: takes a number, carries nothing
            rewrite_drop(&consumer.rewrite, held.sequence)
        elif not consumer.paused:
            consumer.counters.dropped += 1
        held = held.next


cdef void shed(Core* core, Consumer* consumer, const Held* held, uint32_t count, int64_t now) noexcept nogil:
    """The room has had its share. Numbers close up, so that nobody asks for what was left out.

    Frames that no other needs may be missing. After any other the picture stands still, for long enough that the
    rest of the room gets through, and goes on at a key frame.
    """
    if consumer.is_video:
        core.counters.shed_load_video += count
    else:
        core.counters.shed_load_sound += count
    while held != NULL:
        rewrite_drop(&consumer.rewrite, held.sequence)
        if held.body_len:
            consumer.counters.dropped += 1
            if consumer.is_video and not held.flags & FRAME_SPARE:
                consumer.waiting = 1
        held = held.next
    if consumer.waiting:
        core.counters.shed_consumers += 1
        consumer.held_off_us = now + HELD_OFF_US
        rewrite_resume(&consumer.rewrite)


cdef inline uint8_t lot_of(const Consumer* consumer) noexcept nogil:
    """Who gives way first: by lot, and the same each time."""
    return <uint8_t>(consumer.head.index * <uint32_t>0x9E3779B1 >> 24)


cdef void serve(Core* core, Consumer* consumer, Share* share, Held* held, uint32_t count, int64_t now) noexcept nogil:
    cdef bint ready = egress_ready(consumer.transport)
    cdef int rank = RANK_SOUND
    if consumer.is_video:
        rank = RANK_BEGIN if consumer.waiting else RANK_VIDEO
    if ready:
        rank = overload_admit(&core.overload, share, now, rank, lot_of(consumer), count)
        if rank == RANK_SHED:
            shed(core, consumer, held, count, now)
            return
        outbox_reserve(&core.out, count)
    while held != NULL:
        if held.body_len == 0:
            rewrite_drop(&consumer.rewrite, held.sequence)
        elif consumer.waiting and not held.flags & FRAME_KEY:
            consumer.counters.dropped += 1
        elif ready:
            deliver(core, consumer, rank, held, now)
        elif consumer.is_video and not consumer.waiting:
            # Consent ran out or the path has gone: when it is back, video begins at a key frame.
            consumer.waiting = 1
            rewrite_resume(&consumer.rewrite)
        else:
            consumer.counters.dropped += 1
        held = held.next


cdef inline void deliver(Core* core, Consumer* consumer, int rank, Held* held, int64_t now) noexcept nogil:
    cdef uint16_t sequence
    cdef uint32_t timestamp
    consumer.waiting = 0
    if rewrite_packet(&consumer.rewrite, held.sequence, held.timestamp, now, &sequence, &timestamp) == REWRITE_DROP \
            or not send_held(core, consumer, now, rank, held, sequence, timestamp):
        consumer.counters.dropped += 1
        return
    core.counters.forwarded += 1
    consumer.counters.packets += 1
    consumer.counters.bytes += held.body_len
    consumer.packets_sent += 1
    consumer.octets_sent += held.body_len
    if held.flags & FRAME_KEY:
        consumer.counters.key_frames += 1
    if not consumer.started:
        consumer.started = 1
        mark(core, &consumer.head, DIRTY_STARTED)
