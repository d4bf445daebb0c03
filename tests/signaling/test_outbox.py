from __future__ import annotations

import trio
import trio.testing

from server.signaling.outbox import Outbox


async def test_first_in_first_out() -> None:
    outbox = Outbox(max_messages=3, max_bytes=100)
    assert [outbox.put_nowait(text) for text in "abcd"] == [True, True, True, False]
    assert [await outbox.take() for _ in range(3)] == ["a", "b", "c"]
    assert outbox.put_nowait("d")


async def test_bytes_are_bounded() -> None:
    outbox = Outbox(max_messages=100, max_bytes=10)
    assert outbox.put_nowait("x" * 6)
    assert not outbox.put_nowait("x" * 5)
    assert outbox.put_nowait("x" * 4)
    await outbox.take()
    assert outbox.put_nowait("x" * 6)


async def test_written_means_that_the_next_is_asked_for(nursery: trio.Nursery) -> None:
    outbox = Outbox(max_messages=10, max_bytes=100)
    with trio.fail_after(1):
        await outbox.wait_written()
    outbox.put_nowait("a")
    outbox.put_nowait("b")
    done = trio.Event()

    async def wait() -> None:
        await outbox.wait_written()
        done.set()

    nursery.start_soon(wait)
    await outbox.take()
    await outbox.take()
    await trio.testing.wait_all_tasks_blocked()
    assert not done.is_set()  # "b" is taken but may not be out yet
    nursery.start_soon(outbox.take)
    await done.wait()
    nursery.cancel_scope.cancel()
