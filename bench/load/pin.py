"""Who may use which core: the server's media threads their own, everything else what is left.

With one core there is nothing to part.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench.load.cpu import thread_times
from bench.native.bare import Bare
from server.media.priority import ahead_of_others

_CORES = sorted(os.sched_getaffinity(0))


@contextmanager
def apart() -> Iterator[None]:
    """The calling thread, and the threads and processes that it begins meanwhile: off the media's core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _CORES[1:] or _CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin_media(thread: int = 0) -> None:
    """A thread by its id (0: the calling one) to the first core."""
    os.sched_setaffinity(thread, _CORES[:1])


@contextmanager
def in_medias_place(loop: Bare) -> Iterator[None]:
    """The bare loop runs meanwhile, with the core and the priority of the server's media thread."""

    def run() -> None:
        pin_media()
        with ahead_of_others(real_time=len(_CORES) > 1):
            loop.run()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join()


def pin_server(pid: int, name: str) -> None:
    """The server's media threads, by their name: the first gets the first core, and so on around."""
    found = [thread for thread, (comm, _) in sorted(thread_times(pid).items()) if comm.startswith(name)]
    for at, thread in enumerate(found):
        os.sched_setaffinity(thread, {_CORES[at % len(_CORES)]})
