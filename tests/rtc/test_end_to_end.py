"""Negotiated by SDP, carried by the real engine: from one endpoint's send connection to another's receive."""

from __future__ import annotations

from typing import Literal

import pytest
import trio

from server.media.bridge import Media
from server.media.router import Router
from server.media.settings import MediaSettings
from server.media.streams import Consumer
from server.media.transport import Transport
from server.rtc.capabilities import can_consume, extension_map
from server.rtc.certificate import Certificate
from server.rtc.negotiation import RecvNegotiation, SendAnswer, SendNegotiation
from server.rtc.parameters import Source
from tests.harness.rtc_peer import RtcPeer, wait_until
from tests.harness.rtp import RtpPacket
from tests.harness.sdp_client import (
    AUDIO_LEVEL_ID,
    MID_ID,
    OPUS,
    VP8,
    recv_answer,
    remote_side,
    send_offer,
)

Protocol = Literal["udp", "tcp"]
A, B = Certificate.generate(1_800_000_000.0), Certificate.generate(1_800_000_000.0)
UFRAG, PWD = "peerufrag", "peer-password-of-some-length"
KEY_FRAME = b"\x10\x00\x9d\x01\x2a" + bytes(3) + b"key"  # RFC 7741: start of partition 0, P bit clear


class Listener:
    def __getattr__(self, name: str) -> object:
        return lambda *_: None


def publish(
    transport: Transport, router: Router, role: str, protocol: Protocol
) -> tuple[SendAnswer, RtcPeer]:
    """The sender's side: its offer answered, and the endpoint that the answer makes."""
    offer = send_offer(
        ufrag=UFRAG, pwd=PWD, fingerprint=A.fingerprint(), setup="passive" if role == "server" else "actpass"
    )
    answer = SendNegotiation(router.rtp_capabilities).answer(
        offer, ice=transport.ice, fingerprint=transport.fingerprint
    )
    transport.connect(answer.dtls)
    ice, fingerprint, ours = remote_side(answer.sdp)
    assert ours == role
    return answer, RtcPeer(
        ice,
        fingerprint,
        certificate=A,
        dtls_role=ours,
        protocol=protocol,
        ufrag=UFRAG,
        pwd=PWD,
        check_interval=0.02,
    )


def subscribe(
    transport: Transport, router: Router, sent: SendAnswer, sender: Transport, protocol: Protocol
) -> tuple[list[Consumer], RtcPeer]:
    """The receiver's side: microphone and camera of the sender, offered and accepted."""
    negotiation = RecvNegotiation(router.rtp_capabilities)
    consumers: list[Consumer] = []
    sources: tuple[Source, ...] = ("microphone", "camera")
    for media, source in zip(sent.media, sources, strict=False):
        producer = sender.produce(kind=media.kind, source=source, rtp=media.rtp)
        mid = negotiation.add(media.kind, stream_id="ann", track_id=producer.id)
        consumer = transport.consume(producer, mid=mid)
        negotiation.set_ssrc(mid, consumer.ssrc, consumer.rtx_ssrc, "ann")
        consumers.append(consumer)
    offer = negotiation.offer(ice=transport.ice, fingerprint=transport.fingerprint)
    answer = negotiation.accept_untrusted(
        recv_answer(offer, ufrag=UFRAG, pwd=PWD, fingerprint=B.fingerprint())
    )
    for media, consumer in zip(sent.media, consumers, strict=False):
        assert can_consume(media.rtp, router.rtp_capabilities, answer.accepted[consumer.mid])
    transport.connect(answer.dtls)
    ice, fingerprint, role = remote_side(offer)
    peer = RtcPeer(ice, fingerprint, certificate=B, dtls_role=role, protocol=protocol, ufrag=UFRAG, pwd=PWD)
    return consumers, peer


@pytest.mark.parametrize(
    ("protocol", "role"), [("udp", "client"), ("udp", "server"), ("tcp", "client"), ("tcp", "server")]
)
async def test_media_arrives_in_the_routers_terms(protocol: Protocol, role: str) -> None:
    media = Media(MediaSettings(announce=("127.0.0.1",)))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(media.run)
            router = media.create_router(Listener())  # type: ignore[arg-type]
            send, recv = router.create_transport("send"), router.create_transport("recv")
            sent, sender = publish(send, router, role, protocol)
            consumers, receiver = subscribe(recv, router, sent, send, protocol)
            async with sender, receiver:
                await sender.wait_connected()
                await receiver.wait_connected()
                await _carry(sent, sender, receiver, consumers, router)
                if protocol == "udp":
                    before = sender.mapped_address
                    await sender.rebind()
                    await wait_until(lambda: sender.mapped_address != before)
                sender.restart_ice(send.restart_ice())
                answered = sender.checks_answered
                await sender.send_check()
                await wait_until(lambda: sender.checks_answered > answered)
                await sender.send_rtp(RtpPacket(OPUS, 900, 9000, 1001, b"after all that"))
                await receiver.wait_rtp(lambda packet: packet.payload == b"after all that")
                assert not {*sender.errors, *receiver.errors}
            nursery.cancel_scope.cancel()


async def _carry(
    sent: SendAnswer, sender: RtcPeer, receiver: RtcPeer, consumers: list[Consumer], router: Router
) -> None:
    audio, video = consumers
    audio.resume()
    video.resume()
    microphone = RtpPacket(OPUS, 1, 960, 1001, b"opus", extensions={MID_ID: b"0", AUDIO_LEVEL_ID: b"\x10"})
    camera = RtpPacket(VP8, 1, 3000, 2001, KEY_FRAME, marker=True, extensions={MID_ID: b"1"})

    async def repeat(packet: RtpPacket) -> None:
        """A resume reaches the engine's thread on its own time, so go on until something has come."""
        while True:
            await sender.send_rtp(packet)
            packet.sequence += 1
            packet.timestamp += 960
            await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(repeat, microphone)
        nursery.start_soon(repeat, camera)
        heard = await receiver.wait_rtp(lambda packet: packet.ssrc == audio.ssrc)
        seen = await receiver.wait_rtp(lambda packet: packet.ssrc == video.ssrc)
        nursery.cancel_scope.cancel()
    extensions = extension_map(sent.media[0].rtp, router.rtp_capabilities)
    assert (heard.payload_type, heard.payload) == (111, b"opus")
    assert heard.extensions[extensions[MID_ID]] == audio.mid.encode()
    assert heard.extensions[extensions[AUDIO_LEVEL_ID]] == b"\x10"
    assert (seen.payload_type, seen.payload, seen.marker) == (96, KEY_FRAME, True)
    assert seen.extensions[extensions[MID_ID]] == video.mid.encode()
