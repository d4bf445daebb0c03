"""Two DTLS sessions against each other in memory, and hostile bytes against one."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.rtc.certificate import Certificate
from server.rtc.dtls import (
    HANDSHAKE_TIMEOUT,
    KEY_LENGTHS,
    MTU,
    DtlsSession,
    SrtpKeys,
    local_role,
)
from server.rtc.dtls_records import pack_records, record_end, whole_records_untrusted
from server.rtc.parameters import Fingerprint

A, B = Certificate.generate(1_800_000_000.0), Certificate.generate(1_800_000_000.0)


def pair(mtu: int = MTU, algorithm: str = "sha-256") -> tuple[DtlsSession, DtlsSession]:
    client = DtlsSession(A, "client", [B.fingerprint(algorithm)], mtu=mtu)
    server = DtlsSession(B, "server", [A.fingerprint(algorithm)], mtu=mtu)
    return client, server


def exchange(
    client: DtlsSession,
    server: DtlsSession,
    now: float = 0.0,
    treat: Callable[[list[bytes]], list[bytes]] = lambda datagrams: datagrams,
) -> None:
    """Carry datagrams until both are silent."""
    client.start(now)
    while True:
        to_server, to_client = treat(client.datagrams_to_send()), treat(server.datagrams_to_send())
        if not to_server and not to_client:
            return
        for datagram in to_server:
            server.receive_untrusted(datagram, now)
        for datagram in to_client:
            client.receive_untrusted(datagram, now)


def assert_connected(client: DtlsSession, server: DtlsSession) -> None:
    assert (client.state, server.state) == ("connected", "connected")
    assert client.srtp is not None
    assert server.srtp is not None
    assert client.srtp.profile == server.srtp.profile == "AEAD_AES_128_GCM"
    assert client.srtp.send_key == server.srtp.recv_key
    assert client.srtp.recv_key == server.srtp.send_key
    assert client.srtp.send_key != client.srtp.recv_key
    assert len(client.srtp.send_key) == sum(KEY_LENGTHS["AEAD_AES_128_GCM"])


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-384", "sha-512"])
def test_both_ends_get_the_same_keys(algorithm: str) -> None:
    client, server = pair(algorithm=algorithm)
    assert client.state == server.state == "new"
    assert client.next_timeout(5.0) is None
    exchange(client, server)
    assert_connected(client, server)
    assert client.next_timeout(5.0) is None


def test_keys_do_not_show_in_logs() -> None:
    keys = SrtpKeys("AEAD_AES_128_GCM", b"secret-send", b"secret-recv")
    assert "secret" not in repr(keys)


@pytest.mark.parametrize(
    ("remote", "local"), [("auto", "server"), ("client", "server"), ("server", "client")]
)
def test_our_role_follows_the_remote_one(remote: str, local: str) -> None:
    assert local_role(remote) == local  # type: ignore[arg-type]


def test_no_datagram_exceeds_the_mtu() -> None:
    client, server = pair(mtu=300)
    sizes: list[int] = []

    def measure(datagrams: list[bytes]) -> list[bytes]:
        sizes.extend(map(len, datagrams))
        return datagrams

    exchange(client, server, treat=measure)
    assert_connected(client, server)
    assert max(sizes) <= 300


def talkative_pair() -> tuple[DtlsSession, DtlsSession]:
    """A ClientHello in five datagrams; a browser's always comes in two."""
    talkative = Certificate.generate(1_800_000_000.0)
    talkative.ssl_context.set_alpn_protos([bytes([65 + number]) * 100 for number in range(8)])
    client = DtlsSession(talkative, "client", [B.fingerprint()], mtu=256)
    server = DtlsSession(B, "server", [talkative.fingerprint()], mtu=256)
    return client, server


@pytest.mark.parametrize("first", range(5))
def test_hello_fragments_in_any_order_and_twice(first: int) -> None:
    for rest in itertools.permutations(number for number in range(5) if number != first):
        client, server = talkative_pair()
        client.start(0.0)
        hello = client.datagrams_to_send()
        assert len(hello) == 5
        for number in (first, *rest):
            assert server.datagrams_to_send() == []
            server.receive_untrusted(hello[number], 0.0)
            server.receive_untrusted(hello[number], 0.0)
        flight = server.datagrams_to_send()
        assert len(flight) == 3
        for datagram in reversed(flight):
            client.receive_untrusted(datagram, 0.0)
        exchange(client, server)
        assert_connected(client, server)


@pytest.mark.parametrize("parity", [0, 1])
def test_loss_and_reordering_are_survived(parity: int) -> None:
    """Until a timer fires, every second datagram is lost and the others come in reverse."""
    client, server = talkative_pair()
    origin = time.monotonic()

    def now() -> float:
        return time.monotonic() - origin

    exchange(client, server, now(), treat=lambda datagrams: datagrams[parity::2][::-1])
    assert client.state == "handshaking"
    for _ in range(2):
        due = [at for at in (client.next_timeout(now()), server.next_timeout(now())) if at is not None]
        time.sleep(max(0.0, min(due, default=0.0) - now()) + 0.01)
        client.handle_timer(now())
        server.handle_timer(now())
        exchange(client, server, now())
        if client.state == server.state == "connected":
            break
    assert_connected(client, server)


def test_a_lost_flight_is_sent_again_when_the_timer_says_so() -> None:
    client, server = pair()
    origin = time.monotonic()

    def now() -> float:
        return time.monotonic() - origin

    client.start(now())
    assert client.datagrams_to_send()  # lost
    client.handle_timer(now())
    assert client.datagrams_to_send() == []  # too early
    due = client.next_timeout(now())
    assert due is not None
    assert 0.5 < due < 1.5
    time.sleep(due - now() + 0.01)  # OpenSSL's clock, not ours, decides
    client.handle_timer(now())
    again = client.datagrams_to_send()
    assert again
    for datagram in again:
        server.receive_untrusted(datagram, now())
    exchange(client, server, now())
    assert_connected(client, server)


def test_the_handshake_is_given_up() -> None:
    client, _ = pair()
    client.start(100.0)
    due = client.next_timeout(100.0 + HANDSHAKE_TIMEOUT - 0.1)
    assert due is not None
    assert due <= 100.0 + HANDSHAKE_TIMEOUT
    client.handle_timer(100.0 + HANDSHAKE_TIMEOUT)
    assert client.state == "failed"
    assert client.failure == "the handshake took too long"
    assert client.next_timeout(200.0) is None


def test_a_server_waits_for_the_first_datagram_without_a_limit() -> None:
    _, server = pair()
    server.handle_timer(1e9)
    assert server.state == "new"
    assert server.next_timeout(1e9) is None


@pytest.mark.parametrize("liar", ["client", "server"])
def test_another_certificate_gets_no_keys(liar: str) -> None:
    other = Certificate.generate(1_800_000_000.0)
    client = DtlsSession(other if liar == "client" else A, "client", [B.fingerprint()])
    server = DtlsSession(other if liar == "server" else B, "server", [A.fingerprint()])
    exchange(client, server)
    fooled = server if liar == "client" else client
    assert fooled.state == "failed"
    assert fooled.srtp is None
    assert fooled.failure is not None
    assert "fingerprint" in fooled.failure


def test_only_the_strongest_hash_counts() -> None:
    """RFC 8122, section 5: a right sha-256 does not excuse a wrong sha-512."""
    right = A.fingerprint("sha-256")
    wrong = Fingerprint("sha-512", B.fingerprint("sha-512").value)
    client = DtlsSession(A, "client", [B.fingerprint()])
    server = DtlsSession(B, "server", [right, wrong])
    exchange(client, server)
    assert server.state == "failed"


def test_any_value_of_one_hash_may_match_and_case_does_not_matter() -> None:
    other = Certificate.generate(1_800_000_000.0)
    right = Fingerprint("SHA-256", A.fingerprint().value.lower())
    client = DtlsSession(A, "client", [B.fingerprint()])
    server = DtlsSession(B, "server", [other.fingerprint(), right])
    exchange(client, server)
    assert_connected(client, server)


def test_no_usable_fingerprint_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no fingerprint"):
        DtlsSession(A, "server", [Fingerprint("md5", "00:11")])


def test_close_is_told_to_the_peer() -> None:
    client, server = pair()
    exchange(client, server)
    client.close()
    (notify,) = client.datagrams_to_send()
    server.receive_untrusted(notify, 1.0)
    assert (client.state, server.state) == ("closed", "closed")
    server.receive_untrusted(notify, 1.0)
    assert server.dropped == 1


def test_what_is_released_keeps_its_keys_and_says_no_more() -> None:
    client, server = pair()
    server.release()  # nothing to let go of before the keys are there
    exchange(client, server)
    assert_connected(client, server)
    keys = server.srtp
    server.release()
    assert server.released
    assert (server.state, server.srtp) == ("connected", keys)
    client.close()
    (notify,) = client.datagrams_to_send()
    server.receive_untrusted(notify, 1.0)
    assert (server.state, server.dropped) == ("connected", 1)
    assert server.datagrams_to_send() == []
    assert server.next_timeout(1.0) is None
    server.handle_timer(1.0)
    server.close()
    assert server.state == "closed"
    assert server.datagrams_to_send() == []


def test_a_lost_last_flight_is_repeated_for_the_client() -> None:
    """The server is done, the client never heard its Finished and asks again."""
    client, server = pair()
    origin = time.monotonic()
    client.start(0.0)
    for datagram in client.datagrams_to_send():
        server.receive_untrusted(datagram, 0.0)
    for datagram in server.datagrams_to_send():
        client.receive_untrusted(datagram, 0.0)
    for datagram in client.datagrams_to_send():
        server.receive_untrusted(datagram, 0.0)
    assert server.state == "connected"
    assert server.datagrams_to_send()  # lost
    due = client.next_timeout(time.monotonic() - origin)
    assert due is not None
    time.sleep(max(0.0, due - (time.monotonic() - origin)) + 0.01)
    client.handle_timer(time.monotonic() - origin)
    exchange(client, server)
    assert_connected(client, server)


def test_junk_between_the_flights_does_no_harm() -> None:
    client, server = pair()
    junk = random.Random(1)

    def spoil(datagrams: list[bytes]) -> list[bytes]:
        # Application data of an epoch that does not exist, and lies about lengths.
        return [
            item
            for datagram in datagrams
            for item in (
                b"\x17\xfe\xfd\x00\x05" + junk.randbytes(6) + b"\x00\x10" + junk.randbytes(16),
                datagram[:-1],
                datagram,
            )
        ]

    exchange(client, server, treat=spoil)
    assert_connected(client, server)
    assert server.dropped > 0


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["fresh", "connected", "closed"]))
def test_no_bytes_raise(data: bytes, moment: str) -> None:
    client, server = pair()
    if moment != "fresh":
        exchange(client, server)
    if moment == "closed":
        server.close()
    record = b"\x16\xfe\xfd" + bytes(8) + len(data).to_bytes(2, "big") + data
    for datagram in (data, record):
        server.receive_untrusted(datagram, 0.0)
        server.datagrams_to_send()
        server.handle_timer(0.0)
    if moment == "connected":
        assert server.state == "connected"
        assert server.srtp is not None


def _record(size: int) -> bytes:
    return b"\x16\xfe\xfd" + bytes(8) + size.to_bytes(2, "big") + bytes(size)


def test_records_are_packed_up_to_the_mtu() -> None:
    stream = _record(100) + _record(100) + _record(500)
    assert pack_records(stream, 226) == [_record(100) * 2, _record(500)]
    assert pack_records(stream, 225) == [_record(100), _record(100), _record(500)]
    assert pack_records(b"", 1200) == []
    with pytest.raises(ValueError, match="whole DTLS record"):
        pack_records(stream[:-1], 1200)


@settings(deadline=None)
@given(st.lists(st.integers(1, 2000), max_size=20), st.integers(100, 3000))
def test_packing_keeps_every_byte(sizes: list[int], mtu: int) -> None:
    stream = b"".join(map(_record, sizes))
    datagrams = pack_records(stream, mtu)
    assert b"".join(datagrams) == stream
    assert all(len(item) <= mtu or record_end(item, 0) == len(item) for item in datagrams)


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\x16", _record(10)[:-1], _record(10) + b"\x16", b"\x13" + _record(10)[1:], _record(0)],
)
def test_what_is_no_whole_record_is_dropped(datagram: bytes) -> None:
    assert not whole_records_untrusted(datagram)
    _, server = pair()
    server.receive_untrusted(datagram, 0.0)
    assert server.dropped == 1
    assert server.state == "new"
