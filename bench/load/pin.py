"""Who may use which core: the server's media threads their own, everything else what is left.

With one core there is nothing to part.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from bench.load.cpu import descendants, thread_times
from bench.native.bare import Bare
from server.media.priority import ahead_of_others

T = TypeVar("T")
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


@contextmanager
def everywhere() -> Iterator[None]:
    """On all cores again: a server that saw only some would leave them to others than its media threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin_media(thread: int = 0) -> None:
    """A thread by its id (0: the calling one) to the first core."""
    os.sched_setaffinity(thread, _CORES[:1])


def _as_media(work: Callable[[], T]) -> T:
    pin_media()
    with ahead_of_others(real_time=len(_CORES) > 1):
        return work()


def on_medias_core(work: Callable[[], T]) -> T:
    """What `work` gives on a thread with the core and the priority of the server's media thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_as_media, work).result()


@contextmanager
def in_medias_place(loop: Bare) -> Iterator[None]:
    """The bare loop runs meanwhile, with the core and the priority of the server's media thread."""

    thread = threading.Thread(target=_as_media, args=(loop.run,))
    thread.start()
    assert thread.native_id is not None
    loop.thread = thread.native_id
    try:
        yield
    finally:
        loop.stop()
        thread.join()


def pin_server(pid: int, name: str) -> None:
    """The server's media threads, by their name: the first gets the first core, and so on around.

    Its other threads and its processes go where everything else is.
    """
    found = [thread for thread, (comm, _) in sorted(thread_times(pid).items()) if comm.startswith(name)]
    for process in (pid, *descendants(pid)):
        for thread in thread_times(process):
            os.sched_setaffinity(thread, _CORES[1:] or _CORES)
    for at, thread in enumerate(found):
        os.sched_setaffinity(thread, {_CORES[at % len(_CORES)]})


def unpin_server(pid: int, name: str) -> None:
    """All but its media threads to any core: with many who join they would have to share one."""
    for thread, (comm, _) in thread_times(pid).items():
        if not comm.startswith(name):
            os.sched_setaffinity(thread, _CORES)
