"""How many files the server may have open: each of its connections is one."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.config import Config

_OTHERS = 512  # database, media, the program itself


def wanted(config: Config) -> int:
    return config.http.max_connections + _OTHERS


def allowed() -> int:
    """What this process may allow itself (the hard limit)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def allow(config: Config) -> None:
    """Raise this process's limit to what its connections may need, as far as it may: many give 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted(config) if hard == resource.RLIM_INFINITY else min(wanted(config), hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
