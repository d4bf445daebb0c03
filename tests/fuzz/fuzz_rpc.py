"""A WebSocket message: a request, or one `RpcError` that can be told."""

from __future__ import annotations

import json

from server.signaling import rpc
from server.signaling.messages import METHODS
from server.signaling.rpc import RpcError

_PARAMS: dict[str, object] = {
    "token": "a.b.c",
    "name": "Ann",
    "device": {"a": [1, {"b": None}]},
    "resume": {"sessionId": "s", "resumeToken": "t", "lastSeq": 3},
    "roomId": "r",
    "callId": "c",
    "invite": ["u1", "u2"],
    "sdp": "v=0\r\n",
    "offerId": 2,
    "to": "p",
    "epoch": 1,
    "participantId": "p",
    "description": {"type": "offer", "sdp": "v=0"},
    "consumerId": "c",
    "mode": "sfu",
    "text": "hi",
    "maxVideoGapMs": 12.5,
    "packetLoss": 0.5,
}
SEEDS = [
    json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": _PARAMS}).encode()
    for number, method in enumerate(METHODS)
]


def fuzz_one(data: bytes) -> None:
    text = data.decode("utf-8", errors="replace")  # the WebSocket layer lets no other text through
    try:
        request = rpc.decode_untrusted(text)
    except RpcError as error:
        json.loads(rpc.encode_error(error))
    else:
        assert isinstance(request.params, METHODS[request.method][0])
