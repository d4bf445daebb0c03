"""Parsers of network bytes never read past the end: inputs lie right before a page that may not be touched.

In a process of its own, which an overread kills.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from rtp_core import keyframe, rtcp, twcc
from tests.fuzz.mutate import inputs

ROOT = Path(__file__).resolve().parents[2]
PAGE = mmap.PAGESIZE
PROT_NONE = 0


def everything(read: Callable[[str, memoryview], object]) -> Callable[[memoryview], None]:
    def each(data: memoryview) -> None:
        for codec in keyframe.CODECS:
            read(codec, data)

    return each


PARSERS: dict[str, Callable[[memoryview], object]] = {
    "rtcp": rtcp.read,
    "twcc": twcc.read_feedback,
    "keyframe": everything(keyframe.flags),
    "planted": lambda data: ctypes.string_at(
        ctypes.addressof(ctypes.c_char.from_buffer(data)), len(data) + 1
    ),
}


class Fence:
    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 2 * PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        assert (
            ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(address + PAGE), PAGE, PROT_NONE) == 0
        )

    def place(self, data: bytes) -> memoryview:
        self.memory[PAGE - len(data) : PAGE] = data
        return memoryview(self.memory)[PAGE - len(data) : PAGE]


def run(name: str) -> None:
    fence = Fence()
    seeds = [] if name == "planted" else importlib.import_module(f"tests.fuzz.fuzz_{name}").SEEDS
    cuts = [seed[:length] for seed in seeds for length in range(len(seed))]
    for data in inputs(Random(name), seeds + cuts, count=5000):
        if 0 < len(data) <= PAGE:
            PARSERS[name](fence.place(data))


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_stays_within_the_packet(name: str) -> None:
    done = subprocess.run([sys.executable, "-m", __name__, name], cwd=ROOT, capture_output=True, check=False)
    expected = -signal.SIGSEGV if name == "planted" else 0
    assert done.returncode == expected, done.stderr.decode()


if __name__ == "__main__":
    run(sys.argv[1])
