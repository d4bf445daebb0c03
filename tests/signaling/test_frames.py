"""The wire of one WebSocket, byte by byte: wsproto is the client, or the bytes are hostile."""

from __future__ import annotations

import pytest
import wsproto
from hypothesis import given
from hypothesis import strategies as st
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from server.signaling.frames import Closed, Frames, Opening

LIMIT = 100


class Client:
    def __init__(self, *subprotocols: str, limit: int = LIMIT) -> None:
        self.wire = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.frames = Frames(max_message=limit)
        said = self.wire.send(Request("example.org", "/ws", subprotocols=list(subprotocols)))
        key = said.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        (self.accepted,) = self.hear(Opening(key, subprotocols).answer("tandem.v1"))

    def say(self, *events: Event) -> list[str | bytes | Closed]:
        return self.frames.receive_untrusted(b"".join(self.wire.send(event) for event in events))

    def hear(self, data: bytes) -> list[Event]:
        self.wire.receive_data(data)
        return list(self.wire.events())


def test_the_subprotocol_is_chosen_where_it_is_offered() -> None:
    for offered, chosen in ((("tandem.v1",), "tandem.v1"), (("other",), None), ((), None)):
        accepted = Client(*offered).accepted
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == chosen


def test_the_answer_is_that_of_the_rfc() -> None:
    """The key and its answer of RFC 6455, section 1.3; a client of wsproto checks the rest."""
    answer = Opening("dGhlIHNhbXBsZSBub25jZQ==", ()).answer("tandem.v1")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert b"Protocol:" not in answer


def test_messages_both_ways() -> None:
    client = Client()
    assert client.say(TextMessage("é"), BytesMessage(b"\0")) == ["é", b"\0"]
    assert client.hear(client.frames.text("x" * 70_000)) == [TextMessage("x" * 70_000)]


def test_fragments_are_put_together_and_may_have_pings_between() -> None:
    client = Client()
    said = client.say(TextMessage("a", message_finished=False), Ping(b"now"), TextMessage("b"))
    assert said == ["ab"]
    assert client.hear(client.frames.to_send()) == [Pong(b"now")]
    assert client.frames.to_send() == b""
    assert client.say(TextMessage("c")) == ["c"]


def test_pongs_are_counted() -> None:
    client = Client()
    assert client.hear(client.frames.ping()) == [Ping(b"")]
    assert client.say(Pong(b""), Pong(b"")) == []
    assert client.frames.pongs == 2


@pytest.mark.parametrize("parts", [[LIMIT + 1], [LIMIT, 1], [1] * (LIMIT + 1)])
def test_a_message_beyond_the_limit_ends_it(parts: list[int]) -> None:
    client = Client()
    *open_parts, last = parts
    events = [TextMessage("x" * size, message_finished=False) for size in open_parts]
    assert client.say(*events, TextMessage("x" * last)) == [Closed(1009)]


def test_a_message_of_the_limit_is_taken_again_and_again() -> None:
    client = Client()
    for _ in range(3):
        assert client.say(TextMessage("x" * LIMIT)) == ["x" * LIMIT]


def test_either_side_may_close() -> None:
    client = Client()
    assert client.say(TextMessage("last"), CloseConnection(code=1001)) == ["last", Closed(1000)]
    assert client.frames.over
    assert client.hear(client.frames.close(1000, "")) == [CloseConnection(code=1000, reason="")]
    assert client.frames.text("late") + client.frames.ping() + client.frames.close(1000, "") == b""
    assert client.frames.receive_untrusted(b"\x81\x82\0\0\0\0hi") == []

    client = Client()
    assert client.hear(client.frames.close(4001, "taken over")) == [CloseConnection(4001, "taken over")]
    assert client.frames.receive_untrusted(b"\x89\x80\0\0\0\0") == []  # a ping that crosses it
    assert client.frames.to_send() == b""
    assert client.frames.receive_untrusted(b"\x88\x82\0\0\0\0\x0f\xa1") == [Closed(1000)]
    assert client.frames.over


def test_text_that_is_no_utf_8_is_told_so() -> None:
    (closed,) = Client().frames.receive_untrusted(b"\x81\x82\0\0\0\0\xff\xfe")
    assert isinstance(closed, Closed)
    assert closed.code == 1007


messages = st.lists(st.text(max_size=60) | st.binary(max_size=60), max_size=6)


@given(messages, st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_how_bytes_are_cut_does_not_matter(said: list[str | bytes], cuts: list[int]) -> None:
    client = Client(limit=1000)
    data = b"".join(
        client.wire.send(TextMessage(one) if isinstance(one, str) else BytesMessage(one)) for one in said
    )
    heard: list[str | bytes | Closed] = []
    while data:
        size = cuts[len(heard) % len(cuts)]
        heard += client.frames.receive_untrusted(data[:size])
        data = data[size:]
    assert heard == said


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_hostile_bytes_raise_nothing_and_end_it_at_most_once_in_a_piece(pieces: list[bytes]) -> None:
    frames = Client().frames
    for piece in pieces:
        found = frames.receive_untrusted(piece)
        assert sum(isinstance(one, Closed) for one in found) <= 1
        assert not any(isinstance(one, Closed) for one in found[:-1])
        if found and isinstance(found[-1], Closed):
            break
    frames.close(1000, "")
