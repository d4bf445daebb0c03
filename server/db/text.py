"""Values that came from the network, made fit for PostgreSQL's text and jsonb."""

from __future__ import annotations

import math
from typing import Any


def _text(value: str) -> str:
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def clean(value: Any) -> Any:
    """The same data without what PostgreSQL cannot hold: NUL and lone surrogates become U+FFFD or `?`, and
    numbers that are not finite become None (JSON has none)."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value
