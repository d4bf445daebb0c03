from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from server.cli import logs
from server.config import LogSettings

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_json_lines_without_secrets(output: io.StringIO) -> None:
    logs.configure(LogSettings(), output)
    log = structlog.get_logger("x")
    log.info(
        "hello",
        token="abc",
        resume_token="abc",
        peer="192.0.2.77",
        address="2001:db8::77",
        url=f"https://h/#token={JWT}",
        database="postgresql://user:pass@host/db",
        count=3,
    )
    log.debug("not shown")
    (line,) = lines(output)
    text = output.getvalue()
    for secret in ("abc", "192.0.2.77", "::77", JWT, "pass"):
        assert secret not in text
    assert (line["event"], line["level"], line["count"]) == ("hello", "info", 3)
    assert line["peer"] == "192.0.2.*"


def test_the_standard_library_logs_alike(output: io.StringIO) -> None:
    logs.configure(LogSettings(), output)
    logging.getLogger("some.library").warning("careful: %s", JWT)
    logging.getLogger("trio-websocket").info("chatter")
    (line,) = lines(output)
    assert line["event"] == "careful: [redacted]"


def test_exceptions_are_told(output: io.StringIO) -> None:
    logs.configure(LogSettings(), output)
    try:
        raise ValueError("why")
    except ValueError:
        structlog.get_logger("x").exception("failed")
    (line,) = lines(output)
    assert "ValueError: why" in line["exception"]


def test_people_get_plain_text(output: io.StringIO) -> None:
    logs.configure(LogSettings(format="human"), output)
    structlog.get_logger("x").warning("careful", token="abc")
    assert "careful" in output.getvalue()
    assert "abc" not in output.getvalue()
    assert not output.getvalue().startswith("{")
