from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509

from server.errors import ConfigError
from server.http import tls

NOW = datetime.datetime.now(datetime.UTC)
NAMES = ["localhost", "127.0.0.1", "::1", "box.example"]


def test_a_self_signed_certificate_is_made_once(tmp_path: Path) -> None:
    certificate, key = tls.self_signed(tmp_path, NAMES, NOW)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    made = certificate.read_bytes()
    parsed = x509.load_pem_x509_certificate(made)
    sans = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in sans] == NAMES
    assert (parsed.not_valid_after_utc - parsed.not_valid_before_utc).days <= 398
    tls.self_signed(tmp_path, NAMES[:2], NOW)
    assert certificate.read_bytes() == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tls-certificate.pem", "tls-key.pem"]


@pytest.mark.parametrize(
    ("names", "days"), [([*NAMES, "192.0.2.9"], 0), (NAMES, 370), (NAMES, 500), (NAMES, -2)]
)
def test_it_is_made_anew(tmp_path: Path, names: list[str], days: int) -> None:
    certificate, _ = tls.self_signed(tmp_path, NAMES, NOW)
    made = certificate.read_bytes()
    tls.self_signed(tmp_path, names, NOW + datetime.timedelta(days=days))
    assert certificate.read_bytes() != made


def test_damaged_files_are_replaced(tmp_path: Path) -> None:
    certificate, key = tls.self_signed(tmp_path, NAMES, NOW)
    key.write_text("nonsense")
    tls.self_signed(tmp_path, NAMES, NOW)
    tls.load_context(certificate, key)


def test_configured_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"http\.certificate = .*No such file"):
        tls.load_context(tmp_path / "a.pem", tmp_path / "b.pem")
    (tmp_path / "a.pem").write_text("x")
    (tmp_path / "b.pem").write_text("x")
    with pytest.raises(ConfigError, match="no PEM certificate"):
        tls.load_context(tmp_path / "a.pem", tmp_path / "b.pem")
