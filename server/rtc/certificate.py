"""The server's DTLS certificate: self-signed ECDSA P-256, made in memory, known by its fingerprint.

Nobody checks its names or dates: the fingerprint in the SDP is what binds it to the call (RFC 8122 and
RFC 8827, section 6.5).
"""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from server.rtc.parameters import Fingerprint

# Strongest first: RFC 8122, section 5 has the receiver go by the strongest hash that both know.
HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha-512": hashes.SHA512,
    "sha-384": hashes.SHA384,
    "sha-256": hashes.SHA256,
}

# AES-GCM first because every WebRTC endpoint has it; the CBC suites are RFC 8827's mandatory floor. RSA is
# for the DTLS client role, against endpoints with old RSA certificates.
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:!aNULL:!eNULL"

# AES-128-GCM costs a third of AES-CM with HMAC-SHA1; the server's order wins.
_SRTP_PROFILES = b"SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80"

_DTLS_1_2 = 0xFEFD
_DAY = datetime.timedelta(days=1)


class Certificate:
    """A key pair with its self-signed certificate and the OpenSSL context that sessions share."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self.ssl_context = _context(certificate, key)

    @classmethod
    def generate(cls, now: float) -> Certificate:
        """A fresh one; `now` is wall-clock time in seconds since the epoch."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tandem")])
        date = datetime.datetime.fromtimestamp(now, datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(date - _DAY)
            .not_valid_after(date + 3650 * _DAY)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    def fingerprint(self, algorithm: str = "sha-256") -> Fingerprint:
        """The hash of the DER form as SDP writes it. KeyError for an algorithm other than sha-256/384/512."""
        return Fingerprint(algorithm, fingerprint_value(self._certificate, algorithm))


def fingerprint_value(certificate: x509.Certificate, algorithm: str) -> str:
    """RFC 8122, section 5: upper-case hex pairs joined by colons."""
    digest = hashes.Hash(HASHES[algorithm]())
    digest.update(certificate.public_bytes(Encoding.DER))
    return digest.finalize().hex(":").upper()


def _context(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    # 1.2 on purpose: a newer OpenSSL must not bring DTLS 1.3 in before its SRTP export is handled here.
    context.set_min_proto_version(_DTLS_1_2)
    context.set_max_proto_version(_DTLS_1_2)
    context.set_cipher_list(_CIPHERS)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    # The peer must show a certificate; its fingerprint decides whether it is the right one, not a CA.
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    context.set_tlsext_use_srtp(_SRTP_PROFILES)
    # Without a socket OpenSSL cannot ask for the path's MTU.
    context.set_options(
        SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # A session is idle for the rest of the call once it has made keys: 7 to 12 kB less for each.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context
