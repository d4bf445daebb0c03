"""A DTLS 1.2 association that ends in SRTP keys (RFC 5764), sans-IO over OpenSSL's memory BIOs.

Feed it datagrams and the time; after each call send what `datagrams_to_send` returns and call
`handle_timer` when `next_timeout` has come. Nothing that arrives raises: a failure is a state.

OpenSSL keeps its own clock for retransmission (1 s, doubling), so `next_timeout` turns what is left by
that clock into the caller's time.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from OpenSSL import SSL

from server.rtc.certificate import HASHES, Certificate, fingerprint_value
from server.rtc.dtls_records import pack_records, whole_records_untrusted
from server.rtc.parameters import DtlsRole, Fingerprint

MTU: Final = 1200  # bytes of UDP payload; fits every path that IPv6 guarantees, with room for a tunnel
MIN_MTU: Final = 256  # bytes; OpenSSL's own floor
HANDSHAKE_TIMEOUT: Final = 30.0  # s from the first datagram in either direction

# Master key and master salt lengths in bytes: RFC 5764, section 4.1.2, and RFC 7714, section 14.2.
KEY_LENGTHS: Final[dict[str, tuple[int, int]]] = {
    "AEAD_AES_128_GCM": (16, 12),
    "AEAD_AES_256_GCM": (32, 12),
    "AES128_CM_SHA1_80": (16, 14),
}

DtlsState = Literal["new", "handshaking", "connected", "failed", "closed"]
LocalRole = Literal["server", "client"]

_READ_SIZE = 65536


class SrtpKeys(msgspec.Struct, frozen=True):
    """What libsrtp wants: each key is the master key followed by the master salt."""

    profile: str  # a key of KEY_LENGTHS
    send_key: bytes
    recv_key: bytes

    def __repr__(self) -> str:  # keys must not reach a log
        return f"SrtpKeys(profile={self.profile!r})"


def local_role(remote: DtlsRole) -> LocalRole:
    """Our role towards a peer of that role; towards `auto` we wait for its ClientHello."""
    return "client" if remote == "server" else "server"


class DtlsSession:
    """One association with one peer, known by its fingerprints."""

    def __init__(
        self,
        certificate: Certificate,
        role: LocalRole,
        fingerprints: Sequence[Fingerprint],
        *,
        mtu: int = MTU,
    ) -> None:
        """ValueError if none of the fingerprints is of a hash in `certificate.HASHES`, or `mtu` is too small.

        `mtu` is in bytes of UDP payload.
        """
        if mtu < MIN_MTU:
            raise ValueError(f"OpenSSL sends nothing with an MTU below {MIN_MTU}")
        self.role: Final[LocalRole] = role
        self._expected = _strongest(fingerprints)
        self._mtu = mtu

        self.state: DtlsState = "new"
        self.failure: str | None = None  # why the state is "failed", in plain words
        self.srtp: SrtpKeys | None = None  # set once, in state "connected"
        self.dropped = 0  # datagrams that were no whole DTLS records, or came too late
        self._deadline: float | None = None

        self._ssl: SSL.Connection | None = SSL.Connection(certificate.ssl_context, None)
        self._connection.set_ciphertext_mtu(mtu)
        if role == "server":
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()

    @property
    def _connection(self) -> SSL.Connection:
        assert self._ssl is not None
        return self._ssl

    # ---- inputs ----

    def start(self, now: float) -> None:
        """A client sends its ClientHello; a server starts its time limit. Does nothing a second time."""
        if self.state == "new":
            self.state = "handshaking"
            self._deadline = now + HANDSHAKE_TIMEOUT
            self._handshake()

    def receive_untrusted(self, datagram: bytes, now: float) -> None:
        """Take one datagram from the peer's address. Never raises."""
        if self.state in ("failed", "closed") or self.released or not whole_records_untrusted(datagram):
            self.dropped += 1
            return
        self.start(now)
        if self.state not in ("handshaking", "connected"):
            return
        self._connection.bio_write(datagram)
        if self.state == "handshaking":
            self._handshake()
        if self.state == "connected":
            self._read()

    def handle_timer(self, now: float) -> None:
        """Retransmit or give up, if it is time to; harmless when called early."""
        if self.state != "handshaking":
            return
        if self._deadline is not None and now >= self._deadline:
            self._fail("the handshake took too long")
            return
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as error:
            self._fail(_reason(error))

    @property
    def released(self) -> bool:
        return self._ssl is None

    def release(self) -> None:
        """Let go of all but the keys, once connected or closed: 75 kB. Nothing is heard or said after that.

        Not while the peer may have lost our last flight and ask for it again.
        """
        if self.state in ("connected", "closed"):
            self._ssl = None

    def close(self) -> None:
        """Say close_notify if connected and not released, and be done."""
        if self.state == "connected" and not self.released:
            self._shutdown()
        if self.state != "failed":
            self.state = "closed"

    # ---- outputs ----

    def next_timeout(self, now: float) -> float | None:
        """When `handle_timer` wants to be called, in the time of `now`; None while it does not."""
        if self.state != "handshaking" or self._deadline is None:
            return None
        left = self._connection.DTLSv1_get_timeout()
        return self._deadline if left is None else min(self._deadline, now + left)

    def datagrams_to_send(self) -> list[bytes]:
        """Take what is to be sent to the peer now: datagrams of at most `mtu` bytes, in order."""
        stream = bytearray()
        while self._ssl is not None:
            try:
                stream += self._connection.bio_read(_READ_SIZE)
            except SSL.Error:  # WantReadError: the BIO is empty
                break
        return pack_records(bytes(stream), self._mtu)

    # ---- inside ----

    def _handshake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            self._fail(_reason(error))
            return
        if not self._peer_is_expected():
            self._refuse("the peer's certificate does not have the fingerprint that was signalled")
            return
        keys = self._export()
        if keys is None:
            self._refuse("no SRTP profile in common")
            return
        self.srtp = keys
        self.state = "connected"

    def _peer_is_expected(self) -> bool:
        peer = self._connection.get_peer_certificate(as_cryptography=True)
        if peer is None:
            return False
        algorithm, values = self._expected
        actual = fingerprint_value(peer, algorithm).encode()
        return any(hmac.compare_digest(actual, value) for value in values)

    def _export(self) -> SrtpKeys | None:
        """RFC 5764, section 4.2: client key, server key, client salt, server salt."""
        profile = self._connection.get_selected_srtp_profile().decode("ascii").removeprefix("SRTP_")
        lengths = KEY_LENGTHS.get(profile)
        if lengths is None:
            return None
        key, salt = lengths
        block = self._connection.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (key + salt))
        client = block[:key] + block[2 * key : 2 * key + salt]
        server = block[key : 2 * key] + block[2 * key + salt :]
        send, recv = (server, client) if self.role == "server" else (client, server)
        return SrtpKeys(profile, send, recv)

    def _read(self) -> None:
        """Let OpenSSL see what is left: alerts, a repeated last flight. Application data has no use here."""
        while True:
            try:
                self._connection.recv(_READ_SIZE)
            except SSL.WantReadError:
                return
            except SSL.ZeroReturnError:
                self._shutdown()
                self.state = "closed"
                return
            except SSL.Error as error:
                self._fail(_reason(error))
                return

    def _refuse(self, reason: str) -> None:
        self._shutdown()
        self._fail(reason)

    def _shutdown(self) -> None:
        with contextlib.suppress(SSL.Error):  # at worst the peer does not hear of it
            self._connection.shutdown()

    def _fail(self, reason: str) -> None:
        self.state = "failed"
        self.failure = reason
        self.srtp = None


def _strongest(fingerprints: Sequence[Fingerprint]) -> tuple[str, list[bytes]]:
    """RFC 8122, section 5: only the most preferred hash counts; of it, any value may match."""
    for algorithm in HASHES:
        values = [f.value.upper().encode() for f in fingerprints if f.algorithm.lower() == algorithm]
        if values:
            return algorithm, values
    raise ValueError("no fingerprint of a known hash (sha-256, sha-384, sha-512)")


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words for it, which are fixed texts and hold nothing of the peer's."""
    details = error.args[0] if error.args else None
    if isinstance(details, list) and details:
        return "OpenSSL: " + "; ".join(str(entry[-1]) for entry in details)
    return f"OpenSSL: {type(error).__name__}"
