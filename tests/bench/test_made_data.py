"""A data directory that was made beforehand is a server's beginning, and never replaces what it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.load.made_data import copy_to


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "node-id").write_text("one")
    monkeypatch.setenv("TANDEM_BENCH_DATA", str(folder))
    return folder


def test_a_server_begins_with_a_copy_of_it(made: Path, tmp_path: Path) -> None:
    copy_to(tmp_path / "data")
    (tmp_path / "data" / "node-id").write_text("two")
    assert (made / "node-id").read_text() == "one"


def test_a_server_that_has_data_keeps_it(made: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    copy_to(tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_where_none_is_made_the_server_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TANDEM_BENCH_DATA", raising=False)
    copy_to(tmp_path / "data")
    assert not (tmp_path / "data").exists()
