"""The house rules that no reader should have to enforce: who imports whom, how large a room may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEAVES = {
    "server.errors",
    "server.ids",
    "server.signaling.messages",
    "server.signaling.bucket",
    "server.rtc.parameters",
    "server.db.changes",
}

# What each part of the server may import from the rest of it. Leaves may be imported by everyone.
MAY_IMPORT: dict[str, set[str]] = {
    "server.app": {"*"},
    "server.__main__": {"server.cli"},
    "server.cli": {"*"},
    "server.config": {"server.session", "server.http", "server.media", "server.db", "server.signaling"}
    | {"server.rest.settings"},
    "server.http": set(),
    "server.rest": {"server.http.exchange", "server.session", "server.rooms.directory", "server.db.records"}
    | {"server.signaling.bucket"},
    "server.signaling": {"server.session", "server.rooms"},
    "server.rooms": {"server.session", "server.rtc", "server.media.api"},
    "server.session": set(),
    "server.rtc": set(),
    "server.media": {"server.rtc"},
    "server.db": set(),
    "server.web": set(),
}
SANS_IO = ("server.session", "server.rtc", "server.signaling.messages", "server.signaling.machine")
IO_MODULES = {"trio", "asyncio", "socket", "asyncpg", "trio_asyncio", "trio_websocket", "select", "threading"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / "server").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if (ROOT / Path(*name.split("."))).with_suffix(".py").exists() else node.module


def part_of(name: str) -> str:
    return ".".join(name.split(".")[:2])


def within(name: str, allowed: set[str]) -> bool:
    return "*" in allowed or any(name == one or name.startswith(one + ".") for one in allowed)


@pytest.mark.parametrize(("name", "path"), [pytest.param(n, p, id=n) for n, p in modules()])
def test_imports_point_downward(name: str, path: Path) -> None:
    if name == "server":
        return
    part = part_of(name)
    assert part in MAY_IMPORT or name in LEAVES, f"{name}: say in MAY_IMPORT what it may import"
    for target in imports(path):
        top = target.split(".")[0]
        if top == "rtp_core":
            assert part == "server.media", f"{name} imports {target}: only server.media talks to the core"
        if top == "server" and target != "server" and part_of(target) != part and target not in LEAVES:
            assert within(target, MAY_IMPORT.get(part, set())), f"{name} imports {target}"
        if top in {"asyncio", "asyncpg", "trio_asyncio"}:
            assert part == "server.db", f"{name} imports {target}: only server.db knows asyncio"
        if name.startswith(SANS_IO):
            assert top not in IO_MODULES, f"{name} is sans-IO and imports {target}"


def test_core_imports_nothing_of_the_server() -> None:
    for path in (ROOT / "rtp_core").rglob("*.py*"):
        if path.suffix in {".py", ".pyx", ".pxd", ".pyi"}:
            text = path.read_text()
            assert "import server" not in text, path
            assert "from server" not in text, path


def test_files_stay_readable() -> None:
    """One concept a file: 450 lines is the house's ceiling, with some room for a table or two."""
    tops = [ROOT / top for top in ("server", "rtp_core", "bench", "tests")]
    long = {
        str(path.relative_to(ROOT)): lines
        for top in tops
        for path in top.rglob("*")
        if path.suffix in {".py", ".pyx", ".pxd", ".js", ".css"}
        and (lines := len(path.read_text().splitlines())) > 500
    }
    assert long == {}


def test_every_extension_module_has_a_stub() -> None:
    missing = [p.name for p in (ROOT / "rtp_core").rglob("*.pyx") if not p.with_suffix(".pyi").exists()]
    assert missing == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", [["ruff", "check", "."], ["mypy"]], ids=["ruff", "mypy"])
def test_lint(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
