"""What both questions measure on: a sender and receivers around the bare loop, or around a Tandem server."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from bench.load import made_data, namespace
from bench.load.buffers import enlarge
from bench.load.cpu import spent, thread_times
from bench.load.pin import apart, everywhere, in_medias_place, pin_server
from bench.load.tandem import MID, MID_EXTENSION, PAYLOAD_TYPE, SSRC, TWCC_EXTENSION, Call
from bench.load.veth import where_receivers_are
from bench.native.bare import Bare
from bench.native.driver import Driver
from rtp_core.srtp import Profile, SrtpPair
from tests.harness.server_process import ServerProcess

ENGINE_THREAD = "tandem-media"
_BARE_SSRC = 9
_GCM = Profile.AEAD_AES_128_GCM
_SO_TIMESTAMPNS = 35
_SOL_UDP, _UDP_GRO = 17, 104


def _socket(stack: ExitStack, address: str) -> socket.socket:
    one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    one.setblocking(False)
    one.bind((address, 0))
    enlarge(one)
    return one


@contextmanager
def bare_stage(receivers: int, sinks: int, *, gso: bool, stamps: bool) -> Iterator[tuple[Driver, Bare]]:
    """The loop's thread runs until the end of the block; its CPU time is known afterwards."""
    up = secrets.token_bytes(28)
    keys = [secrets.token_bytes(28) for _ in range(receivers + sinks)]
    with apart(), ExitStack() as stack:
        server = _socket(stack, namespace.SERVER)
        with where_receivers_are():
            sender = _socket(stack, namespace.WITNESS)
            listening = [_socket(stack, namespace.WITNESS) for _ in range(receivers)]
        server.setsockopt(_SOL_UDP, _UDP_GRO, int(gso))
        for one in listening:
            one.setsockopt(_SOL_UDP, _UDP_GRO, int(not stamps))
            one.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, int(stamps))
        sender.connect(server.getsockname())
        # As in the server, who came first is served last: a frame is through when the witness has it.
        places = [(namespace.subscriber_address(n), 40000) for n in range(1, sinks + 1)]
        places += [one.getsockname() for one in listening]
        loop = Bare(
            server.fileno(),
            [
                (
                    SrtpPair(_GCM, up, up),
                    [
                        (int(ipaddress.ip_address(host)), port, 77, key)
                        for (host, port), key in zip(places, keys, strict=True)
                    ],
                )
            ],
            first_ssrc=_BARE_SSRC,
            gso=gso,
            group=64,
        )
        opening = [
            (one.fileno(), SrtpPair(_GCM, key, key)) for one, key in zip(listening, keys[sinks:], strict=True)
        ]
        driver = Driver(
            sender.fileno(),
            SrtpPair(_GCM, up, up),
            opening,
            payload_type=96,
            mid_id=1,
            mid=b"1",
            twcc_id=2,
            ssrc=_BARE_SSRC,
        )
        with in_medias_place(loop):
            yield driver, loop


def media_thread(pid: int) -> int:
    """The native id of a server's first media thread."""
    return min(thread for thread, (name, _) in thread_times(pid).items() if name.startswith(ENGINE_THREAD))


class Server(ServerProcess):
    """With a signal that keeps its Trio thread busy: see bench.load.blockable."""

    def __init__(self, data_dir: Path, *args: str) -> None:
        super().__init__(data_dir, *args)
        self.module = "bench.load.blockable"

    def start(self) -> ServerProcess:
        made_data.copy_to(self.data_dir)
        with everywhere():
            return super().start()

    def counters(self) -> tuple[int, int]:
        """Packets forwarded and messages given to the kernel since its start, by the server's metrics."""
        with urllib.request.urlopen(self.url + "metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = [
            re.search(rf"^tandem_media_{name}\S* (\S+)$", text, re.M)
            for name in ("forwarded", "messages_out")
        ]
        if found[0] is None or found[1] is None:
            raise RuntimeError("the server's metrics name no forwarded packets")
        return int(float(found[0][1])), int(float(found[1][1]))

    def must_be_silent(self) -> None:
        """RuntimeError if Python answers: then nothing is blocked."""
        try:
            urllib.request.urlopen(self.url + "healthz", timeout=0.3).close()
        except TimeoutError:
            return
        raise RuntimeError("the server's Trio thread answers while it ought to be blocked")


@dataclass
class Spent:
    engine_ns: int = 0
    process_ns: int = 0
    forwarded: int = 0
    messages: int = 0


@dataclass
class Stage:
    server: Server
    call: Call
    driver: Driver

    async def run(self, seconds: float, **how: float) -> tuple[dict[str, float], Spent]:
        """Driver.run, and what it made the server spend."""
        began = await trio.to_thread.run_sync(self.server.counters)
        before = thread_times(self.server.pid)  # after the metrics, which cost the server some
        found = await trio.to_thread.run_sync(lambda: self.driver.run(seconds, **how))  # type: ignore[arg-type]
        after, ended = thread_times(self.server.pid), await trio.to_thread.run_sync(self.server.counters)
        return found, Spent(
            engine_ns=spent(before, after, ENGINE_THREAD),
            process_ns=spent(before, after, ""),
            forwarded=ended[0] - began[0],
            messages=ended[1] - began[1],
        )


@asynccontextmanager
async def tandem_stage(
    receivers: int, sinks: int, settings: list[str], *, stamps: bool
) -> AsyncIterator[Stage]:
    """A call with everybody connected, and media that has flowed to all of them."""
    count = receivers + sinks
    with apart(), tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        arguments = ["--announce", namespace.SERVER, "--log-level", "warning"]
        for one in (
            "call.policy=sfu",
            f"call.max_participants={count + 10}",
            f"http.max_connections_per_address={count + 100}",
            *settings,
        ):
            arguments += ["--set", one]
        server = Server(Path(name) / "data", *arguments)
        await trio.to_thread.run_sync(server.start)
        try:
            pin_server(server.pid, ENGINE_THREAD)
            async with Call(server.url, "bench") as call:
                await call.publish(namespace.WITNESS)
                for _ in range(receivers):
                    await call.subscribe(namespace.WITNESS)
                for n in range(1, sinks + 1):
                    await call.subscribe(namespace.subscriber_address(n))
                with trio.fail_after(60):
                    await call.wait_media()
                assert call.publisher is not None
                source = call.publisher.endpoint
                assert source.pair is not None
                listening = []
                for subscriber in call.subscribers[:receivers]:
                    endpoint = subscriber.endpoint
                    assert endpoint.pair is not None
                    endpoint.listen(gro=not stamps, stamps=stamps)
                    listening.append((endpoint.socket.fileno(), endpoint.pair))
                driver = Driver(
                    source.socket.fileno(),
                    source.pair,
                    listening,
                    payload_type=PAYLOAD_TYPE,
                    mid_id=MID_EXTENSION,
                    mid=MID,
                    twcc_id=TWCC_EXTENSION,
                    ssrc=SSRC,
                )
                call.keep_alive()
                await trio.to_thread.run_sync(lambda: driver.run(0.5, packets=1, payload=200, fps=50))
                yield Stage(server, call, driver)
        finally:
            await trio.to_thread.run_sync(server.stop)
