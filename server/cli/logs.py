"""Logging: for people on a terminal, JSON lines otherwise; tokens and addresses never in the clear."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from server.config import LogSettings

_SECRET = re.compile(r"token|secret|password|credential|authorization|\bpwd\b", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
_URL_PASSWORD = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*(?=@)")
_ADDRESS_KEYS = frozenset({"peer", "address", "remote", "client"})


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's loggers to `stream` (stderr) in one form."""
    stream = stream or sys.stderr
    human = settings.format == "human" or (settings.format == "auto" and stream.isatty())
    level = getattr(logging, settings.level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        redact,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if human:
        ending: list[Any] = [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    else:
        ending = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, *ending],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Other people's libraries speak only when something is wrong.
    for name in ("trio-websocket", "asyncio", "asyncpg", "aioquic", "quic"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if _SECRET.search(key) and value is not None and not isinstance(value, (bool, int, float)):
            event[key] = "[redacted]"
        elif key in _ADDRESS_KEYS and isinstance(value, str):
            event[key] = redact_address(value)
        elif isinstance(value, str):
            event[key] = _URL_PASSWORD.sub("[redacted]", _JWT.sub("[redacted]", value))
    return event


def redact_address(address: str) -> str:
    """The network without the host: enough to see that two lines are about the same one."""
    head, separator, _ = address.rpartition("." if "." in address else ":")
    return f"{head}{separator}*" if separator else address
