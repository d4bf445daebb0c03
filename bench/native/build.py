"""Compiles the native part of the suite in place when it is older than its sources.

It is no part of the product: who only runs a server needs none of it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

_SETUP = """
from pathlib import Path
from setuptools import Extension, setup
from Cython.Build import cythonize
names = ["bare", "driver"]
found = [
    Extension(f"bench.native.{name}", [f"bench/native/{name}.pyx"], include_dirs=["bench/native"],
              extra_compile_args=["-O2", "-fno-strict-aliasing", "-Wno-unused-function"])
    for name in names
]
directives = {"language_level": 3, "cdivision": True, "boundscheck": False, "wraparound": False,
              "initializedcheck": False}
setup(name="bench", packages=[], script_args=["--quiet", "build_ext", "--inplace"],
      ext_modules=cythonize(found, compiler_directives=directives, quiet=True))
"""


def built() -> bool:
    made = [next(HERE.glob(f"{name}.*.so"), None) for name in ("bare", "driver")]
    sources = [
        *HERE.glob("*.pyx"),
        *HERE.glob("*.pxd"),
        *HERE.glob("*.h"),
        *(ROOT / "rtp_core").glob("*.pxd"),
    ]
    newest = max(path.stat().st_mtime for path in sources)
    return all(one is not None and one.stat().st_mtime >= newest for one in made)


def build() -> None:
    if not built():
        print("compiling the native part of the suite", file=sys.stderr)
        subprocess.run([sys.executable, "-c", _SETUP], cwd=ROOT, check=True)
        for one in HERE.glob("*.so"):
            one.touch()
