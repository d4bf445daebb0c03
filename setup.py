"""Builds the Cython core: every `rtp_core/**/*.pyx` is an extension module of its own.

`TANDEM_ONLY=srtp,stun` builds just those modules. `TANDEM_TRACE=1` compiles with line tracing for coverage.
"""

from __future__ import annotations

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

TRACE = os.environ.get("TANDEM_TRACE") == "1"
ONLY = set(filter(None, os.environ.get("TANDEM_ONLY", "").split(",")))

DIRECTIVES = {
    "language_level": 3,
    "cdivision": True,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "binding": True,
    "linetrace": TRACE,
}


def extensions() -> list[Extension]:
    found = []
    for source in sorted(Path("rtp_core").rglob("*.pyx")):
        if ONLY and source.stem not in ONLY:
            continue
        found.append(
            Extension(
                ".".join(source.with_suffix("").parts),
                [str(source)],
                libraries=["dl"],
                extra_compile_args=["-O2", "-g1", "-fno-strict-aliasing", "-Wno-unused-function"],
                define_macros=[("CYTHON_TRACE_NOGIL", "1")] if TRACE else [],
            )
        )
    return found


setup(ext_modules=cythonize(extensions(), compiler_directives=DIRECTIVES, nthreads=0, quiet=True))
