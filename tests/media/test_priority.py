"""Media threads go first where they may, and Trio gets its threads back as they were."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import trio

from server.media import engine as engines
from server.media.bridge import Media
from server.media.priority import ahead_of_others, cores
from server.media.settings import MediaSettings

_Seen = tuple[int, int]  # policy, niceness


def _now() -> _Seen:
    own = threading.get_native_id()
    return os.sched_getscheduler(own), os.getpriority(os.PRIO_PROCESS, own)


def _in_a_thread(*, real_time: bool) -> tuple[_Seen, _Seen, _Seen]:
    seen: list[_Seen] = []

    def life() -> None:
        seen.append(_now())
        with suppress(KeyError), ahead_of_others(real_time=real_time):
            seen.append(_now())
            raise KeyError
        seen.append(_now())

    thread = threading.Thread(target=life)
    thread.start()
    thread.join()
    before, during, after = seen
    return before, during, after


@pytest.fixture(scope="module")
def allowed() -> bool:
    """Whether this process may do what only root may."""

    def attempt() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        except PermissionError:
            return
        found.append(True)

    found: list[bool] = []
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(found)


@pytest.mark.parametrize("real_time", [False, True])
def test_goes_first_where_it_may(real_time: bool, allowed: bool) -> None:
    before, during, after = _in_a_thread(real_time=real_time)
    assert after == before
    if allowed:
        assert during == (os.SCHED_RR if real_time else before[0], max(-20, before[1] - 10))
    else:
        assert during == before


def test_goes_on_where_it_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(*_: object) -> None:
        asked.append("once")
        if len(asked) <= 2:
            raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    before, during, after = _in_a_thread(real_time=True)
    assert before == during == after
    assert len(asked) == 4  # both tried, both put back


@pytest.mark.parametrize(
    ("wanted", "poll_us", "found", "real_time"),
    [
        (True, 0, 3, True),
        (True, 0, 2, False),
        (True, 0, 1, False),
        (False, 0, 3, False),
        (True, 1000, 3, False),
    ],
)
async def test_real_time_leaves_the_rest_its_time(
    wanted: bool, poll_us: int, found: int, real_time: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engines that have all cores would keep Python from setting up and ending calls."""
    asked: list[bool] = []

    @contextmanager
    def ahead(*, real_time: bool) -> Iterator[None]:
        asked.append(real_time)
        yield

    monkeypatch.setattr(engines, "cores", lambda: found)
    monkeypatch.setattr(engines, "ahead_of_others", ahead)
    media = Media(MediaSettings(addresses=("127.0.0.1",), engines=2, real_time=wanted, busy_poll_us=poll_us))
    async with trio.open_nursery() as nursery:
        await nursery.start(media.run)
        nursery.cancel_scope.cancel()
    assert asked == [real_time, real_time]


def test_cores_are_those_it_may_use() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
