"""Compiles the native part of the suite in place when it is older than its sources.

It is no part of the product: who only runs a server needs none of it.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from bench.unusable import Unusable

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

NAMES = ("bare", "driver", "outgoing", "incoming", "talk", "traffic", "flood", "jitter")
_LAST_LINES = 6
_SETUP = """
from pathlib import Path
from setuptools import Extension, setup
from Cython.Build import cythonize
found = [
    Extension(f"bench.native.{name}", [f"bench/native/{name}.pyx"], include_dirs=["bench/native"],
              extra_compile_args=["-O2", "-fno-strict-aliasing", "-Wno-unused-function"])
    for name in NAMES
]
directives = {"language_level": 3, "cdivision": True, "boundscheck": False, "wraparound": False,
              "initializedcheck": False}
setup(name="bench", packages=[], script_args=["--quiet", "build_ext", "--inplace"],
      ext_modules=cythonize(found, compiler_directives=directives, quiet=True))
"""


def built() -> bool:
    made = [next(HERE.glob(f"{name}.*.so"), None) for name in NAMES]
    sources = [
        *HERE.glob("*.pyx"),
        *HERE.glob("*.pxd"),
        *HERE.glob("*.h"),
        *(ROOT / "rtp_core").glob("*.pxd"),
    ]
    newest = max(path.stat().st_mtime for path in sources)
    return all(one is not None and one.stat().st_mtime >= newest for one in made)


def build() -> None:
    with (ROOT / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two questions may be asked at once
        _build()


def _build() -> None:
    if not built():
        print("compiling the native part of the suite (once, less than a minute)", file=sys.stderr)
        command = [sys.executable, "-c", f"NAMES = {NAMES}\n{_SETUP}"]
        made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if made.returncode:
            said = "\n".join(made.stderr.splitlines()[-_LAST_LINES:])
            raise Unusable(
                "its native part does not compile; it takes Cython, a C compiler and Python's headers "
                f"(Debian: build-essential python3-dev):\n{said}"
            )
        for one in HERE.glob("*.so"):
            one.touch()
