from __future__ import annotations

import trio
import trio.testing

from server.signaling.outbox import Outbox


async def test_first_in_first_out() -> None:
    outbox = Outbox(max_messages=3, max_bytes=100)
    assert [outbox.put_nowait(text) for text in (b"a", b"b", b"c", b"d")] == [True, True, True, False]
    assert [await outbox.take(1) for _ in range(3)] == [b"a", b"b", b"c"]
    assert outbox.put_nowait(b"d")


async def test_bytes_are_bounded() -> None:
    outbox = Outbox(max_messages=100, max_bytes=10)
    assert outbox.put_nowait(b"x" * 6)
    assert not outbox.put_nowait(b"x" * 5)
    assert outbox.put_nowait(b"x" * 4)
    await outbox.take(1)
    assert outbox.put_nowait(b"x" * 6)


async def test_written_means_that_the_next_is_asked_for(nursery: trio.Nursery) -> None:
    outbox = Outbox(max_messages=10, max_bytes=100)
    with trio.fail_after(1):
        await outbox.wait_written()
    outbox.put_nowait(b"a")
    outbox.put_nowait(b"b")
    done = trio.Event()

    async def wait() -> None:
        await outbox.wait_written()
        done.set()

    nursery.start_soon(wait)
    await outbox.take(1)
    await outbox.take(1)
    await trio.testing.wait_all_tasks_blocked()
    assert not done.is_set()  # "b" is taken but may not be out yet
    nursery.start_soon(outbox.take, 1)
    await done.wait()
    nursery.cancel_scope.cancel()


async def test_what_waits_is_taken_in_one_piece_up_to_a_size() -> None:
    outbox = Outbox(max_messages=10, max_bytes=100)
    for message in (b"aa", b"bbb", b"c", b"dddddddd"):
        assert outbox.put_nowait(message)
    assert await outbox.take(5) == b"aabbb"
    assert await outbox.take(5) == b"c"
    assert await outbox.take(5) == b"dddddddd"  # at least one, however long
    assert outbox.put_nowait(b"x" * 100)
