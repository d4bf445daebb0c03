"""Several pipelines of one server in memory, linked to each other, on one clock that tests move."""

from __future__ import annotations

from rtp_core.mesh import Mesh
from tests.rtp_core.world import CLIENT_EXTENSIONS, OPUS, VP8, VP8_RTX, World


class Engines:
    def __init__(self, count: int = 2, *, slots: int = 1024) -> None:
        self.worlds = [World(seed=1 + n) for n in range(count)]
        self.mesh = Mesh([world.core for world in self.worlds], slots=slots)

    @property
    def now(self) -> int:
        return self.worlds[0].now

    def step(self) -> None:
        """Twice, so that what one asks of another is answered too."""
        for _ in range(2):
            for world in self.worlds:
                world.step()

    def run(self, seconds: float, *, tick_us: int = 5_000) -> None:
        for _ in range(int(seconds * 1e6 / tick_us)):
            for world in self.worlds:
                world.now += tick_us
            self.step()

    def pipe(self, engine: int) -> int:
        """A transport for mirrors."""
        world = self.worlds[engine]
        return world.core.add_transport(world.router, b"", b"", 0)

    def mirror(
        self, producer: int, *, video: bool, home: int = 0, away: int = 1, pipe: int | None = None
    ) -> tuple[int, int]:
        """The mirror of a producer of engine `home` on engine `away`, and the relay that feeds it."""
        world = self.worlds[away]
        mirror = world.core.add_producer(
            self.pipe(away) if pipe is None else pipe,
            video=video,
            mid=b"any",
            ssrc=0,
            rtx_ssrc=0,
            payloads=[VP8, VP8_RTX] if video else [OPUS],
            extensions={int(kind): number for kind, number in CLIENT_EXTENSIONS.items()},
            origin=(home, producer),
        )
        relay = self.worlds[home].core.add_relay(producer, away, mirror)
        self.step()
        return mirror, relay

    def count(self, engine: int, name: str) -> int:
        return self.worlds[engine].core.counters()[name]
