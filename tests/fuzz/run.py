"""`python -m tests.fuzz.run fuzz_stun --seconds 3600 [--seed N]`: one target, for as long as told."""

from __future__ import annotations

import argparse
import importlib
import random
import time

from tests.fuzz.mutate import inputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    module = importlib.import_module(f"tests.fuzz.{args.target}")
    end, seed, ran = time.monotonic() + args.seconds, args.seed, 0
    while time.monotonic() < end:
        for data in inputs(random.Random(seed), getattr(module, "SEEDS", []), count=10_000):
            try:
                module.fuzz_one(data)
            except BaseException:
                print(f"seed {seed}: {data.hex()}")
                raise
            ran += 1
        seed += 1
    print(f"{args.target}: {ran} inputs, no finding; next seed {seed}")


if __name__ == "__main__":
    main()
