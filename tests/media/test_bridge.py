"""The media server over loopback sockets, with endpoints that speak ICE, DTLS and SRTP themselves."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec
import pytest
import trio

from server.media import api
from server.media.bridge import Media
from server.media.settings import MediaSettings
from server.rtc.capabilities import router_capabilities
from server.rtc.parameters import (
    DtlsParameters,
    Fingerprint,
    HeaderExtension,
    MediaKind,
    RtcpFeedback,
    RtpCodec,
    RtpEncoding,
    RtpParameters,
)
from tests.harness.rtc_peer import RtcPeer, wait_until
from tests.harness.rtp import RtpPacket, sender_report

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
KEY = bytes([0x10, 0x00]) + b"\x9d\x01\x2a" + bytes(20)
DELTA = bytes([0x10, 0x01]) + bytes(20)


class Listener:
    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.producers: list[api.Producer] = []
        self.consumers: list[api.Consumer] = []
        self.levels: list[list[tuple[api.Producer, float]]] = []
        self.speakers: list[api.Producer | None] = []
        self.fail = False

    def on_transport_state(self, transport: api.WebRtcTransport, state: api.TransportState) -> None:
        self.states.append((transport.id, state))
        if self.fail:
            raise RuntimeError("a listener's mistake")

    def on_producer_started(self, producer: api.Producer) -> None:
        self.producers.append(producer)

    def on_consumer_started(self, consumer: api.Consumer) -> None:
        self.consumers.append(consumer)

    def on_audio_levels(self, levels: list[tuple[api.Producer, float]]) -> None:
        self.levels.append(levels)

    def on_active_speaker(self, producer: api.Producer | None) -> None:
        self.speakers.append(producer)


def rtp_parameters(kind: MediaKind, mid: str) -> RtpParameters:
    extensions = [HeaderExtension(MID, 4), HeaderExtension(LEVEL, 5)]
    if kind == "audio":
        codecs = [RtpCodec("audio/opus", 109, 48000, 2)]
    else:
        feedback = [RtcpFeedback("nack"), RtcpFeedback("nack", "pli"), RtcpFeedback("ccm", "fir")]
        codecs = [
            RtpCodec("video/VP8", 120, 90000, None, {}, feedback),
            RtpCodec("video/rtx", 121, 90000, None, {"apt": 120}),
        ]
    return RtpParameters(mid, codecs, extensions, [RtpEncoding()])


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def media(nursery: trio.Nursery) -> AsyncIterator[Media]:
    server = Media(
        MediaSettings(addresses=("127.0.0.1", "::1"), tcp_port=0, disconnected_s=0.6, failed_s=1.2)
    )
    await nursery.start(server.run)
    assert server.running
    return server


def audio(n: int, *, ssrc: int = 7, level: int | None = None) -> RtpPacket:
    extensions = {4: b"mic"} | ({} if level is None else {5: bytes([0x80 | level])})
    return RtpPacket(109, n, n * 960, ssrc, b"opus%05d" % n, extensions=extensions)


def video(n: int, *, key: bool = False) -> RtpPacket:
    body = (KEY if key else DELTA) + b"%05d" % n
    return RtpPacket(120, n, n * 3000, 8, body, marker=True, extensions={4: b"cam"})


async def test_audio_and_video_from_one_to_another(media: Media, listener: Listener) -> None:
    router = media.create_router(listener)
    up, down = router.create_transport("send"), router.create_transport("recv")
    a, b = RtcPeer(up.ice, up.fingerprint), RtcPeer(down.ice, down.fingerprint)
    up.connect(a.dtls_parameters)
    down.connect(b.dtls_parameters)
    with trio.fail_after(10):
        async with a, b:
            await a.wait_connected()
            await b.wait_connected()
            await wait_until(lambda: up.state == down.state == "connected")
            assert (up.protocol, down.protocol) == ("udp", "udp")
            mic = up.produce(kind="audio", source="microphone", rtp=rtp_parameters("audio", "mic"))
            cam = up.produce(kind="video", source="camera", rtp=rtp_parameters("video", "cam"))
            hear, see = down.consume(mic, mid="0"), down.consume(cam, mid="1", cname="ann")
            assert hear.paused
            assert hear.rtx_ssrc is None
            assert see.rtx_ssrc is not None
            await a.send_rtp(video(0))
            await wait_until(lambda: cam in listener.producers)
            hear.resume()
            see.resume()
            await a.wait_rtcp(lambda compound: compound[:2] == b"\x81\xce")  # PLI
            for n in range(30):
                await a.send_rtp(audio(n))
                await a.send_rtp(video(n + 1, key=n == 0))
            await b.wait_rtp_count(60)
            await wait_until(lambda: set(listener.consumers) == {hear, see})
            sound = [p for p in b.rtp if p.ssrc == hear.ssrc]
            picture = [p for p in b.rtp if p.ssrc == see.ssrc]
            assert [p.payload for p in sound] == [b"opus%05d" % n for n in range(30)]
            assert [p.payload[-5:] for p in picture] == [b"%05d" % (n + 1) for n in range(30)]
            assert {p.extensions[1] for p in sound} == {b"0"}
            assert mic.stats().packets == 30
            assert see.stats().packets == 30
            assert see.stats().key_frames == 1
            assert up.stats().packets_received > 60
            assert b.errors == {}
            await a.wait_rtcp(lambda compound: compound[1] == 201)
            report = sender_report(8, ntp=1 << 40, timestamp=0, packets=1, octets=1, cname="a browser's")
            await a.send_rtcp(report)
            await b.wait_rtcp(lambda compound: compound[1] == 200 and b"\x01\x03ann\0" in compound)
    router.close()
    assert mic.closed
    assert see.closed
    assert up.state == "closed"
    await wait_until(lambda: media.stats()["transports"] == 0)
    assert [engine.objects for engine in media.engines] == [{}]


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_connects_both_ways(
    media: Media, listener: Listener, role: Any, protocol: Any, host: str
) -> None:
    transport = media.create_router(listener).create_transport("recv")
    candidate = next(c for c in transport.ice.candidates if (c.protocol, c.address) == (protocol, host))
    peer = RtcPeer(
        transport.ice, transport.fingerprint, protocol=protocol, dtls_role=role, candidate=candidate
    )
    with trio.fail_after(10):
        async with peer:
            transport.connect(peer.dtls_parameters)
            await peer.wait_connected()
            await wait_until(lambda: transport.state == "connected")
            assert transport.protocol == protocol
            assert [state for _, state in listener.states] == ["connecting", "connected"]
        await wait_until(lambda: transport.state == "closed")  # close_notify: no failure


async def test_media_goes_on_when_dtls_has_been_let_go(nursery: trio.Nursery, listener: Listener) -> None:
    media = Media(MediaSettings(addresses=("127.0.0.1",), dtls_linger_s=0.0))
    await nursery.start(media.run)
    router = media.create_router(listener)
    up, down = router.create_transport("send"), router.create_transport("recv")
    a, b = RtcPeer(up.ice, up.fingerprint), RtcPeer(down.ice, down.fingerprint)
    up.connect(a.dtls_parameters)
    down.connect(b.dtls_parameters)
    with trio.fail_after(10):
        async with a, b:
            await a.wait_connected()
            await b.wait_connected()
            await wait_until(lambda: up.dtls_released and down.dtls_released)
            mic = up.produce(kind="audio", source="microphone", rtp=rtp_parameters("audio", "mic"))
            hear = down.consume(mic, mid="0", paused=False)
            for n in range(10):
                await a.send_rtp(audio(n))
            await b.wait_rtp_count(10)
            assert {packet.ssrc for packet in b.rtp} == {hear.ssrc}
            assert (up.state, down.state) == ("connected", "connected")
    router.close()


async def test_dtls_that_comes_before_the_answer_is_not_lost(media: Media, listener: Listener) -> None:
    transport = media.create_router(listener).create_transport("recv")
    peer = RtcPeer(transport.ice, transport.fingerprint)
    with trio.fail_after(10):
        async with peer:
            await wait_until(lambda: media.stats()["dtls_in"] > 0)
            transport.connect(peer.dtls_parameters)
            transport.connect(peer.dtls_parameters)
            await peer.wait_connected()
            with pytest.raises(ValueError, match="fingerprints"):
                transport.connect(DtlsParameters([Fingerprint("sha-256", "00:11")]))


async def test_wrong_fingerprint_gets_no_keys(media: Media, listener: Listener) -> None:
    transport = media.create_router(listener).create_transport("recv")
    peer = RtcPeer(transport.ice, transport.fingerprint)
    wrong = Fingerprint("sha-256", ":".join(["AB"] * 32))
    transport.connect(DtlsParameters([wrong], "client"))
    with trio.fail_after(10):
        async with peer:
            await wait_until(lambda: transport.state == "failed")


async def test_peer_that_vanishes_is_noticed_and_comes_back(media: Media, listener: Listener) -> None:
    transport = media.create_router(listener).create_transport("recv")
    peer = RtcPeer(transport.ice, transport.fingerprint, consent_interval=0.1)
    transport.connect(peer.dtls_parameters)
    with trio.fail_after(15):
        async with peer:
            await wait_until(lambda: transport.state == "connected")
            peer.consent = False
            await wait_until(lambda: transport.state == "disconnected")
            await wait_until(lambda: transport.state == "failed")
            peer.consent = True
            await wait_until(lambda: transport.state == "connected")
            peer.restart_ice(transport.restart_ice())
            answered = peer.checks_answered
            await wait_until(lambda: peer.checks_answered > answered + 2)
            await peer.rebind()
            await wait_until(lambda: peer.checks_answered > answered + 5)


async def test_tcp_carries_media_until_a_frame_is_nonsense(media: Media, listener: Listener) -> None:
    router = media.create_router(listener)
    up, down = router.create_transport("send"), router.create_transport("recv")
    a = RtcPeer(up.ice, up.fingerprint, protocol="tcp")
    b = RtcPeer(down.ice, down.fingerprint, protocol="tcp")
    up.connect(a.dtls_parameters)
    down.connect(b.dtls_parameters)
    with trio.fail_after(10):
        async with a, b:
            await a.wait_connected()
            await b.wait_connected()
            mic = up.produce(kind="audio", source="microphone", rtp=rtp_parameters("audio", "mic"))
            down.consume(mic, mid="0", paused=False)
            await wait_until(lambda: down.state == "connected")
            for n in range(300):
                await a.send_rtp(audio(n))
            await b.wait_rtp_count(300)
            assert [p.payload for p in b.rtp] == [b"opus%05d" % n for n in range(300)]
            await a.send_raw(bytes(60000))  # no such frame: the connection is closed
            await wait_until(lambda: up.state == "disconnected")


async def test_levels_and_the_active_speaker(media: Media, listener: Listener) -> None:
    router = media.create_router(listener)
    up = router.create_transport("send")
    a = RtcPeer(up.ice, up.fingerprint)
    up.connect(a.dtls_parameters)
    with trio.fail_after(10):
        async with a:
            await a.wait_connected()
            mic = up.produce(kind="audio", source="microphone", rtp=rtp_parameters("audio", "mic"))
            n = 0
            while mic not in listener.speakers:
                n += 1
                await a.send_rtp(audio(n, level=20))
                await trio.sleep(0.02)
            assert listener.levels[-1][0][0] is mic
            assert -40 < listener.levels[-1][0][1] < -10
            mic.close()
            await wait_until(lambda: listener.speakers[-1] is None)


async def test_media_does_not_wait_for_python(nursery: trio.Nursery, listener: Listener) -> None:
    """For two seconds the Trio thread neither runs Trio nor gives the GIL away: forwarding goes on."""
    media = Media(MediaSettings(addresses=("127.0.0.1",)))
    await nursery.start(media.run)
    router = media.create_router(listener)
    up, down = router.create_transport("send"), router.create_transport("recv")
    start = functools.partial(trio.run_process, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with trio.fail_after(30):
        far = await nursery.start(start, [sys.executable, "-m", "tests.media.far_end"])
        lines = read_lines(far.stdout)
        await far.stdin.send_all(
            msgspec.json.encode([(one.ice, one.fingerprint) for one in (up, down)]) + b"\n"
        )
        for one, parameters in zip((up, down), await anext(lines), strict=True):
            one.connect(msgspec.convert(parameters, DtlsParameters))
        assert await anext(lines) == "connected"
        mic = up.produce(kind="audio", source="microphone", rtp=rtp_parameters("audio", "mic"))
        down.consume(mic, mid="0", paused=False)
        await wait_until(lambda: down.state == up.state == "connected")
        await far.stdin.send_all(b"2.5\n")
        await wait_until(lambda: mic.stats().packets > 20)
        before = mic.stats().packets
        end = time.monotonic() + 2
        while time.monotonic() < end:  # pure Python: the GIL is held but for switches that nobody waits for
            pass
        assert mic.stats().packets > before + 20
        result = await anext(lines)
        await lines.aclose()
    assert result["received"] == result["sent"]
    assert result["p50"] < 0.2  # about one second, if anything had waited, and two for the first
    assert result["max"] < 1.5


async def read_lines(stream: trio.abc.ReceiveStream) -> AsyncGenerator[Any, None]:
    buffer = b""
    while chunk := await stream.receive_some(65536):
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            yield msgspec.json.decode(line)


async def test_listener_that_fails_harms_nobody(media: Media, listener: Listener) -> None:
    listener.fail = True
    transport = media.create_router(listener).create_transport("recv")
    peer = RtcPeer(transport.ice, transport.fingerprint)
    transport.connect(peer.dtls_parameters)
    with trio.fail_after(10):
        async with peer:
            await wait_until(lambda: transport.state == "connected")


async def test_taken_port_is_an_error_at_start(media: Media) -> None:
    second = Media(MediaSettings(addresses=("127.0.0.1",), udp_port=media.udp_port))
    with pytest.raises(OSError, match="in use"):
        await second.run()


async def test_candidates_are_announced(nursery: trio.Nursery, listener: Listener) -> None:
    server = Media(MediaSettings(announce=("203.0.113.5",), tcp_port=0))
    await nursery.start(server.run)
    ice = server.create_router(listener).create_transport("send").ice
    assert [(c.address, c.protocol, c.port, c.tcp_type) for c in ice.candidates] == [
        ("203.0.113.5", "udp", server.udp_port, None),
        ("203.0.113.5", "tcp", server.tcp_port, "passive"),
    ]


def test_router_capabilities_are_the_settings() -> None:
    assert Media(MediaSettings(codecs=("opus",))).rtp_capabilities == router_capabilities(["opus"])


def test_refusals_to_rooms() -> None:
    media = Media(MediaSettings())
    router = media.create_router(Listener())
    up = router.create_transport("send")
    producer = up.produce(kind="audio", source="microphone", rtp=rtp_parameters("audio", "mic"))
    with pytest.raises(ValueError, match="mic"):
        up.produce(kind="audio", source="microphone", rtp=rtp_parameters("audio", "mic"))
    with pytest.raises(ValueError, match="codecs"):
        up.produce(kind="audio", source="microphone", rtp=RtpParameters("x", [], [], []))
    producer.close()
    with pytest.raises(ValueError, match="closed"):
        router.create_transport("recv").consume(producer, mid="0")
    router.close()
    router.close()
    up.close()
    with pytest.raises(ValueError, match="closed"):
        router.create_transport("send")
