"""No C function that is `noexcept nogil` may take the GIL: the media thread would wait for Python."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from Cython.Compiler.Main import compile_single
from Cython.Compiler.Options import CompilationOptions

import rtp_core

CORE = Path(rtp_core.__file__).parent
SOURCES = sorted(CORE.rglob("*.pyx"))
DECLARED = re.compile(r"^cdef [^(\n]*?\b(\w+)\((?:(?!^\S|:[ \t]*$).)*?\)\s*noexcept\s+nogil", re.S | re.M)
DEFINED = re.compile(r"^[^\n;]*?\b__pyx_f_(\w+)\([^\n;]*\)\s*\{\n(.*?)^\}", re.S | re.M)
TAKES_GIL = re.compile(r"GILState_Ensure|__Pyx_WriteUnraisable|__Pyx_Raise\w*\(|__Pyx_AddTraceback\(")
DIRECTIVES = {
    "language_level": 3,
    "cdivision": True,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "binding": True,
}


def declared(source: Path) -> set[str]:
    """Nogil functions of a module, its .pxd included, as Cython mangles them: `4stun_crc32`."""
    texts = [path.read_text() for path in (source, source.with_suffix(".pxd")) if path.exists()]
    return {f"{len(source.stem)}{source.stem}_{name}" for text in texts for name in DECLARED.findall(text)}


def definitions(names: set[str], generated: str) -> Iterator[tuple[str, str]]:
    """Name and body of those of `names` that the C code defines, inlined ones of other modules included."""
    for mangled, body in DEFINED.findall(generated):
        yield from ((name, body) for name in names if mangled == name or mangled.endswith(f"_{name}"))


def offenders(names: set[str], generated: str) -> set[str]:
    return {name for name, body in definitions(names, generated) if TAKES_GIL.search(body)}


def generate(source: Path, target: Path, directives: Mapping[str, object], include: Path) -> str:
    options = CompilationOptions(  # type: ignore[no-untyped-call]
        output_file=str(target), compiler_directives=directives, include_path=[str(include)]
    )
    result = compile_single(str(source), options=options, full_module_name=None)  # type: ignore[no-untyped-call]
    assert result.num_errors == 0
    return target.read_text()


def built(source: Path, target: Path) -> str:
    """The C code of the last build, or a fresh one when there is none that is newer than its sources."""
    c = source.with_suffix(".c")
    newest = max(path.stat().st_mtime for path in (source, source.with_suffix(".pxd")) if path.exists())
    if c.exists() and c.stat().st_mtime >= newest:
        return c.read_text()
    return generate(source, target, DIRECTIVES, CORE.parent)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(CORE)))
def test_hot_path_never_takes_the_gil(source: Path, tmp_path: Path) -> None:
    text = built(source, tmp_path / "out.c")
    assert offenders(set().union(*map(declared, SOURCES)), text) == set()
    header = source.with_suffix(".pxd")
    inline = re.findall(r"^cdef inline .*?(\w+)\(", header.read_text(), re.M) if header.exists() else []
    own = {name for name in declared(source) if name.partition("_")[2] not in inline}
    assert {name for name, _ in definitions(own, text)} == own, "the search misses what it should look at"


PLANTED = """
cdef int divide(int a, int b) noexcept nogil:
    return a // b

cdef int at(int[:] view, int i) noexcept nogil:
    return view[i]

cdef int wrapped(int a,
                 int b) noexcept nogil:
    return a % b

cdef int innocent(int a) noexcept nogil:
    return a + 1
"""


def test_a_planted_offence_is_found(tmp_path: Path) -> None:
    """With Cython's default directives a division or an index check takes the GIL without a word."""
    source = tmp_path / "planted.pyx"
    source.write_text(PLANTED)
    names = declared(source)
    assert names == {f"7planted_{name}" for name in ("divide", "at", "wrapped", "innocent")}
    text = generate(source, tmp_path / "planted.c", {"language_level": 3}, CORE.parent)
    assert offenders(names, text) == names - {"7planted_innocent"}
