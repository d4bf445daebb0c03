"""Each transport keeps the earliest of its deadlines; the core keeps those in order, so that the idle cost nothing."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from rtp_core.deadlines cimport NEVER, Deadline, deadline_set, deadlines_due, deadlines_next
from rtp_core.feedback cimport send_reports
from rtp_core.ice cimport ice_tick
from rtp_core.keyframe cimport keyframe_deadline, keyframe_due
from rtp_core.levels cimport LEVEL_SILENCE, level_window, speaker_update
from rtp_core.nack cimport nack_deadline
from rtp_core.objects cimport (
    DIRTY_SPEAKER, EVENT_LEVELS, KIND_ROUTER, MAX_LEVELS, Core, EventHead, LevelEntry, Producer, Router, Transport,
    event_claim, event_publish, mark, wake_at,
)
from rtp_core.twcc cimport twcc_pending
from rtp_core.upstream cimport send_arrivals, send_keyframe_request, send_nacks

cdef enum:
    GRAIN_US = 2_000  # a deadline that did not move is not looked at again sooner


cdef inline int64_t not_before(int64_t when, int64_t least) noexcept nogil:
    return when if when > least else least


cdef void run_producer(Core* core, Transport* transport, Producer* producer, int64_t now) noexcept nogil:
    if producer.payloads[producer.last_payload].nack:
        if nack_deadline(&producer.nack) <= now:
            send_nacks(core, producer, now)
        wake_at(core, transport, not_before(nack_deadline(&producer.nack), now + GRAIN_US))
    if producer.is_video:
        if keyframe_deadline(&producer.keyframe) <= now and keyframe_due(&producer.keyframe, now):
            send_keyframe_request(core, producer)
        wake_at(core, transport, not_before(keyframe_deadline(&producer.keyframe), now + GRAIN_US))


cdef void run_transport(Core* core, Transport* transport, int64_t now) noexcept nogil:
    cdef Producer* producer = transport.producers
    deadline_set(&core.deadlines, &transport.timer, NEVER)
    wake_at(core, transport, not_before(ice_tick(core, transport, now), now + GRAIN_US))
    while producer != NULL:
        run_producer(core, transport, producer, now)
        producer = producer.next_of_transport
    if transport.twcc_due and transport.twcc_due <= now:
        send_arrivals(core, transport, now)
        transport.twcc_due = now + core.settings.twcc_us if twcc_pending(transport.twcc) else 0
    if transport.twcc_due:
        wake_at(core, transport, transport.twcc_due)
    if transport.report_due <= now:
        send_reports(core, transport, now)
        transport.report_due = now + core.settings.report_us
    wake_at(core, transport, transport.report_due)


cdef void run_levels(Core* core, Router* router, int64_t now) noexcept nogil:
    """The window's levels of all unpaused audio producers; the first MAX_LEVELS of them compete."""
    cdef int64_t ids[MAX_LEVELS]
    cdef double levels[MAX_LEVELS]
    cdef uint32_t count = 0
    cdef uint32_t i
    cdef bint loud = False
    cdef double level
    cdef uint8_t* slot
    cdef LevelEntry* entries
    cdef Producer* producer = router.producers
    while producer != NULL:
        level = level_window(&producer.level)
        if count < MAX_LEVELS and not producer.paused:
            ids[count] = <int64_t>producer.head.handle
            levels[count] = level
            loud = loud or level > LEVEL_SILENCE
            count += 1
        producer = producer.next_of_router
    if speaker_update(&router.speaker, ids, levels, count, now):
        mark(core, &router.head, DIRTY_SPEAKER)
    if loud or router.was_loud:
        slot = event_claim(core)
        if slot != NULL:
            (<EventHead*>slot).type = EVENT_LEVELS
            (<EventHead*>slot).size = count
            (<EventHead*>slot).handle = router.head.handle
            entries = <LevelEntry*>(slot + sizeof(EventHead))
            for i in range(count):
                entries[i].producer = <uint64_t>ids[i]
                entries[i].level = levels[i]
            event_publish(core)
            router.was_loud = loud


cdef int64_t levels_due(const Core* core, int64_t now) noexcept nogil:
    """The same moments for all rooms: Python is woken once for them, not once for each."""
    return now - now % core.settings.levels_us + core.settings.levels_us


cdef int64_t timers_run(Core* core, int64_t now) noexcept nogil:
    """Whoever asks for a time that has come already is served by the next pass: a pass ends."""
    cdef Deadline* deadline
    cdef Router* router
    cdef uint32_t left = core.deadlines.count
    while left:
        deadline = deadlines_due(&core.deadlines, now)
        if deadline == NULL:
            break
        left -= 1
        if deadline.kind == KIND_ROUTER:
            router = <Router*>deadline.owner
            run_levels(core, router, now)
            deadline_set(&core.deadlines, deadline, levels_due(core, now) if router.producers != NULL else NEVER)
        else:
            run_transport(core, <Transport*>deadline.owner, now)
    return deadlines_next(&core.deadlines)
