"""Slabs, events to the Trio thread, and the making and freeing of a core."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from rtp_core.atomic cimport fetch_or32
from rtp_core.cache cimport cache_free
from rtp_core.deadlines cimport deadlines_free, deadlines_init
from rtp_core.nack cimport nack_free
from rtp_core.outbox cimport outbox_free, outbox_init
from rtp_core.overload cimport overload_init
from rtp_core.pages cimport HUGE_PAGE, page_give, page_take
from rtp_core.ring cimport bell_ring, ring_claim, ring_free, ring_init, ring_publish
from rtp_core.route cimport limiter_init, map_free, map_init

cdef int slab_init(Slab* slab, uint32_t capacity, uint32_t item_size) noexcept nogil:
    slab.item_size = (item_size + LINE - 1) // LINE * LINE
    slab.each = HUGE_PAGE // slab.item_size
    slab.chunk_count = (capacity + slab.each - 1) // slab.each
    slab.chunks = <uint8_t**>calloc(slab.chunk_count, sizeof(void*))
    return 0 if slab.chunks != NULL else -1


cdef void slab_free(Slab* slab) noexcept nogil:
    cdef uint32_t i
    if slab.chunks == NULL:
        return
    for i in range(slab.chunk_count):
        page_give(slab.chunks[i])
    free(slab.chunks)
    slab.chunks = NULL


cdef Head* slab_reserve(Slab* slab, uint32_t index) noexcept nogil:
    """Called by the Trio thread before the command that names `index` is published."""
    cdef uint32_t chunk = index // slab.each
    cdef uint8_t* page
    if chunk >= slab.chunk_count:
        return NULL
    if slab.chunks[chunk] == NULL:
        page = <uint8_t*>page_take()
        if page == NULL:
            return NULL
        page[0] = 0  # the kernel makes the page now, and not while the media thread waits
        slab.chunks[chunk] = page
    return slab_at(slab, index)


cdef Head* slab_at(Slab* slab, uint32_t index) noexcept nogil:
    cdef uint32_t chunk = index // slab.each
    if chunk >= slab.chunk_count or slab.chunks[chunk] == NULL:
        return NULL
    return <Head*>(slab.chunks[chunk] + <size_t>(index % slab.each) * slab.item_size)


cdef Head* slab_get(Slab* slab, uint64_t handle) noexcept nogil:
    cdef Head* head = slab_at(slab, <uint32_t>handle)
    return head if head != NULL and head.handle == handle and handle != 0 else NULL


cdef void mark(Core* core, Head* head, uint32_t bits) noexcept nogil:
    """Tell the Trio thread something it must not miss: the handle is queued once however often this happens."""
    cdef uint64_t* slot
    if fetch_or32(&head.dirty, bits) == 0:
        slot = <uint64_t*>ring_claim(&core.dirty)
        if slot != NULL:
            slot[0] = head.handle
            ring_publish(&core.dirty)
    bell_ring(&core.event_bell)


cdef uint8_t* event_claim(Core* core) noexcept nogil:
    cdef uint8_t* slot = ring_claim(&core.events)
    if slot == NULL:
        core.counters.events_dropped += 1
    return slot


cdef void event_publish(Core* core) noexcept nogil:
    ring_publish(&core.events)
    bell_ring(&core.event_bell)


cdef uint64_t random64(Core* core) noexcept nogil:
    """Where outgoing numbers begin (RFC 3550 section 5.1). Not for secrets."""
    cdef uint64_t x
    core.random += <uint64_t>0x9E3779B97F4A7C15
    x = core.random
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef int core_init(Core* core, uint64_t seed, uint32_t scale, uint32_t out_packets) noexcept nogil:
    """`scale` transports, with routers, producers and consumers in proportion. -1: no memory."""
    memset(core, 0, sizeof(Core))
    core.seed = seed
    core.random = seed ^ <uint64_t>0xD1B54A32D192ED03
    core.command_bell.fd = -1
    core.event_bell.fd = -1
    core.settings.disconnected_us = 15_000_000
    core.settings.failed_us = 30_000_000
    core.settings.report_us = 1_000_000
    core.settings.twcc_us = 50_000
    core.settings.levels_us = 200_000
    limiter_init(&core.limiter, 20, 40)
    overload_init(&core.overload)
    if outbox_init(&core.out, out_packets) != 0:
        return -1
    if (
        slab_init(&core.routers, scale, sizeof(Router)) or slab_init(&core.transports, scale, sizeof(Transport))
        or slab_init(&core.producers, scale * 2, sizeof(Producer))
        or slab_init(&core.consumers, scale * 16, sizeof(Consumer))
        or slab_init(&core.relays, scale * 4, sizeof(Relay))
    ):
        return -1
    if deadlines_init(&core.deadlines, scale * 2):
        return -1
    if ring_init(&core.commands, 1024, SLOT_SIZE + 64) or ring_init(&core.events, 1024, EVENT_SIZE):
        return -1
    if ring_init(&core.dirty, scale * 24, sizeof(uint64_t)):
        return -1
    if map_init(&core.by_ufrag) or map_init(&core.by_path) or map_init(&core.by_ssrc):
        return -1
    return 0


cdef void core_free(Core* core) noexcept nogil:
    """Only when no thread runs the engine any more."""
    cdef uint32_t i
    cdef Transport* transport
    cdef Producer* producer
    if core.transports.chunks != NULL:
        for i in range(core.transports.chunk_count * core.transports.each):
            transport = <Transport*>slab_at(&core.transports, i)
            if transport != NULL:
                free(transport.twcc)
    if core.producers.chunks != NULL:
        for i in range(core.producers.chunk_count * core.producers.each):
            producer = <Producer*>slab_at(&core.producers, i)
            if producer != NULL:
                nack_free(&producer.nack)
                cache_free(&producer.cache)
    slab_free(&core.routers)
    slab_free(&core.transports)
    slab_free(&core.producers)
    slab_free(&core.consumers)
    slab_free(&core.relays)
    deadlines_free(&core.deadlines)
    ring_free(&core.commands)
    ring_free(&core.events)
    ring_free(&core.dirty)
    map_free(&core.by_ufrag)
    map_free(&core.by_path)
    map_free(&core.by_ssrc)
    outbox_free(&core.out)
