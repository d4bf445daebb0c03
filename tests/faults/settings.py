"""How many cases, and which: every case is a seed, and a failed one is played again by

TANDEM_FAULT_FIRST=<seed> TANDEM_FAULT_CASES=1 python -m pytest tests/faults -k <the test's name>

`TANDEM_FAULT_CASES` is the number of cases of the whole suite (`make test-faults`: 200 and more). Without it
a short set is played, in which each of the planted bugs is found, and what is marked slow is left out.
"""

from __future__ import annotations

import os

FIRST = int(os.environ.get("TANDEM_FAULT_FIRST", "0"))
CASES = int(os.environ.get("TANDEM_FAULT_CASES", "0"))
WHOLE = CASES >= 100  # also what takes its time


def seeds(*, short: int, share: float) -> range:
    """The seeds of one test: `share` of the suite's cases, `short` of them in the short set."""
    return range(FIRST, FIRST + (max(1, round(CASES * share)) if CASES else short))
