"""What keeps a run from measuring nonsense: another run, a full disk, a machine without what it takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench.load import namespace
from bench.suite.place import alone, room_to_measure
from bench.unusable import Unusable


def test_of_two_runs_the_second_is_refused_until_the_first_has_ended() -> None:
    name = f"tandem-bench-test-{os.getpid()}"
    with alone(name), pytest.raises(Unusable, match="another run"), alone(name):
        pass
    with alone(name):
        pass


def test_a_full_disk_is_told_of_before_minutes_are_spent() -> None:
    room_to_measure(1)
    with pytest.raises(Unusable, match="TMPDIR"):
        room_to_measure(1 << 60)


def test_it_ends_the_program_with_its_reason_and_no_traceback() -> None:
    assert isinstance(Unusable("no disk"), SystemExit)
    assert str(Unusable("no disk")) == "cannot be measured here: no disk"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TANDEM_BENCH_NETNS", raising=False)
    monkeypatch.setattr(namespace, "_SBIN", "")
    return tmp_path


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_missing_commands_are_named(tools: Path) -> None:
    program(tools, "ip", "exit 0")
    with pytest.raises(Unusable, match="unshare and tc not found"):
        namespace.enter()


def test_a_refused_namespace_is_told_of_with_what_helps(tools: Path) -> None:
    program(tools, "ip", "exit 0")
    program(tools, "tc", "exit 0")
    program(tools, "unshare", "echo 'unshare: Operation not permitted' >&2; exit 1")
    with pytest.raises(Unusable, match=r"(?s)be root.*Operation not permitted"):
        namespace.enter()


def test_a_kernel_without_ifb_is_told_of_by_its_module(tools: Path) -> None:
    program(
        tools,
        "ip",
        'case "$*" in *show*) exit 1;; *add*) echo "Error: Unknown device type." >&2; exit 2;; esac',
    )
    with pytest.raises(Unusable, match="modprobe ifb"):
        namespace.sink(True)


def test_where_the_namespace_is_entered_nothing_is_tried(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setenv("TANDEM_BENCH_NETNS", "1")
    namespace.enter()
