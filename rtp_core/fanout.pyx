"""Who gets a packet, under which numbers; and when a key frame has to be asked for on the way."""

from libc.stdint cimport int64_t, uint16_t, uint32_t

from rtp_core.egress cimport egress_ready, send_held
from rtp_core.keyframe cimport FRAME_KEY
from rtp_core.objects cimport DIRTY_STARTED, MAX_HELD, Consumer, Core, Held, Producer, mark
from rtp_core.rewrite cimport REWRITE_DROP, rewrite_drop, rewrite_packet, rewrite_resume
from rtp_core.upstream cimport request_keyframe

cdef extern from *:
    """
    #define tdm_prefetch(p) __builtin_prefetch(p)
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
    cdef uint32_t i
    for i in range(core.holding_count):
        fanout_producer(core, core.holding[i], now)
    core.holding_count = 0
    core.held_count = 0


cdef void fanout_producer(Core* core, Producer* producer, int64_t now) noexcept nogil:
    """The places stay taken until the whole batch is flushed: only the producer's list is emptied."""
    cdef Held* first = producer.first_held
    cdef Consumer* consumer = producer.consumers
    cdef bint wanted = False
    if first == NULL:
        return
    producer.first_held = NULL
    while consumer != NULL:
        if consumer.next_of_producer != NULL:
            prefetch(consumer.next_of_producer)
            prefetch(&consumer.next_of_producer.rewrite)
        serve(core, consumer, first, now)
        wanted = wanted or (consumer.waiting and not consumer.paused)
        consumer = consumer.next_of_producer
    if wanted and not producer.keyframe.waiting:
        request_keyframe(core, producer, now)


cdef void serve(Core* core, Consumer* consumer, Held* held, int64_t now) noexcept nogil:
    cdef bint ready = egress_ready(consumer.transport)
    while held != NULL:
        if held.body_len == 0:  # padding to probe bandwidth: takes a number, carries nothing
            rewrite_drop(&consumer.rewrite, held.sequence)
        elif consumer.paused:
            pass
        elif consumer.waiting and not held.flags & FRAME_KEY:
            consumer.counters.dropped += 1
        elif ready:
            deliver(core, consumer, held, now)
        elif consumer.is_video and not consumer.waiting:
            # Consent ran out or the path has gone: when it is back, video begins at a key frame.
            consumer.waiting = 1
            rewrite_resume(&consumer.rewrite)
        else:
            consumer.counters.dropped += 1
        held = held.next


cdef inline void deliver(Core* core, Consumer* consumer, Held* held, int64_t now) noexcept nogil:
    cdef uint16_t sequence
    cdef uint32_t timestamp
    consumer.waiting = 0
    if rewrite_packet(&consumer.rewrite, held.sequence, held.timestamp, now, &sequence, &timestamp) == REWRITE_DROP \
            or not send_held(core, consumer, now, held, sequence, timestamp):
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
