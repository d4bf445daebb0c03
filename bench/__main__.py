"""The suite's questions: python -m bench [NAME …] [--full]. Each is a program of its own with more to set."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
QUICK = {
    "forward_cost": ["--consumers", "1,50", "--packets", "8", "--seconds", "1"],
    "forward_latency": ["--consumers", "10", "--packets", "1", "--loads", "0.3", "--seconds", "2"],
}
FULL: dict[str, list[str]] = {
    "forward_cost": [],
    "forward_latency": ["--consumers", "1,10,50", "--loads", "0.1,0.3,0.6"],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="how fast, and at what cost")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(QUICK)}; all by default")
    parser.add_argument("--full", action="store_true", help="minutes instead of seconds")
    args = parser.parse_args()
    unknown = set(args.names) - QUICK.keys()
    if unknown:
        parser.error(f"no such question: {', '.join(sorted(unknown))}")
    RESULTS.mkdir(exist_ok=True)
    failed = 0
    for name in args.names or list(QUICK):
        print(f"\n{name}", flush=True)
        result = RESULTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
        options = FULL[name] if args.full else QUICK[name]
        command = [sys.executable, "-m", f"bench.{name}", *options, "--json", str(result)]
        failed |= subprocess.run(command, check=False).returncode
        print(f"kept in {result.relative_to(Path.cwd()) if result.is_relative_to(Path.cwd()) else result}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
