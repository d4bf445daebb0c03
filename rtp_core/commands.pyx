"""Making, linking and removing objects. A command for something that has gone is harmless and ignored."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from rtp_core.atomic cimport peek32
from rtp_core.cache cimport cache_free, cache_init, guard_init
from rtp_core.deadlines cimport NEVER, deadline_init, deadline_set
from rtp_core.egress cimport send_plain
from rtp_core.ext cimport EXT_KINDS, ext_map_set
from rtp_core.feedback cimport send_bye
from rtp_core.forward cimport bind_ssrc, unbind_producer
from rtp_core.ice cimport ice_register, ice_restart, ice_unregister
from rtp_core.keyframe cimport keyframe_init
from rtp_core.levels cimport level_init, speaker_init
from rtp_core.nack cimport nack_free, nack_init
from rtp_core.objects cimport (
    DIRTY_REMOVED, KIND_CONSUMER, KIND_PRODUCER, KIND_RELAY, KIND_ROUTER, KIND_TRANSPORT, MAX_ENGINES, NO_PAYLOAD,
    Consumer, Core, Head, Producer, Relay, Router, Transport, kind_of, mark, random64, slab_at, slab_get, wake_at,
)
from rtp_core.reception cimport reception_init
from rtp_core.rewrite cimport rewrite_init, rewrite_resume
from rtp_core.ring cimport bell_ring, ring_peek, ring_release
from rtp_core.route cimport map_remove, map_set
from rtp_core.protect cimport SrtpContext, srtp_forget_out
from rtp_core.timers cimport levels_due
from rtp_core.upstream cimport request_keyframe, request_keyframes_for

cdef enum:
    CACHE_SLOTS = 1024
    CACHE_BYTES = 1_048_576
    CACHE_AGE_US = 2_000_000
    MIRROR_ASKS_US = 100_000  # between requests for a key frame; the engine that has the sender rations them


cdef Head* fresh(Head* head, uint64_t handle, uint32_t size) noexcept nogil:
    """A clean object in a place that the Trio thread reserved. `dirty` is left to the queue that owns it."""
    if head == NULL or head.handle != 0:
        return NULL
    memset(<uint8_t*>head + sizeof(Head), 0, size - sizeof(Head))
    head.index = <uint32_t>handle
    head.handle = handle
    return head


cdef Router* get_router(Core* core, uint64_t handle) noexcept nogil:
    return <Router*>slab_get(&core.routers, handle) if kind_of(handle) == KIND_ROUTER else NULL


cdef Transport* get_transport(Core* core, uint64_t handle) noexcept nogil:
    return <Transport*>slab_get(&core.transports, handle) if kind_of(handle) == KIND_TRANSPORT else NULL


cdef Producer* get_producer(Core* core, uint64_t handle) noexcept nogil:
    return <Producer*>slab_get(&core.producers, handle) if kind_of(handle) == KIND_PRODUCER else NULL


cdef Consumer* get_consumer(Core* core, uint64_t handle) noexcept nogil:
    return <Consumer*>slab_get(&core.consumers, handle) if kind_of(handle) == KIND_CONSUMER else NULL


cdef Relay* get_relay(Core* core, uint64_t handle) noexcept nogil:
    return <Relay*>slab_get(&core.relays, handle) if kind_of(handle) == KIND_RELAY else NULL


cdef void vanish(Core* core, Head* head) noexcept nogil:
    """The Trio thread may give the place out again once it has read this."""
    mark(core, head, DIRTY_REMOVED)
    head.handle = 0


cdef void decline(Core* core, Head* head, uint64_t handle) noexcept nogil:
    """What it belongs to has gone, or there is no memory: give the place back by the ordinary way."""
    if head != NULL and head.handle == 0:
        head.handle = handle
        vanish(core, head)


cdef void add_router(Core* core, int64_t now, const Command* command) noexcept nogil:
    cdef Router* router = <Router*>fresh(slab_at(&core.routers, <uint32_t>command.handle), command.handle,
                                         sizeof(Router))
    cdef int kind
    if router == NULL:
        return
    for kind in range(1, EXT_KINDS):
        if command.body.router.ext_ids[kind]:
            ext_map_set(&router.ext_out, kind, command.body.router.ext_ids[kind])
    speaker_init(&router.speaker)
    deadline_init(&router.timer, router, KIND_ROUTER)


cdef void add_transport(Core* core, int64_t now, const Command* command) noexcept nogil:
    cdef Router* router = get_router(core, command.parent)
    cdef Transport* transport
    if router == NULL:
        decline(core, slab_at(&core.transports, <uint32_t>command.handle), command.handle)
        return
    transport = <Transport*>fresh(slab_at(&core.transports, <uint32_t>command.handle), command.handle,
                                  sizeof(Transport))
    if transport == NULL:
        return
    transport.router = router
    transport.current = command.body.transport.ice
    transport.own_ssrc = command.body.transport.own_ssrc
    transport.selected = -1
    transport.rtt_us = -1
    deadline_init(&transport.timer, transport, KIND_TRANSPORT)
    transport.report_due = now + core.settings.report_us
    transport.twcc_out = 1
    transport.next_of_router = router.transports
    if transport.next_of_router != NULL:
        transport.next_of_router.previous_of_router = transport
    router.transports = transport
    if transport.current.ufrag_len and ice_register(core, transport) != 0:
        core.counters.no_memory += 1
    wake_at(core, transport, transport.report_due)


cdef void add_producer(Core* core, int64_t now, const Command* command) noexcept nogil:
    cdef Transport* transport = get_transport(core, command.parent)
    cdef const AddProducer* wanted = &command.body.producer
    cdef Producer* producer
    cdef int i
    if transport == NULL or wanted.payload_count == 0 or wanted.peer >= MAX_ENGINES:
        decline(core, slab_at(&core.producers, <uint32_t>command.handle), command.handle)
        return
    producer = <Producer*>fresh(slab_at(&core.producers, <uint32_t>command.handle), command.handle, sizeof(Producer))
    if producer == NULL:
        return
    producer.transport = transport
    producer.is_video = wanted.is_video
    producer.mid_len = wanted.mid_len
    memcpy(producer.mid, wanted.mid, sizeof(producer.mid))
    producer.payload_count = wanted.payload_count
    memcpy(producer.payloads, wanted.payloads, sizeof(producer.payloads))
    memset(producer.payload_index, NO_PAYLOAD, sizeof(producer.payload_index))
    for i in range(wanted.payload_count):
        producer.payload_index[wanted.payloads[i].type & 0x7F] = <uint8_t>i
    producer.clock_rate = wanted.payloads[0].clock_rate
    for i in range(1, EXT_KINDS):
        if wanted.ext_ids[i]:
            ext_map_set(&transport.ext_in, i, wanted.ext_ids[i])
    if producer.is_video and not cache_init(&producer.cache, CACHE_SLOTS, CACHE_BYTES, CACHE_AGE_US):
        core.counters.no_memory += 1
        vanish(core, &producer.head)
        return
    nack_init(&producer.nack)
    reception_init(&producer.reception, producer.clock_rate)
    keyframe_init(&producer.keyframe)
    if wanted.origin:
        producer.origin = wanted.origin
        producer.peer = wanted.peer
        producer.keyframe.interval_us = MIRROR_ASKS_US
    level_init(&producer.level)
    producer.counters.rtt_us = -1
    producer.counters.measured_us = now
    producer.next_of_transport = transport.producers
    transport.producers = producer
    if has_level(producer):
        producer.next_of_router = transport.router.producers
        if producer.next_of_router != NULL:
            producer.next_of_router.previous_of_router = producer
        transport.router.producers = producer
        if transport.router.timer.due == NEVER:
            deadline_set(&core.deadlines, &transport.router.timer, levels_due(core, now))
    if wanted.ssrc and bind_ssrc(transport, wanted.ssrc, producer, False):
        producer.ssrc = wanted.ssrc
    if wanted.rtx_ssrc and bind_ssrc(transport, wanted.rtx_ssrc, producer, True):
        producer.rtx_ssrc = wanted.rtx_ssrc


cdef inline bint has_level(const Producer* producer) noexcept nogil:
    # A mirror's is known where its sender is, and competes there.
    return not producer.is_video and producer.origin == 0


cdef void add_relay(Core* core, int64_t now, const Command* command) noexcept nogil:
    cdef Producer* producer = get_producer(core, command.parent)
    cdef Relay* relay
    if producer == NULL or command.body.relay.peer >= MAX_ENGINES:
        decline(core, slab_at(&core.relays, <uint32_t>command.handle), command.handle)
        return
    relay = <Relay*>fresh(slab_at(&core.relays, <uint32_t>command.handle), command.handle, sizeof(Relay))
    if relay == NULL:
        return
    relay.producer = producer
    relay.mirror = command.body.relay.mirror
    relay.peer = command.body.relay.peer
    relay.next_of_producer = producer.relays
    producer.relays = relay


cdef void add_consumer(Core* core, int64_t now, const Command* command) noexcept nogil:
    cdef Transport* transport = get_transport(core, command.parent)
    cdef Producer* producer = get_producer(core, command.producer)
    cdef const AddConsumer* wanted = &command.body.consumer
    cdef Consumer* consumer
    cdef uint64_t number
    if transport == NULL or producer == NULL:
        decline(core, slab_at(&core.consumers, <uint32_t>command.handle), command.handle)
        return
    consumer = <Consumer*>fresh(slab_at(&core.consumers, <uint32_t>command.handle), command.handle, sizeof(Consumer))
    if consumer == NULL:
        return
    consumer.producer = producer
    consumer.transport = transport
    consumer.is_video = producer.is_video
    consumer.paused = wanted.paused
    consumer.waiting = producer.is_video
    consumer.ssrc = wanted.ssrc
    consumer.rtx_ssrc = wanted.rtx_ssrc
    consumer.out.ssrc = wanted.ssrc
    consumer.rtx_out.ssrc = wanted.rtx_ssrc
    consumer.mid_len = wanted.mid_len
    memcpy(consumer.mid, wanted.mid, sizeof(consumer.mid))
    consumer.cname_len = wanted.cname_len
    memcpy(consumer.cname, wanted.cname, sizeof(consumer.cname))
    number = random64(core)
    consumer.rtx_seq = <uint16_t>(number >> 48) & 0x7FFF
    # The first number stays in the lower half: a loss around it must not look like a wrap (RFC 3711 section 3.3.1).
    rewrite_init(&consumer.rewrite, consumer.ssrc, producer.clock_rate, <uint16_t>(number >> 32) & 0x7FFF,
                 <uint32_t>number)
    guard_init(&consumer.guard)
    consumer.counters.rtt_us = -1
    consumer.counters.measured_us = now
    consumer.next_of_producer = producer.consumers
    if consumer.next_of_producer != NULL:
        consumer.next_of_producer.previous_of_producer = consumer
    producer.consumers = consumer
    consumer.next_of_transport = transport.consumers
    if consumer.next_of_transport != NULL:
        consumer.next_of_transport.previous_of_transport = consumer
    transport.consumers = consumer
    if map_set(&core.by_ssrc, (<uint64_t>transport.head.index << 32) | consumer.ssrc, consumer.head.index) != 0:
        core.counters.no_memory += 1
    if consumer.rtx_ssrc:
        map_set(&core.by_ssrc, (<uint64_t>transport.head.index << 32) | consumer.rtx_ssrc, consumer.head.index)
    if not consumer.paused and consumer.is_video:
        request_keyframe(core, producer, now, True)


cdef void unlink_from_producer(Consumer* consumer) noexcept nogil:
    if consumer.producer == NULL:
        return
    if consumer.previous_of_producer != NULL:
        consumer.previous_of_producer.next_of_producer = consumer.next_of_producer
    else:
        consumer.producer.consumers = consumer.next_of_producer
    if consumer.next_of_producer != NULL:
        consumer.next_of_producer.previous_of_producer = consumer.previous_of_producer
    consumer.producer = NULL


cdef void unlink_from_transport(Consumer* consumer) noexcept nogil:
    if consumer.previous_of_transport != NULL:
        consumer.previous_of_transport.next_of_transport = consumer.next_of_transport
    else:
        consumer.transport.consumers = consumer.next_of_transport
    if consumer.next_of_transport != NULL:
        consumer.next_of_transport.previous_of_transport = consumer.previous_of_transport


cdef void remove_consumer(Core* core, Consumer* consumer) noexcept nogil:
    cdef uint64_t base = <uint64_t>consumer.transport.head.index << 32
    send_bye(core, consumer)
    if consumer.transport.srtp != NULL:
        srtp_forget_out(consumer.transport.srtp, consumer.ssrc)
        if consumer.rtx_ssrc:
            srtp_forget_out(consumer.transport.srtp, consumer.rtx_ssrc)
    unlink_from_producer(consumer)
    unlink_from_transport(consumer)
    map_remove(&core.by_ssrc, base | consumer.ssrc)
    if consumer.rtx_ssrc:
        map_remove(&core.by_ssrc, base | consumer.rtx_ssrc)
    vanish(core, &consumer.head)


cdef void remove_relay(Core* core, Relay* relay) noexcept nogil:
    cdef Relay** link = &relay.producer.relays
    while link[0] != relay:
        link = &link[0].next_of_producer
    link[0] = relay.next_of_producer
    vanish(core, &relay.head)


cdef void remove_producer(Core* core, Producer* producer) noexcept nogil:
    cdef Producer** link = &producer.transport.producers
    while link[0] != producer:
        link = &link[0].next_of_transport
    link[0] = producer.next_of_transport
    while producer.relays != NULL:
        remove_relay(core, producer.relays)
    if has_level(producer):
        if producer.previous_of_router != NULL:
            producer.previous_of_router.next_of_router = producer.next_of_router
        else:
            producer.transport.router.producers = producer.next_of_router
        if producer.next_of_router != NULL:
            producer.next_of_router.previous_of_router = producer.previous_of_router
    while producer.consumers != NULL:  # they stay, silent, until they are removed themselves
        unlink_from_producer(producer.consumers)
    unbind_producer(producer.transport, producer)
    nack_free(&producer.nack)
    cache_free(&producer.cache)
    producer.cache.slots = NULL
    vanish(core, &producer.head)


cdef void remove_transport(Core* core, Transport* transport) noexcept nogil:
    while transport.consumers != NULL:
        remove_consumer(core, transport.consumers)
    while transport.producers != NULL:
        remove_producer(core, transport.producers)
    if transport.current.ufrag_len:
        ice_unregister(core, transport)
    free(transport.twcc)
    transport.twcc = NULL
    transport.srtp = NULL
    transport.seal.cipher = NULL
    deadline_set(&core.deadlines, &transport.timer, NEVER)
    if transport.previous_of_router != NULL:
        transport.previous_of_router.next_of_router = transport.next_of_router
    else:
        transport.router.transports = transport.next_of_router
    if transport.next_of_router != NULL:
        transport.next_of_router.previous_of_router = transport.previous_of_router
    vanish(core, &transport.head)


cdef void remove_router(Core* core, Router* router) noexcept nogil:
    while router.transports != NULL:
        remove_transport(core, router.transports)
    deadline_set(&core.deadlines, &router.timer, NEVER)
    vanish(core, &router.head)


cdef void remove(Core* core, uint64_t handle) noexcept nogil:
    if get_consumer(core, handle) != NULL:
        remove_consumer(core, get_consumer(core, handle))
    elif get_relay(core, handle) != NULL:
        remove_relay(core, get_relay(core, handle))
    elif get_producer(core, handle) != NULL:
        remove_producer(core, get_producer(core, handle))
    elif get_transport(core, handle) != NULL:
        remove_transport(core, get_transport(core, handle))
    elif get_router(core, handle) != NULL:
        remove_router(core, get_router(core, handle))


cdef void start_again(Core* core, Consumer* consumer, int64_t now) noexcept nogil:
    rewrite_resume(&consumer.rewrite)
    consumer.started = 0
    consumer.held_off_us = 0
    if consumer.is_video:
        consumer.waiting = 1
        request_keyframe(core, consumer.producer, now, True)


cdef void set_paused(Core* core, uint64_t handle, int64_t now, bint paused) noexcept nogil:
    cdef Consumer* consumer = get_consumer(core, handle)
    cdef Producer* producer = get_producer(core, handle)
    cdef Relay* relay = get_relay(core, handle)
    if relay != NULL and relay.paused != paused:
        relay.paused = paused
        relay.breaks += 1  # what is between is lost to the mirror
    elif consumer != NULL and consumer.paused != paused:
        consumer.paused = paused
        if not paused and consumer.producer != NULL:
            start_again(core, consumer, now)
    elif producer != NULL and producer.paused != paused:
        producer.paused = paused
        consumer = producer.consumers
        while consumer != NULL and not paused:
            if not consumer.paused:
                start_again(core, consumer, now)
            consumer = consumer.next_of_producer


cdef void apply(Core* core, int64_t now, const Command* command) noexcept nogil:
    cdef Transport* transport
    cdef Producer* producer
    cdef Consumer* consumer
    if command.type == ADD_ROUTER:
        add_router(core, now, command)
    elif command.type == ADD_TRANSPORT:
        add_transport(core, now, command)
    elif command.type == ADD_PRODUCER:
        add_producer(core, now, command)
    elif command.type == ADD_CONSUMER:
        add_consumer(core, now, command)
    elif command.type == ADD_RELAY:
        add_relay(core, now, command)
    elif command.type == REMOVE:
        remove(core, command.handle)
    elif command.type == PAUSE:
        set_paused(core, command.handle, now, True)
    elif command.type == RESUME:
        set_paused(core, command.handle, now, False)
    elif command.type == KEYFRAME:
        producer = get_producer(core, command.handle)
        if producer != NULL:
            request_keyframe(core, producer, now, False)
    else:
        transport = get_transport(core, command.handle)
        if transport == NULL:
            return
        if command.type == SET_ICE:
            ice_restart(core, transport, &command.body.ice)
        elif command.type == SET_SRTP:
            transport.srtp = <SrtpContext*>command.body.srtp
            transport.seal = transport.srtp.seal
            request_keyframes_for(core, transport, now)
            producer = transport.producers
            while producer != NULL:  # its consumers may have been waiting for this sender to be reachable
                if (producer.consumers != NULL or producer.relays != NULL) and producer.is_video:
                    request_keyframe(core, producer, now, True)
                producer = producer.next_of_transport
        elif command.type == SEND_DTLS and send_plain(core, transport, command.body.datagram.data,
                                                      command.body.datagram.size):
            core.counters.dtls_out += 1


cdef int commands_apply(Core* core, int64_t now, int limit) noexcept nogil:
    cdef int count = 0
    cdef uint8_t* slot
    while count < limit:
        slot = ring_peek(&core.commands)
        if slot == NULL:
            break
        apply(core, now, <Command*>slot)
        ring_release(&core.commands)
        count += 1
    core.counters.commands += count
    if count and peek32(&core.backlogged):
        bell_ring(&core.event_bell)  # there is room again
    return count
