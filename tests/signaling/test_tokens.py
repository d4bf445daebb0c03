from __future__ import annotations

import stat
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ClientError, ConfigError
from server.session.identity import clean_name
from server.signaling.messages import Hello, Resume
from server.signaling.settings import AuthSettings
from server.signaling.tokens import Tokens, load_secret

SECRET = "s" * 40
OTHER = "o" * 40


def tokens(dev: bool = False, **settings: Any) -> Tokens:
    return Tokens(AuthSettings(**settings), secret=SECRET, dev=dev)


def mint(made: Tokens, **changes: Any) -> str:
    given: dict[str, Any] = {
        "room": "r1",
        "user_id": "u1",
        "name": "Ann",
        "can": ["start"],
        "ttl_s": 60,
        "now": time.time(),
    }
    return made.mint(**(given | changes))


def refusal(made: Tokens, token: str | None) -> ClientError:
    with pytest.raises(ClientError) as caught:
        made.authenticate(Hello(token=token))
    assert caught.value.field == "token"
    return caught.value


def test_a_token_says_who_and_what() -> None:
    made = tokens()
    identity = made.authenticate(Hello(token=mint(made), name="Somebody else"))
    assert (identity.user_id, identity.name, identity.guest) == ("u1", "Ann", False)
    grants = identity.grants
    assert (grants.room, grants.join, grants.start, grants.publish, grants.end, grants.admin) == (
        "r1",
        True,
        True,
        False,
        False,
        False,
    )


def test_admin_can_everything() -> None:
    made = tokens()
    grants = made.authenticate(Hello(token=mint(made, can=["admin"], room="*"))).grants
    assert (grants.start, grants.publish, grants.end, grants.admin) == (True, True, True, True)


def test_the_grant_to_read() -> None:
    made = tokens()
    grants = made.authenticate(Hello(token=mint(made, can=["read"], room="*"))).grants
    assert (grants.read, grants.start, grants.end, grants.admin) == (True, False, False, False)
    assert grants.names() == ["join", "read", "room:*"]
    assert not made.authenticate(Hello(token=mint(made))).grants.read


def test_a_guest_with_a_token_brings_a_name() -> None:
    made = tokens()
    identity = made.authenticate(Hello(token=mint(made, user_id=None, name=""), name=" Bob\n"))
    assert (identity.user_id, identity.name, identity.guest) == (None, "Bob", True)


def test_without_dev_nothing_without_a_token() -> None:
    assert refusal(tokens(), None).code == "token_missing"


def test_dev_lets_guests_in_but_no_bad_token() -> None:
    made = tokens(dev=True)
    assert made.authenticate(Hello()).guest
    assert made.authenticate(Hello()).name.startswith("Guest ")
    assert not made.authenticate(Hello()).grants.admin
    assert refusal(made, "x").code == "token_invalid"
    assert refusal(made, "").code == "token_invalid"


def test_expiry() -> None:
    made = tokens(leeway_s=0)
    expired = mint(made, now=time.time() - 100)
    assert refusal(made, expired).code == "token_expired"
    resume = Resume(session_id="s", resume_token="t", last_seq=0)
    assert made.authenticate(Hello(token=expired, resume=resume)).user_id == "u1"


def hand_made(key: Any = SECRET, algorithm: str | None = "HS256", **claims: Any) -> str:
    payload = {"sub": "u", "room": "r", "exp": int(time.time()) + 60} | claims
    return jwt.encode({k: v for k, v in payload.items() if v is not None}, key, algorithm=algorithm)


@pytest.mark.parametrize(
    "claims",
    [
        {"room": None},
        {"room": 5},
        {"room": "a b"},
        {"exp": None},
        {"exp": "soon"},
        {"can": ["fly"]},
        {"can": "start"},
        {"sub": "x" * 65},
        {"nbf": int(time.time()) + 1000},
    ],
)
def test_unusable_claims(claims: dict[str, Any]) -> None:
    assert refusal(tokens(), hand_made(**claims)).code == "token_invalid"


def test_forgeries() -> None:
    good = hand_made()
    head, body, signature = good.split(".")
    unsigned = hand_made(key=None, algorithm="none")
    for forged in (
        hand_made(OTHER),
        unsigned,
        f"{head}.{body}.",
        f"{head}.{body[:-2]}xx.{signature}",
        "a.b.c",
    ):
        assert refusal(tokens(), forged).code == "token_invalid"
    long = Tokens(AuthSettings(), secret=OTHER * 2)
    assert refusal(long, hand_made(OTHER * 2, "HS512")).code == "token_invalid"
    assert tokens().authenticate(Hello(token=good)).user_id == "u"


def pem(tmp_path: Path, key: Any) -> Path:
    path = tmp_path / f"{type(key).__name__}.pem"
    path.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return path


def test_public_keys_and_no_confusion_of_algorithms(tmp_path: Path) -> None:
    keys = {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "RS256": rsa.generate_private_key(65537, 2048),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    paths = [pem(tmp_path, key) for key in keys.values()]
    made = tokens(public_keys=paths)
    for algorithm, key in keys.items():
        assert made.authenticate(Hello(token=hand_made(key, algorithm))).user_id == "u"
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert refusal(made, hand_made(stranger, "ES256")).code == "token_invalid"
    # The public key's bytes as an HMAC secret: the classic confusion.
    import base64
    import hashlib
    import hmac
    import json

    def encode(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    body = encode(json.dumps({"sub": "u", "room": "r", "exp": int(time.time()) + 60}).encode())
    signed = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + body
    for path in paths:
        signature = encode(hmac.new(path.read_bytes(), signed, hashlib.sha256).digest())
        assert refusal(made, (signed + b"." + signature).decode()).code == "token_invalid"


def test_issuer_and_audience() -> None:
    made = tokens(issuer="me", audience="tandem")
    assert made.authenticate(Hello(token=mint(made))).user_id == "u1"
    assert refusal(made, hand_made()).code == "token_invalid"
    assert refusal(made, hand_made(iss="me", aud="others")).code == "token_invalid"


def test_bad_key_files(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    with pytest.raises(ConfigError, match=r"auth\.public_keys = .*bad\.pem: No such file"):
        tokens(public_keys=[bad])
    bad.write_text("nonsense")
    with pytest.raises(ConfigError, match="must be a public key in PEM"):
        tokens(public_keys=[bad])


def test_the_secret_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    first = load_secret(AuthSettings(), tmp_path)
    assert len(first) >= 32
    assert load_secret(AuthSettings(), tmp_path) == first
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_secret(AuthSettings(secret=SECRET), tmp_path) == SECRET
    path.write_text("short")
    with pytest.raises(ConfigError, match="delete it"):
        load_secret(AuthSettings(), tmp_path)


def test_names_are_one_line_of_text() -> None:
    assert clean_name(" a\u202eb\x00c \n d ") == "a b c d"
    assert clean_name("x" * 100) == "x" * 64
    assert clean_name(None) == clean_name("\u200b") == ""


@given(st.text(max_size=100) | st.builds(lambda *p: ".".join(p), st.text(), st.text(), st.text()))
def test_any_text_is_refused(text: str) -> None:
    assert refusal(tokens(), text).code == "token_invalid"
