"""The bytes of one WebSocket after its opening: served to an end, and only that connection pays."""

from __future__ import annotations

import struct

import trio
import trio.testing

from server.signaling.frames import Opening
from server.signaling.websocket import WebSocketDoor
from tests.signaling.fakes import ORIGIN, make_door

OPENING = Opening(key="dGhlIHNhbXBsZSBub25jZQ==", subprotocols=())


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """One client frame (RFC 6455, section 5.2), masked with zeros so that mutations stay readable."""
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    else:
        head += b"\xfe" + struct.pack(">H", len(payload))
    return head + bytes(4) + payload


_HELLO = frame(1, b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"name":"A"}}')
_CHAT = b'{"jsonrpc":"2.0","id":2,"method":"chat.send","params":{"text":"hi"}}'
SEEDS = [
    _HELLO + frame(1, _CHAT) * 3,
    _HELLO + frame(1, _CHAT[:20], fin=False) + frame(9, b"ping") + frame(0, _CHAT[20:]),
    _HELLO + frame(8, b"\x03\xe8bye"),
    _HELLO + frame(10, b"pong") + frame(2, b"\0\1\2") + frame(9, b""),
    frame(1, b"{" * 300) + _HELLO,
    frame(8, b"") + frame(9, b"late"),
]


def fuzz_one(data: bytes) -> None:
    door = make_door()
    trio.run(_serve, door, data, clock=trio.testing.MockClock(autojump_threshold=0))
    assert door.open_connections == 0
    assert door.counters["internal_errors"] == 0
    assert door.counters["failed_connections"] == 0


async def _serve(door: WebSocketDoor, data: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(data)
    await ours.send_eof()
    with trio.fail_after(120):
        await door.serve(theirs, ORIGIN, OPENING)
