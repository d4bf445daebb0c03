"""One camera to N receivers as fast as it goes: a few verify all they get, what the others get is dropped.

The camera's driver is let on by what the slowest of those few gets, so there is always work and no loss, or
keeps a pace that is asked for.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.load import namespace
from bench.load.member import Member, ssrc_of
from bench.load.plan import video
from bench.load.rooms import Room, certificate_for, join_all, prepare, running_server, socket_url, spending
from bench.load.stage import Server, Spent
from bench.native.driver import Driver
from rtp_core.srtp import Profile
from tests.harness.sdp_client import MID_ID, TRANSPORT_CC_ID, VP8


@dataclass
class Fan:
    server: Server
    members: list[Member]  # the camera first, then the receivers in order
    driver: Driver
    idle: list[Member]  # of other rooms
    sinks: int  # how many of the last receivers

    def run(self, seconds: float, **how: float) -> tuple[dict[str, float], Spent]:
        """Driver.run, and what it made the server spend. What the sinks are sent is dropped.

        RuntimeError if it is not: then the server paid for receiving too.
        """
        self.keep_alive()
        time.sleep(0.1)  # the answers find their way before the sink opens
        _media_at(self.members[-1])
        namespace.sink(True)
        try:
            return spending(self.server, lambda: self.driver.run(seconds, **how))  # type: ignore[arg-type]
        finally:
            namespace.sink(False)
            if self.sinks and _media_at(self.members[-1]):
                raise RuntimeError("what was sent into the sink has arrived")
            self.keep_alive()

    def keep_alive(self) -> None:
        for one in [*self.members, *self.idle]:
            one.keep_alive()


def _media_at(one: Member) -> int:
    """RTP packets that wait at its receiving socket; they are taken away, as is everything else."""
    assert one.receiving is not None
    found = 0
    while True:
        try:
            data = one.receiving.socket.recv(2048, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        found += data[0] >= 128 and not 192 <= data[1] <= 223


@contextmanager
def fan_stage(
    receivers: int,
    sinks: int,
    settings: list[str],
    *,
    stamps: bool = False,
    idle: list[Room] | None = None,
    profile: Profile = Profile.AEAD_AES_128_GCM,
) -> Iterator[Fan]:
    """Everybody is connected and media has flowed to all. `idle` rooms are joined, and silent."""
    idle = idle or []
    people = 1 + receivers + sinks + sum(room.size for room in idle)

    def address(place: int) -> str:
        return namespace.WITNESS if place <= receivers else namespace.subscriber_address(place - receivers)

    with running_server(people, 1 + len(idle), settings) as server, ExitStack() as stack:
        certificate = certificate_for(profile)
        url = socket_url(server)
        silent = join_all(stack, url, idle, certificate, named="idle", first_tag=1)
        room = Room(1, (video(1_000_000),), listeners=receivers + sinks)
        members = join_all(stack, url, [room], certificate, address_of=address)
        camera = members[0].sending
        assert camera is not None
        assert camera.pair is not None
        prepare(camera.socket, gro=True, stamps=False)
        listening = []
        for one in members[1 : 1 + receivers]:
            assert one.receiving is not None
            assert one.receiving.pair is not None
            prepare(one.receiving.socket, gro=not stamps, stamps=stamps)
            listening.append((one.receiving.socket.fileno(), one.receiving.pair))
        driver = Driver(
            camera.socket.fileno(), camera.pair, listening, payload_type=VP8, mid_id=MID_ID, mid=b"1",
            twcc_id=TRANSPORT_CC_ID, ssrc=ssrc_of(0),
        )  # fmt: skip
        fan = Fan(server, members, driver, silent, sinks)
        fan.keep_alive()
        driver.run(0.5, packets=1, payload=200, fps=50)
        yield fan
