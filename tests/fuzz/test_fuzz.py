"""Runs every fuzz target over seeded mutations of its seeds; `tests/fuzz/run.py` runs one for longer."""

from __future__ import annotations

import importlib
import random
from pathlib import Path

import pytest

from tests.fuzz.mutate import inputs

TARGETS = sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.py"))


@pytest.mark.parametrize("target", TARGETS)
def test_target_never_fails(target: str) -> None:
    module = importlib.import_module(f"tests.fuzz.{target}")
    for data in inputs(random.Random(target), getattr(module, "SEEDS", []), count=2000):
        try:
            module.fuzz_one(data)
        except Exception as error:
            raise AssertionError(f"{target} failed on {data!r}") from error


def test_there_are_targets() -> None:
    assert len(TARGETS) >= 8
