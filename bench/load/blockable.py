"""`tandem`, with one addition for measuring: SIGUSR1 stops its Trio thread for 2 s, with the GIL held.

Nothing of the server runs meanwhile but what needs no Python. The thread sleeps instead of spinning, so that
the machine has the same cores left as before.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from types import FrameType

from server.cli.main import main

BLOCKED_US = 2_000_000
_libc = ctypes.PyDLL(None)  # unlike CDLL it keeps the GIL during a call


def block(number: int, frame: FrameType | None) -> None:
    _libc.usleep(BLOCKED_US)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, block)
    sys.exit(main())
