"""CPU time of another process's threads, in nanoseconds, as the scheduler counts it (/proc/…/schedstat)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def thread_times(pid: int) -> dict[int, tuple[str, int]]:
    """Thread id -> (name, nanoseconds)."""
    found: dict[int, tuple[str, int]] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
            found[int(task.name)] = (name, int((task / "schedstat").read_text().split()[0]))
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return found


def spent(before: dict[int, tuple[str, int]], after: dict[int, tuple[str, int]], name: str) -> int:
    return sum(
        time - before.get(thread, (name, 0))[1]
        for thread, (comm, time) in after.items()
        if comm.startswith(name)
    )


def descendants(pid: int) -> list[int]:
    """All processes below this one that live now."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            children = [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            found.append(child)
            with suppress(FileNotFoundError):
                found += descendants(child)
    return found


def family_time(pid: int) -> int:
    """Of all processes below this one that live now: the embedded PostgreSQL's, for a server."""
    total = 0
    for child in descendants(pid):
        with suppress(FileNotFoundError):
            total += sum(time for _, time in thread_times(child).values())
    return total
