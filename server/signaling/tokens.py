"""Tokens: JWTs (RFC 7519) that say who a client is and what it may do, and the identity that follows.

Claims: `sub` the user's id (a guest without it), `name`, `avatar`, `room` (one room's id, or "*"), `can` (a
list of start, publish, end, read, admin; start and publish without it), `exp` (required), `nbf`, `iss`,
`aud`.
A token is signed by the server's secret (HS256), or by a holder of a configured key (RS, PS, ES, EdDSA);
which algorithms a key accepts follows from the key alone, never from the token.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jwt
import msgspec
from msgspec import Meta

from server.errors import ClientError, ConfigError
from server.session.identity import Grants, Identity, clean_name
from server.signaling.messages import Hello, Id
from server.signaling.settings import AuthSettings

Can = Literal["start", "publish", "end", "read", "admin"]
CAN: tuple[Can, ...] = ("start", "publish", "end", "read", "admin")
SECRET_FILE = "token-secret"


Room = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^(\*|[A-Za-z0-9._~-]+)\Z")]  # RoomId or "*"


class Claims(msgspec.Struct, omit_defaults=True):
    room: Room
    exp: float
    sub: Id | None = None
    name: Annotated[str, Meta(max_length=256)] = ""
    avatar: Annotated[str, Meta(max_length=2048)] | None = None
    can: list[Can] = msgspec.field(default_factory=lambda: ["start", "publish"])


class Tokens:
    """Mints and verifies. Made once; sans-IO but for `load_secret` and the key files."""

    def __init__(self, settings: AuthSettings, *, secret: str, dev: bool = False) -> None:
        self._settings = settings
        self._secret = secret
        self._dev = dev
        self._keys: list[tuple[Any, list[str]]] = [(secret, ["HS256"])]
        for path in settings.public_keys:
            self._keys.append(_load_public_key(path))

    def mint(
        self,
        *,
        room: str,
        user_id: str | None,
        name: str,
        can: Sequence[Can],
        ttl_s: float,
        now: float,
        avatar: str | None = None,
    ) -> str:
        """A token signed by the server's secret. Raises ValueError for what no token may hold."""
        claims = Claims(room=room, exp=now + ttl_s, sub=user_id, name=name, avatar=avatar, can=list(can))
        payload: dict[str, Any] = msgspec.to_builtins(claims)
        msgspec.convert(payload, Claims)  # the limits that verifying will ask for
        payload["exp"] = int(now + ttl_s)
        payload["iat"] = int(now)
        payload["can"] = list(can)
        if self._settings.issuer is not None:
            payload["iss"] = self._settings.issuer
        if self._settings.audience is not None:
            payload["aud"] = self._settings.audience
        return jwt.encode(payload, self._secret, algorithm="HS256")

    def authenticate(self, hello: Hello) -> Identity:
        """Who says hello. Raises ClientError: token_missing, token_invalid, token_expired.

        A resume carries its own proof, so its token may have expired while the call went on.
        """
        if hello.token is not None:
            claims = self._verify_untrusted(hello.token, may_be_expired=hello.resume is not None)
            return self._identity(claims, hello)
        if not self._dev:
            raise ClientError(
                "token_missing", "A token is needed here; `tandem token` makes one.", field="token"
            )
        name = clean_name(hello.name) or _guest_name()
        grants = Grants(room="*", join=True, start=True, publish=True, end=True, admin=False)
        return Identity(user_id=None, name=name, guest=True, grants=grants)

    def _identity(self, claims: Claims, hello: Hello) -> Identity:
        name = clean_name(claims.name) or clean_name(hello.name) or claims.sub or _guest_name()
        admin = "admin" in claims.can
        grants = Grants(
            room=claims.room,
            join=True,
            start=admin or "start" in claims.can,
            publish=admin or "publish" in claims.can,
            end=admin or "end" in claims.can,
            read=admin or "read" in claims.can,
            admin=admin,
        )
        return Identity(
            user_id=claims.sub, name=name, guest=claims.sub is None, grants=grants, avatar=claims.avatar
        )

    def _verify_untrusted(self, token: str, *, may_be_expired: bool) -> Claims:
        payload: dict[str, Any] | None = None
        for key, algorithms in self._keys:
            try:
                payload = jwt.decode(
                    token,
                    key,
                    algorithms=algorithms,
                    leeway=self._settings.leeway_s,
                    issuer=self._settings.issuer,
                    audience=self._settings.audience,
                    options={
                        "require": ["exp"],
                        "verify_exp": not may_be_expired,
                        "verify_aud": self._settings.audience is not None,
                    },
                )
                break
            except jwt.ExpiredSignatureError:
                raise ClientError(
                    "token_expired", "The token has expired; get a new one.", field="token"
                ) from None
            except (jwt.InvalidAlgorithmError, jwt.InvalidSignatureError):
                continue  # perhaps another key's
            except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
                raise _invalid(f"The token is not valid: {_first_line(error)}.") from None
        if payload is None:
            raise _invalid("The token was not signed for this server.")
        try:
            return msgspec.convert(payload, Claims)
        except msgspec.ValidationError as error:
            raise _invalid(f"The token's claims are not usable: {_first_line(error)}.") from None


def load_secret(settings: AuthSettings, data_dir: Path) -> str:
    """The configured secret, or the one kept in `data_dir`, made at first use. Raises ConfigError."""
    if settings.secret is not None:
        return settings.secret
    path = data_dir / SECRET_FILE
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            secret = path.read_text().strip()
        else:
            secret = secrets.token_urlsafe(48)
            with os.fdopen(descriptor, "w") as file:
                file.write(secret + "\n")
    except OSError as error:
        raise ConfigError(f"{path}: the secret of tokens cannot be kept there: {error.strerror}") from None
    if len(secret) < 32:
        raise ConfigError(f"{path}: holds no secret of 32 characters; delete it to have a new one made")
    return secret


def _load_public_key(path: Path) -> tuple[Any, list[str]]:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"auth.public_keys = {path}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"auth.public_keys = {path}: must be a public key in PEM") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return key, ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
    curves = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in curves:
        return key, [curves[key.curve.name]]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key, ["EdDSA"]
    raise ConfigError(f"auth.public_keys = {path}: must be RSA of 2048 bits, EC (P-256, 384, 521) or Ed25519")


def _invalid(message: str) -> ClientError:
    return ClientError("token_invalid", message, field="token")


def _first_line(error: Exception) -> str:
    return (str(error).replace("`", "").splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _guest_name() -> str:
    return f"Guest {secrets.randbelow(900) + 100}"
