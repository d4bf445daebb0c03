"""Rooms of people who send and are sent media at real pace, on a Tandem server or around the bare loop."""

from __future__ import annotations

import ipaddress
import os
import resource
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load import namespace
from bench.load.buffers import enlarge
from bench.load.cpu import spent, thread_times
from bench.load.member import Member, ssrc_of
from bench.load.pin import apart, in_medias_place, pin_server
from bench.load.plan import Kind, Media, Place, Receiving, Sending
from bench.load.stage import ENGINE_THREAD, Server, Spent
from bench.native.bare import Bare
from bench.native.traffic import Traffic
from rtp_core.srtp import Profile, SrtpPair
from server.rtc.certificate import Certificate
from tests.harness.sdp_client import AUDIO_LEVEL_ID, MID_ID, OPUS, TRANSPORT_CC_ID, VP8

_SO_TIMESTAMPNS = 35
_SOL_UDP, _UDP_GRO = 17, 104
_SETTLE_S = 60.0
_KEEP_ALIVE_S = 4.0
_BARE_RECEIVED = 100_000_000  # added to a sender's SSRC where it is received


@dataclass(frozen=True)
class Room:
    """So many who send `media` and are sent everybody else's, and so many who only listen."""

    senders: int
    media: tuple[Media, ...]
    listeners: int = 0

    @property
    def size(self) -> int:
        return self.senders + self.listeners

    @property
    def consumers(self) -> int:
        return len(self.media) * (self.senders * (self.senders - 1) + self.senders * self.listeners)


@dataclass
class Rooms:
    """People in their rooms, and the thread that plays them."""

    server: Server
    members: list[Member]
    traffic: Traffic

    def run(self, seconds: float, **how: float) -> tuple[dict[str, int | float], Spent]:
        """Traffic.run, and what it made the server spend."""
        return spending(self.server, lambda: self.traffic.run(seconds, **how))


def spending(
    server: Server, work: Callable[[], dict[str, int | float]]
) -> tuple[dict[str, int | float], Spent]:
    before, began = thread_times(server.pid), server.counters()
    found = work()
    after, ended = thread_times(server.pid), server.counters()
    return found, Spent(
        engine_ns=spent(before, after, ENGINE_THREAD),
        process_ns=spent(before, after, ""),
        forwarded=ended[0] - began[0],
        messages=ended[1] - began[1],
    )


@contextmanager
def running_server(people: int, rooms: int, settings: list[str]) -> Iterator[Server]:
    """A server that takes so many, its media thread on a core of its own."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # three sockets of each person
    with apart(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        arguments = ["--announce", namespace.SERVER, "--log-level", "warning"]
        for one in (
            "call.policy=sfu",
            f"call.max_participants={people + 10}",
            f"call.max_rooms={rooms + 10}",
            f"http.max_connections={people + 200}",
            f"http.max_connections_per_address={people + 200}",
            "limits.ping_interval_s=3600",  # who joins a thousand one by one leaves each unheard for a while
            *settings,
        ):
            arguments += ["--set", one]
        server = Server(Path(name) / "data", *arguments)
        server.start()
        try:
            pin_server(server.pid, ENGINE_THREAD)
            yield server
        finally:
            try:
                server.stop()
            except subprocess.TimeoutExpired:
                print("the server did not stop in time and was killed", file=sys.stderr)


def socket_url(server: Server) -> str:
    return server.url.replace("http", "ws", 1) + "ws"


def certificate_for(profile: Profile) -> Certificate:
    """The SRTP profile that this one's sessions offer, and no other."""
    certificate = Certificate.generate(time.time())
    certificate.ssl_context.set_tlsext_use_srtp(f"SRTP_{profile.name}".encode())
    return certificate


@contextmanager
def rooms_stage(
    rooms: list[Room],
    settings: list[str],
    *,
    profile: Profile = Profile.AEAD_AES_128_GCM,
    stamps: bool = False,
    warm_s: float = 1.0,
) -> Iterator[Rooms]:
    """Everybody is connected, and media has flowed to all of them."""
    people = sum(room.size for room in rooms)
    with running_server(people, len(rooms), settings) as server, ExitStack() as stack:
        members = join_all(stack, socket_url(server), rooms, certificate_for(profile))
        traffic = traffic_between(members, stamps=stamps)
        traffic.run(warm_s)
        yield Rooms(server, members, traffic)


def traffic_between(members: list[Member], *, stamps: bool = False) -> Traffic:
    """Their native threads: each sends its media and verifies what it gets of the others'."""
    tag_of: dict[tuple[str, Kind], int] = {
        (one.participant_id, kind): tag for one in members for kind, (_, tag) in one.media.items()
    }
    for member in members:
        for lane in (member.sending, member.receiving):
            if lane is not None:
                prepare(lane.socket, gro=not stamps, stamps=stamps)
    return Traffic([place for member in members for place in member.places(tag_of)])


def join_all(
    stack: ExitStack,
    url: str,
    rooms: list[Room],
    certificate: Certificate,
    *,
    named: str = "room",
    first_tag: int = 0,
    address_of: Callable[[int], str] = lambda place: "",
) -> list[Member]:
    """One after the other, each at the address for its place in the room.

    RuntimeError when not everybody is offered everybody else's media.
    """
    members: list[Member] = []
    expected: dict[int, list[Kind]] = {}
    tag = first_tag
    alive = time.monotonic()
    for number, room in enumerate(rooms):
        here: list[Member] = []
        for place in range(room.size):
            media = list(room.media) if place < room.senders else []
            member = stack.enter_context(
                Member(url, certificate, media, list(range(tag, tag + len(media))), address_of(place))
            )
            tag += len(media)
            member.enter(f"{named}-{number}", f"member-{place}")
            here.append(member)
            if place < room.senders or place % 16 == 0:
                for one in here:
                    one.catch_up()
            if time.monotonic() - alive > _KEEP_ALIVE_S:
                alive = time.monotonic()
                for one in members + here:
                    one.keep_alive()
        for one in here:
            kinds: list[Kind] = [media.kind for media in room.media]
            expected[id(one)] = sorted(kinds * (room.senders - bool(one.media)))
        members += here
    deadline = time.monotonic() + _SETTLE_S
    waiting = members
    while waiting:
        for one in waiting:
            one.catch_up()
        waiting = [one for one in waiting if _offered(one, expected[id(one)]) != expected[id(one)]]
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(waiting)} of {len(members)} were not offered all media")
        if time.monotonic() - alive > _KEEP_ALIVE_S:
            alive = time.monotonic()
            for one in members:
                one.keep_alive()
        time.sleep(0.01)
    for one in members:
        one.keep_alive()
        one.catch_up()
    return members


def _offered(one: Member, kinds: list[Kind]) -> list[Kind]:
    return sorted(heard.kind for heard in one.heard if heard.kind in kinds)


def prepare(one: socket.socket, *, gro: bool, stamps: bool) -> None:
    """What the native thread wants of a socket."""
    one.setblocking(False)
    enlarge(one)
    one.setsockopt(_SOL_UDP, _UDP_GRO, int(gro))
    one.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, int(stamps))


def _socket(stack: ExitStack, address: str) -> socket.socket:
    one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    one.bind((address, 0))
    return one


@contextmanager
def bare_rooms(rooms: list[Room], *, gso: bool, stamps: bool = False) -> Iterator[tuple[Traffic, Bare]]:
    """The same people around the bare loop, which runs until the end of the block."""
    profile = Profile.AEAD_AES_128_GCM
    with apart(), ExitStack() as stack:
        server = _socket(stack, namespace.SERVER)
        prepare(server, gro=gso, stamps=False)
        streams: list[tuple[SrtpPair, list[tuple[int, int, int, bytes]]]] = []
        places: list[Place] = []
        for room in rooms:
            _bare_room(stack, room, server, streams, places, profile, stamps)
        loop = Bare(server.fileno(), streams, first_ssrc=ssrc_of(0), gso=gso, group=64)
        traffic = Traffic(places, reports=False)
        with in_medias_place(loop):
            yield traffic, loop


def _bare_room(
    stack: ExitStack,
    room: Room,
    server: socket.socket,
    streams: list[tuple[SrtpPair, list[tuple[int, int, int, bytes]]]],
    places: list[Place],
    profile: Profile,
    stamps: bool,
) -> None:
    """Adds a room's streams, in the order of their tags, and its people's transports."""
    down = [secrets.token_bytes(profile.key_len + profile.salt_len) for _ in range(room.size)]
    listening = [_socket(stack, namespace.WITNESS) for _ in range(room.size)]
    heard: list[list[Receiving]] = [[] for _ in range(room.size)]
    for member in range(room.senders):
        up = secrets.token_bytes(profile.key_len + profile.salt_len)
        sending = _socket(stack, namespace.WITNESS)
        sending.connect(server.getsockname())
        source = SrtpPair(profile, up, up)
        sent = []
        for media in room.media:
            tag = len(streams)
            video = media.kind == "video"
            number = VP8 if video else OPUS
            sent.append(Sending(media, ssrc_of(tag), 0, number, 0, b"1" if video else b"0", tag))
            to = []
            for other in range(room.size):
                if other != member:
                    host, port = listening[other].getsockname()
                    ssrc = ssrc_of(tag) + _BARE_RECEIVED
                    to.append((int(ipaddress.ip_address(host)), port, ssrc, down[other]))
                    heard[other].append(Receiving(media.kind, ssrc, 0, number, 0, tag))
            streams.append((source, to))
        prepare(sending, gro=True, stamps=False)
        places.append(_bare_place(sending, SrtpPair(profile, up, up), sent, []))
    for one, key, got in zip(listening, down, heard, strict=True):
        prepare(one, gro=not stamps, stamps=stamps)
        places.append(_bare_place(one, SrtpPair(profile, key, key), [], got))


def _bare_place(one: socket.socket, pair: SrtpPair, sent: list[Sending], heard: list[Receiving]) -> Place:
    return Place(one.fileno(), pair, b"", MID_ID, TRANSPORT_CC_ID, AUDIO_LEVEL_ID, sent, heard)
