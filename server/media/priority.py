"""What of the machine's work goes first: packets, where the system lets us say so.

Without it a burst of joins, which is Python's work, or whatever else the machine does, keeps packets waiting
for a time slice: milliseconds, where to forward them takes microseconds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_NICER = 10  # steps of `nice`


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def ahead_of_others(*, real_time: bool) -> Iterator[None]:
    """The calling thread goes first until the block ends; nothing changes without the right to it.

    With `real_time` it goes before all ordinary work of the machine (SCHED_RR, sched(7)); the kernel
    keeps a twentieth of each core for that. Else, and where real time is refused, it is ten steps of `nice`
    ahead. Both need root, CAP_SYS_NICE or a limit that allows it (RLIMIT_RTPRIO, RLIMIT_NICE).
    """
    own = threading.get_native_id()
    policy, parameters = os.sched_getscheduler(own), os.sched_getparam(own)
    niceness = os.getpriority(os.PRIO_PROCESS, own)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, own, max(-20, niceness - _NICER))
    if real_time:
        with suppress(PermissionError):
            os.sched_setscheduler(own, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
    try:
        yield
    finally:
        os.sched_setscheduler(own, policy, parameters)
        os.setpriority(os.PRIO_PROCESS, own, niceness)
