"""A token from the network: an identity, or a `ClientError` about the token."""

from __future__ import annotations

import msgspec

from server.errors import ClientError
from server.signaling.messages import Hello, Resume
from server.signaling.settings import AuthSettings
from server.signaling.tokens import Tokens

_TOKENS = Tokens(AuthSettings(), secret="s" * 40)
_RESUME = Resume(session_id="s", resume_token="t", last_seq=0)
SEEDS = [
    _TOKENS.mint(room="r", user_id="u", name="Ann", can=["start"], ttl_s=1e9, now=1.7e9).encode(),
    _TOKENS.mint(room="*", user_id=None, name="", can=["admin"], ttl_s=1, now=1e9).encode(),
    b"eyJhbGciOiJub25lIn0.e30.",
]


def fuzz_one(data: bytes) -> None:
    for resume in (None, _RESUME):
        try:
            hello = msgspec.convert({"token": data.decode("utf-8", errors="replace")}, Hello)
            identity = _TOKENS.authenticate(msgspec.structs.replace(hello, resume=resume))
        except (ClientError, msgspec.ValidationError) as error:
            assert not isinstance(error, ClientError) or error.field == "token"  # noqa: PT017
        else:
            assert identity.name
