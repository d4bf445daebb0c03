"""The core as the Trio thread holds it: commands in, events and counters out; the stepping is demux.pyx's."""

import os
from collections import deque

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from rtp_core.atomic cimport exchange32
from rtp_core.commands cimport (
    ADD_CONSUMER, ADD_PRODUCER, ADD_RELAY, ADD_ROUTER, ADD_TRANSPORT, KEYFRAME, PAUSE, REMOVE, RESUME, SEND_DTLS,
    SET_ICE, SET_SRTP, Command, commands_apply,
)
from rtp_core.deadlines cimport NEVER
from rtp_core.demux cimport demux_flush, demux_receive, demux_tick
from rtp_core.ext cimport EXT_KINDS
from rtp_core.ice cimport ice_channel_closed
from rtp_core.objects cimport (
    DIRTY_REMOVED, DIRTY_SPEAKER, DIRTY_STARTED, DIRTY_STATE, EVENT_DTLS, KIND_CONSUMER, KIND_PRODUCER,
    KIND_RELAY, KIND_ROUTER, KIND_TRANSPORT, MAX_CNAME, MAX_ENGINES, MAX_MID, MAX_PASSWORD, MAX_PAYLOADS, MAX_UFRAG,
    Consumer, Core, EventHead, Head, LevelEntry, Payload, Producer, Router, Slab, StreamCounters, Transport, core_free,
    core_init, kind_of, slab_at, slab_reserve,
)
from rtp_core.outbox cimport SLOT_SIZE, OutCursor, OutMessage, next_packet, outbox_forget, packets_of
from rtp_core.overload cimport overload_press
from rtp_core.reception cimport reception_lost
from rtp_core.relay cimport relay_answer, relay_receive
from rtp_core.ring cimport bell_answer, bell_ring, ring_claim, ring_peek, ring_publish, ring_release
from rtp_core.route cimport Path

from rtp_core.handles import Handles

Event = tuple  # (what, handle, value): see `poll`
PayloadRow = tuple  # see `add_producer`
ICE_STATES = ("new", "connected", "disconnected", "failed")


cdef int copy_into(uint8_t* to, int capacity, bytes data, str what) except -1:
    if len(data) > capacity:
        raise ValueError(f"{what} is longer than {capacity} bytes")
    memcpy(to, PyBytes_AsString(data), len(data))
    return <int>len(data)


cdef class Pipeline:
    """The core as the Trio thread sees it: commands in, events and counters out.

    Without an engine (tests) it is also stepped from here: `apply`, `receive`, `tick`, `take_sent`.
    All times are microseconds of one monotonic clock.
    """

    def __cinit__(self, *, int scale=4096, int out_packets=256, seed=None):
        if not 1 <= scale <= 65536 or not 1 <= out_packets <= 65536:
            raise ValueError("scale and out_packets are between 1 and 65536")
        if seed is None:
            seed = int.from_bytes(os.urandom(8), "little")
        self.core = <Core*>calloc(1, sizeof(Core))
        if self.core == NULL or core_init(self.core, <uint64_t>seed, <uint32_t>scale, <uint32_t>out_packets) != 0:
            raise MemoryError
        self.backlog = deque()
        self.kept = {}
        self.allocators = [
            None, Handles(KIND_ROUTER, scale), Handles(KIND_TRANSPORT, scale),
            Handles(KIND_PRODUCER, scale * 2), Handles(KIND_CONSUMER, scale * 16), Handles(KIND_RELAY, scale * 4),
        ]

    def __dealloc__(self):
        if self.core != NULL:
            core_free(self.core)
            free(self.core)

    # --- settings, before the engine runs ------------------------------------------------------------

    def configure(self, *, int64_t disconnected_us=15_000_000, int64_t failed_us=30_000_000,
                  int answers_per_second=20, int answers_burst=40) -> None:
        """Consent times (RFC 7675), and how many answers one unproven source address gets."""
        if not 0 < disconnected_us <= failed_us or answers_per_second < 1 or answers_burst < 1:
            raise ValueError("0 < disconnected_us <= failed_us, and at least one answer")
        self.core.settings.disconnected_us = disconnected_us
        self.core.settings.failed_us = failed_us
        self.core.limiter.per_second = answers_per_second
        self.core.limiter.burst = answers_burst
        for i in range(1024):
            self.core.limiter.tokens_milli[i] = answers_burst * 1000

    # --- commands ------------------------------------------------------------------------------------

    cdef Slab* slab_of(self, int kind) noexcept:
        if kind == KIND_ROUTER:
            return &self.core.routers
        if kind == KIND_TRANSPORT:
            return &self.core.transports
        if kind == KIND_PRODUCER:
            return &self.core.producers
        if kind == KIND_RELAY:
            return &self.core.relays
        return &self.core.consumers

    cdef uint64_t allocate(self, int kind) except 0:
        cdef uint64_t handle = self.allocators[kind].take()
        if slab_reserve(self.slab_of(kind), <uint32_t>handle) == NULL:
            self.allocators[kind].give_back(handle)
            raise MemoryError
        return handle

    cdef int submit(self, Command* command) except -1:
        """In order, and never lost: what the ring has no room for waits here."""
        cdef uint8_t* slot = NULL
        if not self.backlog:
            slot = ring_claim(&self.core.commands)
        if slot == NULL:
            self.backlog.append(PyBytes_FromStringAndSize(<char*>command, sizeof(Command)))
            exchange32(&self.core.backlogged, 1)
        else:
            memcpy(slot, command, sizeof(Command))
            ring_publish(&self.core.commands)
        if self.ring_later is None:
            bell_ring(&self.core.command_bell)
        elif not self.ringing:
            self.ringing = True
            self.ring_later()
        return 0

    def flush_backlog(self) -> None:
        cdef uint8_t* slot
        while self.backlog:
            slot = ring_claim(&self.core.commands)
            if slot == NULL:
                break
            memcpy(slot, PyBytes_AsString(self.backlog[0]), sizeof(Command))
            ring_publish(&self.core.commands)
            self.backlog.popleft()
        if not self.backlog and exchange32(&self.core.backlogged, 0) == 0:
            return
        bell_ring(&self.core.command_bell)

    def add_router(self, dict extensions) -> int:
        """`extensions` maps an extension kind to the id that consumers get it under."""
        cdef Command command
        memset(&command, 0, sizeof(Command))
        for kind, number in extensions.items():
            if 0 < kind < EXT_KINDS and 0 < number < 256:
                command.body.router.ext_ids[<int>kind] = number
        command.type = ADD_ROUTER
        command.handle = self.allocate(KIND_ROUTER)
        self.submit(&command)
        return command.handle

    def add_transport(self, uint64_t router, bytes ufrag, bytes password, uint32_t own_ssrc) -> int:
        """Without a ufrag nobody reaches it from outside: it is for the mirrors of another engine's producers."""
        cdef Command command
        memset(&command, 0, sizeof(Command))
        command.body.transport.ice.ufrag_len = copy_into(command.body.transport.ice.ufrag, MAX_UFRAG, ufrag, "ufrag")
        command.body.transport.ice.password_len = copy_into(
            command.body.transport.ice.password, MAX_PASSWORD, password, "password")
        command.body.transport.own_ssrc = own_ssrc
        command.type = ADD_TRANSPORT
        command.parent = router
        command.handle = self.allocate(KIND_TRANSPORT)
        self.submit(&command)
        return command.handle

    def add_producer(self, uint64_t transport, *, bint video, bytes mid, uint32_t ssrc, uint32_t rtx_ssrc,
                     list payloads, dict extensions, tuple origin=(0, 0)) -> int:
        """`payloads`: (type, router type, router RTX type or 255, codec, is_rtx, apt, nack, fir_only, clock rate).

        With an `origin` (engine, producer's handle there) it is a mirror, fed by that engine through `add_relay`.
        """
        cdef Command command
        cdef Payload* payload
        memset(&command, 0, sizeof(Command))
        if not 0 < len(payloads) <= MAX_PAYLOADS:
            raise ValueError(f"between 1 and {MAX_PAYLOADS} payload types")
        command.body.producer.mid_len = copy_into(command.body.producer.mid, MAX_MID, mid, "mid")
        command.body.producer.is_video = video
        command.body.producer.ssrc = ssrc
        command.body.producer.rtx_ssrc = rtx_ssrc
        command.body.producer.payload_count = len(payloads)
        for i, values in enumerate(payloads):
            payload = &command.body.producer.payloads[<int>i]
            (payload.type, payload.router_type, payload.router_rtx_type, payload.codec, payload.is_rtx, payload.apt,
             payload.nack, payload.fir_only, payload.clock_rate) = values
            if payload.type > 127 or payload.router_type > 127 or payload.apt > 127 or payload.clock_rate == 0:
                raise ValueError("payload types are 0 to 127, clock rates above 0")
        for kind, number in extensions.items():
            if 0 < kind < EXT_KINDS and 0 < number < 256:
                command.body.producer.ext_ids[<int>kind] = number
        command.body.producer.peer, command.body.producer.origin = origin
        command.type = ADD_PRODUCER
        command.parent = transport
        command.handle = self.allocate(KIND_PRODUCER)
        self.submit(&command)
        return command.handle

    def add_consumer(self, uint64_t transport, uint64_t producer, *, uint32_t ssrc, uint32_t rtx_ssrc, bytes mid,
                     bytes cname, bint paused) -> int:
        cdef Command command
        memset(&command, 0, sizeof(Command))
        command.body.consumer.ssrc = ssrc
        command.body.consumer.rtx_ssrc = rtx_ssrc
        command.body.consumer.paused = paused
        command.body.consumer.mid_len = copy_into(command.body.consumer.mid, MAX_MID, mid, "mid")
        command.body.consumer.cname_len = copy_into(command.body.consumer.cname, MAX_CNAME, cname, "cname")
        command.type = ADD_CONSUMER
        command.parent = transport
        command.producer = producer
        command.handle = self.allocate(KIND_CONSUMER)
        self.submit(&command)
        return command.handle

    def add_relay(self, uint64_t producer, int engine, uint64_t mirror) -> int:
        """From now on what `producer` sends goes to its mirror on another engine of the mesh too. Goes with it."""
        cdef Command command
        memset(&command, 0, sizeof(Command))
        if not 0 <= engine < MAX_ENGINES or self.core.outgoing[engine] == NULL:
            raise ValueError("there is no such other engine")
        command.body.relay.peer = <uint32_t>engine
        command.body.relay.mirror = mirror
        command.type = ADD_RELAY
        command.parent = producer
        command.handle = self.allocate(KIND_RELAY)
        self.submit(&command)
        return command.handle

    def set_ice(self, uint64_t transport, bytes ufrag, bytes password) -> None:
        """An ICE restart: the former credentials stay good until the new ones are used."""
        cdef Command command
        memset(&command, 0, sizeof(Command))
        command.body.ice.ufrag_len = copy_into(command.body.ice.ufrag, MAX_UFRAG, ufrag, "ufrag")
        command.body.ice.password_len = copy_into(command.body.ice.password, MAX_PASSWORD, password, "password")
        command.type = SET_ICE
        command.handle = transport
        self.submit(&command)

    def set_srtp(self, uint64_t transport, object pair) -> None:
        """`pair` (rtp_core.srtp.SrtpPair) is the engine's from here on, and kept until the transport is gone."""
        cdef Command command
        memset(&command, 0, sizeof(Command))
        if transport in self.kept:
            raise ValueError("this transport has its keys")
        command.body.srtp = <void*><size_t>pair.context_address
        command.type = SET_SRTP
        command.handle = transport
        self.kept[transport] = pair
        self.submit(&command)

    def send_dtls(self, uint64_t transport, bytes datagram) -> None:
        cdef Command command
        memset(&command, 0, sizeof(Command))
        command.body.datagram.size = copy_into(command.body.datagram.data, SLOT_SIZE - 64, datagram, "datagram")
        command.type = SEND_DTLS
        command.handle = transport
        self.submit(&command)

    cdef object simple(self, uint32_t type, uint64_t handle):
        cdef Command command
        memset(&command, 0, sizeof(Command))
        command.type = type
        command.handle = handle
        self.submit(&command)

    def pause(self, uint64_t handle) -> None:
        self.simple(PAUSE, handle)

    def resume(self, uint64_t handle) -> None:
        self.simple(RESUME, handle)

    def request_keyframe(self, uint64_t producer) -> None:
        self.simple(KEYFRAME, producer)

    def remove(self, uint64_t handle) -> None:
        """What belongs to the object goes with it. Its "removed" event ends the handle's life."""
        self.simple(REMOVE, handle)

    def defer(self, ring_later) -> None:
        """Calls `ring_later` at the first of several commands; `ring` then wakes the engine once for them all.

        To wake a thread costs more than most commands do. None: each command rings by itself.
        """
        self.ring_later = ring_later
        self.ring()

    def ring(self) -> None:
        self.ringing = False
        bell_ring(&self.core.command_bell)

    # --- events --------------------------------------------------------------------------------------

    def attach_bells(self, int command_fd, int event_fd) -> None:
        """The eventfds of the engine's and of the Trio thread's sleep; while no engine of the mesh runs."""
        cdef uint32_t i
        self.core.command_bell.fd = command_fd
        self.core.event_bell.fd = event_fd
        for i in range(self.core.engine_count):
            if self.core.incoming[i] != NULL:
                self.core.incoming[i].bell.fd = command_fd

    def poll(self, int limit=256) -> list:
        """At most `limit` of: ("removed" | "state" | "started" | "speaker", handle, value),
        ("dtls", handle, datagram), ("levels", handle, [(producer, dBov), ...])."""
        cdef uint64_t* dirty
        cdef uint8_t* slot
        cdef uint64_t handle
        cdef uint32_t bits
        cdef Head* head
        cdef int count = 0
        cdef list out = []
        bell_answer(&self.core.event_bell)
        self.flush_backlog()
        while count < limit:
            dirty = <uint64_t*>ring_peek(&self.core.dirty)
            if dirty == NULL:
                break
            handle = dirty[0]
            ring_release(&self.core.dirty)
            count += 1
            head = slab_at(self.slab_of(kind_of(handle)), <uint32_t>handle)
            bits = exchange32(&head.dirty, 0)
            if bits & DIRTY_STATE:
                out.append(("state", handle, ICE_STATES[(<Transport*>head).state]))
            if bits & DIRTY_STARTED:
                out.append(("started", handle, None))
            if bits & DIRTY_SPEAKER:
                speaker = (<Router*>head).speaker.speaker
                out.append(("speaker", handle, speaker if speaker >= 0 else None))
            if bits & DIRTY_REMOVED:
                self.kept.pop(handle, None)
                self.allocators[kind_of(handle)].give_back(handle)
                out.append(("removed", handle, None))
        while count < limit:
            slot = ring_peek(&self.core.events)
            if slot == NULL:
                break
            count += 1
            out.append(self.read_event(slot))
            ring_release(&self.core.events)
        if count == limit:  # there may be more: be called again
            bell_ring(&self.core.event_bell)
        return out

    cdef object read_event(self, uint8_t* slot):
        cdef EventHead* head = <EventHead*>slot
        cdef LevelEntry* entries = <LevelEntry*>(slot + sizeof(EventHead))
        cdef uint32_t i
        if head.type == EVENT_DTLS:
            return ("dtls", head.handle, PyBytes_FromStringAndSize(<char*>slot + sizeof(EventHead), head.size))
        return ("levels", head.handle, [(entries[i].producer, entries[i].level) for i in range(head.size)])

    # --- counters: read while the engine writes ------------------------------------------------------

    cdef Head* head_of(self, uint64_t handle) except? NULL:
        cdef Head* head
        if not KIND_ROUTER <= kind_of(handle) <= KIND_RELAY:
            raise ValueError("not a handle")
        head = slab_at(self.slab_of(kind_of(handle)), <uint32_t>handle)
        return head if head != NULL and head.handle == handle else NULL

    def counters(self) -> dict:
        """The engine's own counters; `Counters` of objects.pxd says what each is."""
        cdef dict out = self.core.counters
        out["command_backlog"] = len(self.backlog)
        out["overloads"] = self.core.overload.presses  # windows in which there was more to send than could be
        out["routers"], out["transports"], out["producers"], out["consumers"], out["relays"] = (
            allocator.used for allocator in self.allocators[1:]
        )
        return out

    def channel_of(self, uint64_t transport):
        """None: no path is selected; 0: UDP; else the TCP connection's id."""
        cdef Transport* found = <Transport*>self.head_of(transport)
        if found == NULL or found.selected < 0:
            return None
        return found.selected_channel

    def transport_stats(self, uint64_t transport) -> dict | None:
        cdef Transport* found = <Transport*>self.head_of(transport)
        if found == NULL:
            return None
        return {
            "packets_sent": found.packets_out, "packets_received": found.packets_in,
            "bytes_sent": found.bytes_out, "bytes_received": found.bytes_in,
            "srtp_errors": found.srtp_errors, "dropped": found.dropped,
            "rtt_us": found.rtt_us, "remb": found.remb,
        }

    def stream_stats(self, uint64_t handle) -> dict | None:
        """Of a producer or a consumer. `rtt_us` is -1 while unknown."""
        cdef Head* found = self.head_of(handle)
        cdef StreamCounters* counters
        if found == NULL:
            return None
        if kind_of(handle) == KIND_PRODUCER:
            counters = &(<Producer*>found).counters
            lost = reception_lost(&(<Producer*>found).reception)
        elif kind_of(handle) == KIND_CONSUMER:
            counters = &(<Consumer*>found).counters
            lost = counters.lost
        else:
            raise ValueError("neither a producer nor a consumer")
        return {
            "packets": counters.packets, "bytes": counters.bytes, "lost": lost, "jitter_ms": counters.jitter_ms,
            "rtt_us": counters.rtt_us, "nacks": counters.nacks, "plis": counters.plis,
            "retransmitted": counters.retransmitted, "dropped": counters.dropped,
            "key_frames": counters.key_frames, "bitrate": counters.bitrate,
        }

    # --- stepping without an engine ------------------------------------------------------------------

    cdef int check_free(self) except -1:
        if self.attached:
            raise RuntimeError("an engine steps this pipeline")
        return 0

    def apply(self, int64_t now_us) -> int:
        self.check_free()
        applied = 0
        while True:
            count = commands_apply(self.core, now_us, 1024)
            applied += count
            self.flush_backlog()
            if count == 0:
                return applied

    def receive(self, int64_t now_us, tuple remote, bytes data, *, uint32_t channel=0) -> None:
        self.receive_batch(now_us, [(remote, channel, data)])

    def receive_batch(self, int64_t now_us, list packets) -> None:
        """What one system call brought: (remote, channel, datagram), of which `remote` is (16 bytes of address, port)."""
        cdef Path path
        cdef bytearray memory = bytearray(b"".join([data for _, _, data in packets]) + b"\0")
        cdef uint8_t* at = memory
        self.check_free()
        for remote, channel, data in packets:
            if len(remote[0]) != 16 or len(data) > 65535:
                raise ValueError("an address has 16 bytes, a packet at most 65535")
        for remote, channel, data in packets:
            memset(&path, 0, sizeof(Path))
            memcpy(path.remote.ip, PyBytes_AsString(remote[0]), 16)
            path.remote.port = remote[1]
            path.channel = channel
            demux_receive(self.core, now_us, &path, at, <int>len(data))
            at += <size_t>len(data)
        demux_flush(self.core, now_us)

    def receive_relayed(self, int64_t now_us) -> bool:
        """A batch from each engine of the mesh. True: there may be more."""
        self.check_free()
        relay_answer(self.core)
        return relay_receive(self.core, now_us)

    def close_channel(self, uint32_t channel) -> None:
        self.check_free()
        ice_channel_closed(self.core, channel)

    def press(self, int64_t now_us) -> None:
        """As when more comes than can be sent: the busiest rooms get less from here on."""
        self.check_free()
        overload_press(&self.core.overload, now_us)

    def tick(self, int64_t now_us):
        """When to call again, or None."""
        self.check_free()
        due = demux_tick(self.core, now_us)
        return None if due == NEVER else due

    def take_sent(self) -> list:
        """((16 bytes of address, port), channel, packet) of everything sent since the last call."""
        cdef uint32_t i, size
        cdef OutMessage* message
        cdef OutCursor cursor
        cdef uint8_t* data
        self.check_free()
        out = []
        for i in range(self.core.out.message_count):
            message = &self.core.out.messages[i]
            place = (PyBytes_FromStringAndSize(<char*>message.path.remote.ip, 16), message.path.remote.port)
            cursor = packets_of(message)
            data = next_packet(&cursor, &size)
            while data != NULL:
                out.append((place, message.path.channel, PyBytes_FromStringAndSize(<char*>data, size)))
                data = next_packet(&cursor, &size)
        outbox_forget(&self.core.out)
        return out
