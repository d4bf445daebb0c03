"""Errors, split by blame: `ClientError` is the caller's and is answered; all else is ours and is logged."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """A client's mistake: it gets a stable `code`, the `field` at fault and what to do about it.

    It changes nothing on the server. `docs/protocol.md` lists every code.
    """

    def __init__(self, code: str, message: str, *, field: str | None = None, **data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.data = data


class Unavailable(Exception):
    """What the answer needs is away or too busy now; the same may succeed later."""


class ConfigError(Exception):
    """A setting that cannot be used; the text names the setting, the value and what is allowed."""
