"""What the cheap joiner reads and writes, held against the whole parser and against wsproto."""

from __future__ import annotations

import socket
import threading

import pytest
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Ping, Pong, Request, TextMessage

from bench.load.joiner import answer_to, remote_of
from bench.load.plain_websocket import PlainWebSocket
from server.rtc.capabilities import codecs_of, router_capabilities
from server.rtc.certificate import Certificate
from server.rtc.negotiation import RecvNegotiation
from server.rtc.parameters import IceCandidate, IceParameters
from tests.harness.sdp_client import remote_side

CAPS = router_capabilities()
CERTIFICATE = Certificate.generate(1_800_000_000.0)
CANDIDATES = [
    IceCandidate("1", 9, "2001:db8::1", 5000, "udp"),
    IceCandidate("2", 8, "192.0.2.1", 5001, "tcp", tcp_type="passive"),
    IceCandidate("3", 7, "192.0.2.1", 5002, "udp"),
]
ICE = IceParameters("serverufrag", "the-password-of-the-server", CANDIDATES)


def test_offers_are_read_as_the_parser_reads_them_and_taken_whole() -> None:
    negotiation = RecvNegotiation(CAPS)
    mids = [negotiation.add(kind, stream_id="s", track_id=f"t{kind}") for kind in ("audio", "video")]
    for number, mid in enumerate(mids):
        negotiation.set_ssrc(mid, 10 + number, 20 if number else None, "cname")
    offer = negotiation.offer(ice=ICE, fingerprint=CERTIFICATE.fingerprint())
    ice, fingerprint, _ = remote_side(offer)
    remote = remote_of(offer)
    assert (remote.ufrag, remote.pwd) == (ice.username_fragment, ice.password)
    assert (remote.address, remote.fingerprint) == (("192.0.2.1", 5002), fingerprint.value)
    answer = negotiation.accept_untrusted(
        answer_to(offer, "peerufrag", "peer-password-of-some-length", CERTIFICATE.fingerprint().value)
    )
    assert (answer.ice_ufrag, answer.rejected, answer.dtls.role) == ("peerufrag", [], "client")
    for mid, kind in zip(mids, ("audio", "video"), strict=True):
        assert answer.accepted[mid] == {codec.payload_type for codec in codecs_of(kind, CAPS)}  # type: ignore[arg-type]


def test_a_server_without_udp_over_ipv4_is_told() -> None:
    ice = IceParameters("serverufrag", "the-password-of-the-server", CANDIDATES[:2])
    offer = RecvNegotiation(CAPS).offer(ice=ice, fingerprint=CERTIFICATE.fingerprint())
    with pytest.raises(RuntimeError, match="UDP over IPv4"):
        remote_of(offer)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 100_001])
def test_frames_of_every_length_go_both_ways(size: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)
    heard: list[str] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            wire = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
            while True:
                wire.receive_data(connection.recv(65_536))
                for event in wire.events():
                    if isinstance(event, Request):
                        connection.sendall(wire.send(AcceptConnection()))
                        connection.sendall(wire.send(Ping(b"first")))
                    elif isinstance(event, Pong):
                        heard.append(bytes(event.payload).decode())
                    elif isinstance(event, TextMessage):
                        heard.append(event.data)
                        if event.message_finished:
                            half = size // 2
                            connection.sendall(wire.send(TextMessage("y" * half, message_finished=False)))
                            connection.sendall(wire.send(TextMessage("z" * (size - half))))
                            connection.sendall(wire.send(CloseConnection(4001, "done")))
                            while connection.recv(65_536):  # with a pong unread, closing would be a reset
                                pass
                            return

    thread = threading.Thread(target=serve)
    thread.start()
    client = PlainWebSocket(f"ws://127.0.0.1:{listener.getsockname()[1]}/ws", 10)
    try:
        client.send(b"x" * size)
        assert client.receive() == b"y" * (size // 2) + b"z" * (size - size // 2)
        with pytest.raises(ConnectionError, match="4001"):
            client.receive()
    finally:
        client.close()
        thread.join()
        listener.close()
    assert "".join(heard).replace("first", "") == "x" * size
