"""What memory a process holds that nobody shares with it, by the kernel's own count."""

from __future__ import annotations

from pathlib import Path


def private_bytes(pid: int) -> int:
    """Anonymous resident memory (RssAnon of /proc/PID/status), in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel tells no RssAnon")
