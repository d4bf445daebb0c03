"""What a STUN message may change: a path becomes valid, is selected, and consent is renewed.

Nothing else makes an address known: DTLS, RTP and RTCP from an address without a valid check are ignored.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from rtp_core.deadlines cimport NEVER
from rtp_core.objects cimport (
    DIRTY_STATE, ICE_CONNECTED, ICE_DISCONNECTED, ICE_FAILED, ICE_NEW, MAX_PATHS, Core,
    IceCredentials, IcePath, Transport, mark, slab_at, wake_at,
)
from rtp_core.egress cimport egress_answer, egress_slot
from rtp_core.outbox cimport SLOT_SIZE
from rtp_core.route cimport (
    Path, allowance_left, allowance_take, hash_bytes, hash_path, is_ipv4, limiter_allow, map_get, map_remove, map_set,
    same_path,
)
from rtp_core.stun cimport (
    STUN_CHECK, STUN_DROP, STUN_MALFORMED, STUN_OK, STUN_PLAIN, STUN_UNKNOWN, StunAddress, StunMessage, stun_check,
    stun_parse, stun_triage, stun_write_error, stun_write_success,
)
from rtp_core.upstream cimport request_keyframes_for

cdef enum:
    STALE_US = 3_000_000  # a selected path without a check for so long gives way to any other
    # RFC 8445 sections 14.2 and 6.1.2.5: an agent paces all its checks by 5 ms at least, and has at most 100 pairs.
    CHECK_EACH_US = 5_000
    CHECK_BURST = 100
    # A check takes us about 5 µs: all of them a tenth of a core.
    CHECKS_EACH_US = 50
    CHECKS_BURST = 100
    CALM_US = 500_000  # consent is renewed each 4 to 6 s (RFC 7675 section 5.1), tried again within these


cdef inline uint64_t ufrag_key(Core* core, const uint8_t* ufrag, uint32_t size) noexcept nogil:
    return hash_bytes(ufrag, size, core.seed)


cdef bint has_ufrag(const IceCredentials* credentials, const uint8_t* ufrag, int size) noexcept nogil:
    return credentials.ufrag_len == size and size > 0 and memcmp(credentials.ufrag, ufrag, size) == 0


cdef void answer(Core* core, const Path* path, int size) noexcept nogil:
    if size > 0:
        core.counters.stun_answers += 1
        egress_answer(core, path, <uint32_t>size)


cdef void refuse(Core* core, int64_t now, const Path* path, const StunMessage* msg, int code) noexcept nogil:
    """An error for someone who has proved nothing: rationed."""
    cdef uint8_t* slot
    if not limiter_allow(&core.limiter, path.remote.ip, core.seed, now):
        core.counters.stun_limited += 1
        return
    slot = egress_slot(core)
    if slot != NULL:
        answer(core, path, stun_write_error(slot, SLOT_SIZE, msg, code, NULL, 0))


cdef void mapped_address(const Path* path, StunAddress* out) noexcept nogil:
    memset(out, 0, sizeof(StunAddress))
    out.port = path.remote.port
    if is_ipv4(path.remote.ip):
        out.family = 4
        memcpy(out.ip, path.remote.ip + 12, 4)
    else:
        out.family = 6
        memcpy(out.ip, path.remote.ip, 16)


cdef int path_of(const Transport* transport, const Path* path) noexcept nogil:
    """Its place among the transport's, or -1."""
    cdef int i
    for i in range(transport.path_count):
        if same_path(&transport.paths[i].path, path):
            return i
    return -1


cdef bint check_due(const Core* core, const Transport* transport, int64_t now, const Path* path) noexcept nogil:
    """May a check be looked at? Asked before its integrity is computed, which is most of its price.

    Each transport has an allowance, and so have all together. A path that has been calm is exempt: so whoever floods,
    by however many transports, takes nobody else's consent. Nor does somebody elsewhere who repeats a client's checks.
    """
    cdef int at
    if allowance_left(transport.checks_paid_us, now, CHECK_EACH_US, CHECK_BURST) \
            and allowance_left(core.checks_paid_us, now, CHECKS_EACH_US, CHECKS_BURST):
        return True
    at = path_of(transport, path)
    return now - (transport.paths[at].checked_us if at >= 0 else transport.consent_us) >= CALM_US


cdef void ice_receive(Core* core, int64_t now, const Path* path, const uint8_t* data, int size) noexcept nogil:
    cdef StunMessage msg
    cdef StunAddress mapped
    cdef Transport* transport
    cdef IceCredentials* credentials
    cdef uint32_t index
    cdef uint8_t* slot
    cdef int triage, code
    if stun_parse(data, size, &msg) != STUN_OK:
        core.counters.bad_stun += 1
        return
    triage = stun_triage(&msg)
    if triage == STUN_DROP:
        return
    mapped_address(path, &mapped)
    if triage == STUN_PLAIN:
        if not limiter_allow(&core.limiter, path.remote.ip, core.seed, now):
            core.counters.stun_limited += 1
            return
        slot = egress_slot(core)
        if slot != NULL:
            answer(core, path, stun_write_success(slot, SLOT_SIZE, &msg, &mapped, NULL, 0))
        return
    if triage == STUN_MALFORMED or triage == STUN_UNKNOWN:
        core.counters.bad_stun += 1
        refuse(core, now, path, &msg, triage)
        return
    if not map_get(&core.by_ufrag, ufrag_key(core, msg.username, <uint32_t>msg.ufrag_len), &index):
        core.counters.stun_unknown_ufrag += 1
        refuse(core, now, path, &msg, 401)
        return
    transport = <Transport*>slab_at(&core.transports, index)
    if has_ufrag(&transport.current, msg.username, msg.ufrag_len):
        credentials = &transport.current
    elif has_ufrag(&transport.former, msg.username, msg.ufrag_len):
        credentials = &transport.former
    else:
        core.counters.stun_unknown_ufrag += 1
        return
    if not check_due(core, transport, now, path):
        core.counters.checks_limited += 1
        return
    code = stun_check(&msg, credentials.password, credentials.password_len)
    if code == 401:
        core.counters.auth_failures += 1
        refuse(core, now, path, &msg, 401)
        return
    # Only what is the client's own is charged: its user fragment is no secret.
    allowance_take(&transport.checks_paid_us, now, CHECK_EACH_US, CHECK_BURST)
    allowance_take(&core.checks_paid_us, now, CHECKS_EACH_US, CHECKS_BURST)
    slot = egress_slot(core)
    if slot == NULL:
        return
    if code != 0:
        answer(core, path, stun_write_error(slot, SLOT_SIZE, &msg, code, credentials.password,
                                            credentials.password_len))
        return
    answer(core, path, stun_write_success(slot, SLOT_SIZE, &msg, &mapped, credentials.password,
                                          credentials.password_len))
    if credentials == &transport.current and transport.former.ufrag_len:
        forget_former(core, transport)  # the restart has taken effect
    valid_check(core, transport, now, path, msg.use_candidate)


cdef void forget_former(Core* core, Transport* transport) noexcept nogil:
    map_remove(&core.by_ufrag, ufrag_key(core, transport.former.ufrag, transport.former.ufrag_len))
    transport.former.ufrag_len = 0


cdef Transport* ice_lookup(Core* core, const Path* path) noexcept nogil:
    cdef uint32_t index
    cdef Transport* transport
    if not map_get(&core.by_path, hash_path(path, core.seed), &index):
        return NULL
    transport = <Transport*>slab_at(&core.transports, index)
    return transport if path_of(transport, path) >= 0 else NULL


cdef void select(Core* core, Transport* transport, int index) noexcept nogil:
    transport.selected = index
    transport.last_out.flush = 0  # nothing more joins what went the old way
    transport.selected_channel = transport.paths[index].path.channel if index >= 0 else 0
    mark(core, &transport.head, DIRTY_STATE)


cdef void remove_path(Core* core, Transport* transport, int index) noexcept nogil:
    """Keeps the array dense: the last path takes the place of the removed one."""
    cdef int last = transport.path_count - 1
    map_remove(&core.by_path, hash_path(&transport.paths[index].path, core.seed))
    transport.paths[index] = transport.paths[last]
    transport.path_count = last
    if transport.selected == index:
        transport.selected = -1
    elif transport.selected == last:
        transport.selected = index


cdef int add_path(Core* core, Transport* transport, int64_t now, const Path* path) noexcept nogil:
    cdef Transport* owner = ice_lookup(core, path)
    cdef int i
    cdef int oldest = -1
    if owner == transport:
        i = path_of(transport, path)
        transport.paths[i].path = path[0]  # the address of ours that it asks may change
        transport.paths[i].checked_us = now
        return i
    if owner != NULL:  # that client's port has been given to a new connection, which has proved itself
        remove_path(core, owner, path_of(owner, path))
    if transport.path_count == MAX_PATHS:
        for i in range(MAX_PATHS):
            if i != transport.selected and (
                oldest < 0 or transport.paths[i].checked_us < transport.paths[oldest].checked_us
            ):
                oldest = i
        remove_path(core, transport, oldest)
    if map_set(&core.by_path, hash_path(path, core.seed), transport.head.index) != 0:
        core.counters.no_memory += 1
        return -1
    i = transport.path_count
    transport.paths[i].path = path[0]
    transport.paths[i].checked_us = now
    transport.path_count += 1
    return i


cdef void valid_check(Core* core, Transport* transport, int64_t now, const Path* path, bint nominated) noexcept nogil:
    cdef int index = add_path(core, transport, now, path)
    cdef IcePath* current
    cdef bint resumed
    if index < 0:
        return
    resumed = transport.state != ICE_CONNECTED
    transport.consent_us = now
    if transport.selected < 0:
        select(core, transport, index)
    elif nominated and index != transport.selected:
        # The latest nomination counts, as browsers expect of a lite agent; but a nomination over TCP that
        # comes late must not take the call off a UDP path that is alive.
        current = &transport.paths[transport.selected]
        if path.channel == 0 or current.path.channel != 0 or now - current.checked_us > STALE_US:
            select(core, transport, index)
    if resumed:
        transport.state = ICE_CONNECTED
        mark(core, &transport.head, DIRTY_STATE)
        request_keyframes_for(core, transport, now)
    wake_at(core, transport, now + core.settings.disconnected_us)


cdef int ice_register(Core* core, Transport* transport) noexcept nogil:
    return map_set(&core.by_ufrag, ufrag_key(core, transport.current.ufrag, transport.current.ufrag_len),
                   transport.head.index)


cdef void ice_restart(Core* core, Transport* transport, const IceCredentials* fresh) noexcept nogil:
    """The old credentials stay good until the first check with the new ones; media goes on meanwhile."""
    if transport.former.ufrag_len:
        forget_former(core, transport)
    transport.former = transport.current
    transport.current = fresh[0]
    if ice_register(core, transport) != 0:
        core.counters.no_memory += 1


cdef void ice_unregister(Core* core, Transport* transport) noexcept nogil:
    if transport.former.ufrag_len:
        forget_former(core, transport)
    map_remove(&core.by_ufrag, ufrag_key(core, transport.current.ufrag, transport.current.ufrag_len))
    while transport.path_count:
        remove_path(core, transport, transport.path_count - 1)


cdef void ice_channel_closed(Core* core, uint32_t channel) noexcept nogil:
    cdef Path path
    cdef Transport* transport
    cdef int i, best
    memset(&path, 0, sizeof(Path))
    path.channel = channel
    transport = ice_lookup(core, &path)
    if transport == NULL:
        return
    remove_path(core, transport, path_of(transport, &path))
    if transport.selected < 0:
        best = -1
        for i in range(transport.path_count):
            if best < 0 or transport.paths[i].checked_us > transport.paths[best].checked_us:
                best = i
        if best < 0 and transport.state == ICE_CONNECTED:
            transport.state = ICE_DISCONNECTED
        select(core, transport, best)


cdef int64_t ice_tick(Core* core, Transport* transport, int64_t now) noexcept nogil:
    cdef int64_t silent = now - transport.consent_us
    if transport.state == ICE_NEW or transport.state == ICE_FAILED:
        return NEVER
    if silent >= core.settings.failed_us:
        transport.state = ICE_FAILED
        mark(core, &transport.head, DIRTY_STATE)
        return NEVER
    if silent >= core.settings.disconnected_us:
        if transport.state == ICE_CONNECTED:
            transport.state = ICE_DISCONNECTED
            mark(core, &transport.head, DIRTY_STATE)
        return transport.consent_us + core.settings.failed_us
    if transport.state == ICE_DISCONNECTED:  # its TCP connection went, consent has not run out yet
        return transport.consent_us + core.settings.failed_us
    return transport.consent_us + core.settings.disconnected_us
