"""Requests in their order and bounded; news coalesced and never lost."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from server.rooms.inbox import Closed, Inbox


async def test_requests_run_in_order_and_return_what_came_of_them(nursery: trio.Nursery) -> None:
    inbox = Inbox(max_requests=8)
    ran: list[int] = []
    results: dict[int, object] = {}

    async def ask(n: int) -> None:
        def job() -> int:
            ran.append(n)
            if n == 1:
                raise ValueError("one")
            return n * 10

        try:
            results[n] = await inbox.ask(job)
        except ValueError as error:
            results[n] = str(error)

    for n in range(3):
        nursery.start_soon(ask, n)
        await wait_all_tasks_blocked()
    await inbox.wait()
    _, first = inbox.take(2)
    for request in first:
        request.run()
    await inbox.wait()  # one is left
    _, second = inbox.take(2)
    for request in second:
        request.run()
    await wait_all_tasks_blocked()
    assert ran == [0, 1, 2]
    assert results == {0: 0, 1: "one", 2: 20}


async def test_so_many_wait_and_the_others_wait_for_a_place(nursery: trio.Nursery) -> None:
    inbox = Inbox(max_requests=2)
    for _ in range(5):
        nursery.start_soon(inbox.ask, lambda: None)
    await wait_all_tasks_blocked()
    assert len(inbox.take(100)[1]) == 2
    nursery.cancel_scope.cancel()


async def test_only_the_newest_news_of_a_kind() -> None:
    inbox = Inbox(max_requests=1)
    told: list[str] = []
    inbox.tell("a", lambda: told.append("old a"))
    inbox.tell("b", lambda: told.append("b"))
    inbox.tell("a", lambda: told.append("new a"))
    await inbox.wait()
    news, _ = inbox.take(1)
    for one in news:
        one()
    assert told == ["b", "new a"]
    with trio.move_on_after(0) as scope:
        await inbox.wait()
    assert scope.cancelled_caught


async def test_a_closed_inbox_refuses_what_waits_and_what_comes(nursery: trio.Nursery) -> None:
    inbox = Inbox(max_requests=4)
    outcome: list[type[BaseException]] = []

    async def ask() -> None:
        try:
            await inbox.ask(lambda: None)
        except Closed as error:
            outcome.append(type(error))

    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    inbox.close()
    await wait_all_tasks_blocked()
    assert outcome == [Closed]
    with pytest.raises(Closed):
        await inbox.ask(lambda: None)
    inbox.tell("a", lambda: None)
    assert inbox.take(1) == ([], [])
