"""How many files the server may have open."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from server.cli import files
from server.cli.checks import check_open_files
from server.config import Config, load

SOFT = 600  # more than the tests have open


@pytest.fixture
def hard() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def config(connections: int) -> Config:
    return load(flags=[("http.max_connections", str(connections))])


def soft() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_the_limit_is_raised_as_far_as_connections_ask(hard: int) -> None:
    files.allow(config(200))
    assert soft() == 712
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard


def test_it_is_not_lowered(hard: int) -> None:
    files.allow(config(10))
    assert soft() == SOFT


def test_it_stays_within_what_the_system_allows(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (SOFT, 700))
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: asked.append(limits))
    files.allow(config(5000))
    assert asked == [(700, 700)]
    (finding,) = check_open_files(config(5000))
    assert (finding.state, "700 files" in finding.text) == ("warning", True)
    (finding,) = check_open_files(config(100))
    assert finding.state == "ok"
