from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
import trio
import trio.testing
import wsproto
import wsproto.events
from trio_websocket import ConnectionClosed

from server.rooms.session import Session
from server.signaling.messages import ChatMessage, Empty, Wire
from tests.signaling.fakes import Client, FakeDirectory, connected, make_door, serve


async def test_hello_then_requests_in_order(nursery: trio.Nursery) -> None:
    door = make_door()
    async with connected(door, nursery, subprotocols=["tandem.v1"]) as client:
        assert client.wire.subprotocol == "tandem.v1"
        result = (await client.request("hello", {"name": "Ann"}))["result"]
        assert result["name"] == "Ann"
        assert result["iceServers"] == [
            {"urls": ["stun:example.org:8444"], "username": None, "credential": None}
        ]
        ids = [await client.send("stats") for _ in range(10)]
        assert [(await client.receive())["id"] for _ in ids] == ids


async def test_nothing_but_hello_before_hello(nursery: trio.Nursery) -> None:
    directory = FakeDirectory()
    async with connected(make_door(directory), nursery) as client:
        error = (await client.request("call.join", {"roomId": "r"}))["error"]
        assert (error["code"], error["data"]["code"]) == (-32000, "not_ready")
        assert directory.requests == []
        await client.request("hello")
        again = (await client.request("hello"))["error"]
        assert again["data"]["code"] == "bad_state"


async def test_requests_sent_with_hello_are_handled_after_it(nursery: trio.Nursery) -> None:
    directory = FakeDirectory()
    async with connected(make_door(directory), nursery) as client:
        await client.send("hello")
        await client.send("chat.send", {"text": "hi"})
        assert "sessionId" in (await client.receive())["result"]
        assert (await client.receive())["result"] == {}
        assert (await client.notification())[1]["text"] == "hi"


async def test_a_refused_hello_may_be_said_again(nursery: trio.Nursery) -> None:
    async with connected(make_door(), nursery) as client:
        error = (await client.request("hello", {"token": "bad"}))["error"]
        assert error["data"] == {"code": "token_invalid", "field": "token"}
        assert "result" in await client.request("hello")


async def test_an_answer_comes_before_the_notifications_that_it_caused(nursery: trio.Nursery) -> None:
    async with connected(make_door(), nursery) as client:
        await client.request("hello")
        wanted = await client.send("chat.send", {"text": "hi"})
        assert (await client.receive())["id"] == wanted
        assert await client.notification() == (
            "chat.message",
            {"participantId": "p", "name": "Guest", "text": "hi", "at": 0, "seq": 1},
        )


async def test_our_own_failure_is_told_by_an_incident_only(nursery: trio.Nursery) -> None:
    directory = FakeDirectory()

    async def fail(session: Session, method: str, params: Wire) -> Wire:
        raise RuntimeError("the secret inside")

    async with connected(make_door(directory), nursery) as client:
        await client.request("hello")
        directory.on_request = fail
        error = (await client.request("stats"))["error"]
        assert error["code"] == -32603
        assert "secret" not in json.dumps(error)
        assert error["data"]["incident"] in error["message"]
        directory.on_request = None
        assert "result" in await client.request("stats")


async def read_to_the_end(client: Client) -> list[dict[str, Any]]:
    """All messages until the server has closed."""
    messages = []
    with trio.fail_after(30):
        while True:
            try:
                messages.append(await client.receive())
            except ConnectionClosed:
                return messages


async def expect_close(client: Client, code: int) -> None:
    await read_to_the_end(client)
    assert client.wire.closed is not None
    assert client.wire.closed.code == code


async def test_hello_has_a_deadline(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    async with connected(make_door(), nursery) as client:
        before = trio.current_time()
        await expect_close(client, 4000)
        assert trio.current_time() - before == pytest.approx(10, abs=1)


async def test_a_message_too_large(nursery: trio.Nursery) -> None:
    async with connected(make_door(), nursery) as client:
        await client.request("hello")
        await client.wire.send_message("x" * 400_000)
        await expect_close(client, 1009)


async def test_binary_is_refused(nursery: trio.Nursery) -> None:
    async with connected(make_door(), nursery) as client:
        await client.wire.send_message(b"\x00\x01")
        await expect_close(client, 1008)


async def test_a_flood_is_warned_then_cut(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    door = make_door()
    async with connected(door, nursery) as client:
        await client.request("hello")

        async def flood() -> None:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await client.send("stats")

        async with trio.open_nursery() as inner:
            inner.start_soon(flood)
            messages = await read_to_the_end(client)
        refusals = [message["error"]["data"] for message in messages if "error" in message]
        assert [refusal["code"] for refusal in refusals] == ["rate_limited"] * 20
        assert all(refusal["retryAfterMs"] > 0 for refusal in refusals)
        assert client.wire.closed is not None
        assert client.wire.closed.code == 1008
    await trio.testing.wait_all_tasks_blocked()
    assert door.open_connections == 0


async def test_garbage_is_answered_then_cut(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with connected(make_door(), nursery) as client:
        for _ in range(20):
            await client.wire.send_message("{")
            assert (await client.receive())["error"]["code"] == -32700
        await client.wire.send_message("{")
        await expect_close(client, 1008)


async def test_a_slow_reader_is_cut(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """The client stops reading: its stream fills, its outbox fills, it is gone; others do not notice."""
    directory = FakeDirectory()
    door = make_door(directory, outbound_messages=50)
    async with connected(door, nursery) as good, connected(door, nursery) as slow:
        await good.request("hello", {"name": "good"})
        await slow.request("hello", {"name": "slow"})
        good_session, slow_session = directory.attached
        stuck = trio.Event()

        async def never(data: bytes) -> None:
            await stuck.wait()

        connection = slow_session.sink
        assert connection is not None
        connection._stream.send_all = never  # type: ignore[attr-defined]
        for number in range(200):
            for session in (good_session, slow_session):
                session.notify("chat.message", ChatMessage("p", "n", str(number), 0))
            await trio.testing.wait_all_tasks_blocked()
        assert door.counters["closed_4002"] == 1
        await trio.sleep(5)
        assert directory.detached == [slow_session]
        assert door.open_connections == 1
        for number in range(200):
            assert (await good.notification())[1]["text"] == str(number)


async def test_no_pong_ends_the_connection(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    directory = FakeDirectory()
    door = make_door(directory)
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(serve, door, theirs)
    raw = RawClient(ours)
    await raw.open()
    await raw.text('{"jsonrpc":"2.0","id":1,"method":"hello"}')
    await trio.sleep(50)
    assert door.open_connections == 0
    assert len(directory.detached) == 1


async def test_pongs_keep_the_connection(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    door = make_door()
    async with connected(door, nursery) as client:
        await client.request("hello")
        await trio.sleep(300)
        assert "result" in await client.request("stats")


async def test_a_resume_takes_over_and_replays(nursery: trio.Nursery) -> None:
    directory = FakeDirectory()
    door = make_door(directory)
    async with connected(door, nursery) as first, connected(door, nursery) as second:
        hello = (await first.request("hello"))["result"]
        (session,) = directory.attached
        for text in ("one", "two", "three"):
            session.notify("chat.message", ChatMessage("p", "n", text, 0))
        resume = {"sessionId": hello["sessionId"], "resumeToken": hello["resumeToken"], "lastSeq": 1}
        result = (await second.request("hello", {"resume": resume}))["result"]
        assert result["resumed"] is True
        await expect_close(first, 4001)
        assert [(await second.notification())[1]["text"] for _ in range(2)] == ["two", "three"]
        session.notify("chat.message", ChatMessage("p", "n", "four", 0))
        assert (await second.notification())[1]["seq"] == 4
        await trio.testing.wait_all_tasks_blocked()
        assert directory.detached == []  # the first connection's end does not touch the session


async def test_an_unknown_resume_is_refused(nursery: trio.Nursery) -> None:
    async with connected(make_door(), nursery) as client:
        resume = {"sessionId": "x", "resumeToken": "y", "lastSeq": 0}
        error = (await client.request("hello", {"resume": resume}))["error"]
        assert error["data"]["code"] == "resume_unknown"
        assert "result" in await client.request("hello")


async def test_close_all_tells_everybody(nursery: trio.Nursery) -> None:
    directory = FakeDirectory()
    door = make_door(directory)
    async with connected(door, nursery) as one, connected(door, nursery) as two:
        await one.request("hello")
        await two.request("hello")
        for session in directory.attached:
            session.notify("chat.message", ChatMessage("p", "n", "last words", 0))
        async with trio.open_nursery() as closing:
            closing.start_soon(door.close_all, 1001, "the server stops")
            for client in (one, two):
                assert (await client.notification())[1]["text"] == "last words"
                await expect_close(client, 1001)
        assert door.open_connections == 0
        assert len(directory.detached) == 2


class RawClient:
    """A WebSocket client that may break the rules: frames by wsproto, nothing sent by itself."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.wire = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)

    async def open(self) -> None:
        await self.stream.send_all(self.wire.send(wsproto.events.Request("example.org", "/ws")))
        self.wire.receive_data(bytes(await self.stream.receive_some(65_536)))
        assert isinstance(next(self.wire.events()), wsproto.events.AcceptConnection)

    async def text(self, message: str) -> None:
        await self.stream.send_all(self.wire.send(wsproto.events.TextMessage(data=message)))


async def test_a_ping_during_our_close_costs_only_that_connection(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """There is nothing to answer it with any more; trio-websocket's reader raised here (its issue 184)."""
    directory = FakeDirectory()
    door = make_door(directory)
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(serve, door, theirs)
    async with connected(door, nursery) as bystander:
        await bystander.request("hello")
        raw = RawClient(ours)
        await raw.open()
        await raw.text('{"jsonrpc":"2.0","id":1,"method":"hello"}')
        await ours.receive_some(65_536)
        assert door.open_connections == 2
        sink = directory.attached[1].sink
        assert sink is not None
        sink.close(4001, "taken over")
        await trio.testing.wait_all_tasks_blocked()  # the close frame is out, the handshake waits for us
        await ours.send_all(bytes([0x89, 0x80, 0, 0, 0, 0]))  # a masked, empty ping
        await trio.testing.wait_all_tasks_blocked()
        await ours.send_all(raw.wire.send(wsproto.events.CloseConnection(code=1000)))
        await trio.testing.wait_all_tasks_blocked()
        assert directory.detached == [directory.attached[1]]
        assert (door.counters["broken_connections"], door.counters["failed_connections"]) == (0, 0)
        assert door.open_connections == 1
        assert "result" in await bystander.request("stats")


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff\xff",  # reserved bits and opcode
        bytes([0x81, 0x85]) + b"\0\0\0\0\xff\xfe\xfd\xfc\xfb",  # text that is no UTF-8
        bytes([0x81, 0x05]) + b"hello",  # not masked
        bytes([0x80, 0x80, 0, 0, 0, 0]),  # a continuation of nothing
        bytes([0x89, 0xFE, 0x01, 0x00, 0, 0, 0, 0]),  # a ping of 256 bytes
        bytes([0x88, 0x81, 0, 0, 0, 0, 0x03]),  # a close with half a code
        bytes([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xED]),  # a close with 1005
        bytes([0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]),  # 2**64 bytes
    ],
)
async def test_broken_frames_cost_only_that_connection(
    frame: bytes, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    directory = FakeDirectory()
    door = make_door(directory)
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(serve, door, theirs)
    raw = RawClient(ours)
    await raw.open()
    await raw.text('{"jsonrpc":"2.0","id":1,"method":"hello"}')
    await ours.receive_some(65_536)
    await ours.send_all(frame)
    await trio.sleep(5)
    assert len(directory.detached) == 1
    assert door.open_connections == 0


async def test_a_long_request_does_not_hold_up_pings(nursery: trio.Nursery) -> None:
    directory = FakeDirectory()
    release = trio.Event()

    async def slow(session: Session, method: str, params: Wire) -> Wire:
        await release.wait()
        return Empty()

    async with connected(make_door(directory), nursery) as client:
        await client.request("hello")
        directory.on_request = slow
        for _ in range(100):
            await client.send("stats")
        with trio.fail_after(5):
            await client.wire.ping()
        release.set()
        for _ in range(100):
            assert "result" in await client.receive()
