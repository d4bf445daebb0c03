"""How results are kept: JSON with the machine, the kernel, the commit and the settings."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit or "unknown", "load_average": os.getloadavg()[0],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip


def describe() -> None:
    """Says what machine this is, and that others use it when they do."""
    found = machine()
    print(
        f"{found['cpu']}, {found['cores']} cores, Linux {found['kernel']}, commit {found['commit']}",
        file=sys.stderr,
    )
    if found["load_average"] > 0.5:
        print(
            f"load average {found['load_average']:.1f}: the machine is shared, latencies suffer",
            file=sys.stderr,
        )


def write(path: str | None, question: str, rows: list[dict[str, Any]]) -> None:
    if path:
        result = {"question": question, "machine": machine(), "arguments": sys.argv[1:], "rows": rows}
        Path(path).write_text(json.dumps(result, indent=1) + "\n")


def faults(found: dict[str, float]) -> dict[str, float]:
    """What a run of the driver must not have: empty when all packets were right."""
    names = (
        "missing", "head", "tail", "silent", "twice", "forged", "unknown", "strange", "disorder", "reordered",
        "broken", "stalls", "send_failures",
    )  # fmt: skip
    wrong = {name: found[name] for name in names if found.get(name)}
    if not found["received"]:
        wrong["received"] = 0
    return wrong


POINTS = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


def points(latencies: Sequence[int]) -> dict[str, float]:
    """µs, of nanoseconds in rising order: POINTS and "max". IndexError where there are none."""
    found = {name: latencies[int(len(latencies) * part)] / 1000 for name, part in POINTS.items()}
    return {**found, "max": latencies[-1] / 1000}
