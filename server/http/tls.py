"""The certificate of the TCP port: the configured one, or a self-signed one that is made once and kept.

The self-signed one names localhost, this machine's name and its addresses (RFC 6125 wants them as SANs), and
is made anew before it runs out or when an address is missing in it.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509

_VALID_DAYS = 397  # longer ones are refused by some clients
_RENEW_DAYS = 30


def load_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's context of TLS 1.2 and 1.3. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise ConfigError(
            f"http.certificate = {certificate}, http.key = {key}: are no PEM certificate with its own key"
            f" ({error.reason or 'malformed'})"
        ) from None
    except OSError as error:
        raise ConfigError(f"http.certificate = {certificate}, http.key = {key}: {error.strerror}") from None
    return context


def self_signed(folder: Path, names: Sequence[str], now: datetime.datetime) -> tuple[Path, Path]:
    """The paths of certificate and key in `folder`, made where they are missing or no longer good."""
    certificate, key = folder / "tls-certificate.pem", folder / "tls-key.pem"
    if not _still_good(certificate, key, names, now):
        pem, key_pem = _make(names, now)
        _write(key, key_pem, 0o600)
        _write(certificate, pem, 0o644)
    return certificate, key


def _still_good(certificate: Path, key: Path, names: Sequence[str], now: datetime.datetime) -> bool:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        sans = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        load_context(certificate, key)
    except (OSError, ValueError, x509.ExtensionNotFound, ConfigError):
        return False
    held = {str(name.value) for name in sans}
    renew_at = found.not_valid_after_utc - datetime.timedelta(days=_RENEW_DAYS)
    return found.not_valid_before_utc <= now < renew_at and held >= set(names)


def _make(names: Sequence[str], now: datetime.datetime) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Tandem")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, and never readable to others before its mode is set."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)
