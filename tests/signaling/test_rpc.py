from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ClientError
from server.signaling import rpc
from server.signaling.messages import METHODS, NOTIFICATIONS, CallJoin, Empty, Hello
from server.signaling.rpc import RpcError, RpcRequest


def refusal(text: str) -> RpcError:
    with pytest.raises(RpcError) as caught:
        rpc.decode_untrusted(text)
    return caught.value


def test_a_request() -> None:
    request = rpc.decode_untrusted(
        '{"jsonrpc":"2.0","id":7,"method":"call.join","params":{"roomId":"r","x":1}}'
    )
    assert (request.id, request.method) == (7, "call.join")
    assert request.params == CallJoin(room_id="r")


def test_params_may_be_left_out() -> None:
    assert rpc.decode_untrusted('{"jsonrpc":"2.0","id":"a","method":"hello"}').params == Hello()


@pytest.mark.parametrize(
    ("text", "code", "id"),
    [
        ("", -32700, None),
        ("{", -32700, None),
        ("[" * 100_000, -32600, None),
        ('{"x":' + "[" * 100_000, -32700, None),
        ('{"jsonrpc":"2.0","id":4,"method":"hello","params":{"device":{"a":' + "[" * 60_000, -32700, None),
        (
            '{"jsonrpc":"2.0","id":4,"method":"hello","params":{"device":{"a":'
            + "[" * 60_000
            + "]" * 60_000
            + "}}}",
            -32700,
            None,
        ),
        ("{}", -32600, None),
        ("null", -32600, None),
        ("[]", -32600, None),
        ('[{"jsonrpc":"2.0","id":1,"method":"hello"}]', -32600, None),
        ('{"jsonrpc":"2.0","method":"hello"}', -32600, None),
        ('{"jsonrpc":"2.0","id":null,"method":"hello"}', -32600, None),
        ('{"jsonrpc":"2.0","id":1.5,"method":"hello"}', -32600, None),
        ('{"jsonrpc":"2.0","id":true,"method":"hello"}', -32600, None),
        ('{"jsonrpc":"2.0","id":4,"method":5}', -32600, 4),
        ('{"jsonrpc":"1.0","id":4,"method":"hello"}', -32600, 4),
        ('{"id":4,"method":"hello"}', -32600, 4),
        ('{"jsonrpc":"2.0","id":"' + "x" * 65 + '","method":"hello"}', -32600, None),
        ('{"jsonrpc":"2.0","id":4,"method":"__class__"}', -32601, 4),
        ('{"jsonrpc":"2.0","id":4,"method":"hello","params":[]}', -32602, 4),
        ('{"jsonrpc":"2.0","id":4,"method":"hello","params":null}', -32602, 4),
        ('{"jsonrpc":"2.0","id":4,"method":"call.join"}', -32602, 4),
    ],
)
def test_refusals(text: str, code: int, id: object) -> None:
    error = refusal(text)
    assert (error.code, error.id) == (code, id)


@pytest.mark.parametrize(
    ("method", "params", "field"),
    [
        ("call.join", {"roomId": 5}, "roomId"),
        ("call.join", {"roomId": "a/b"}, "roomId"),
        ("call.join", {"roomId": "x" * 65}, "roomId"),
        ("caption.send", {"segmentId": "s", "text": "x" * 1001}, "text"),
        ("caption.send", {"segmentId": "s", "text": "x", "language": "en\n"}, "language"),
        ("hello", {"resume": {"sessionId": "s", "resumeToken": "t", "lastSeq": -1}}, "resume.lastSeq"),
        ("call.start", {"roomId": "r", "invite": ["a", 3]}, "invite[1]"),
        ("epoch.measured", {"epoch": 1, "participantId": "p", "maxVideoGapMs": -5}, "maxVideoGapMs"),
    ],
)
def test_invalid_params_name_the_field(method: str, params: dict[str, object], field: str) -> None:
    error = refusal(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    assert error.code == -32602
    assert error.data == {"code": "invalid_params", "field": field}
    assert error.message.startswith(field)


def decoded(text: str) -> RpcRequest | RpcError:
    try:
        return rpc.decode_untrusted(text)
    except RpcError as error:
        return error


def test_every_method_is_decoded_to_its_type() -> None:
    for method, (params, _) in METHODS.items():
        outcome = decoded(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}))
        if isinstance(outcome, RpcError):
            assert outcome.code == rpc.INVALID_PARAMS  # it has required fields
        else:
            assert isinstance(outcome.params, params)


def test_answers() -> None:
    assert json.loads(rpc.encode_result("a", Empty())) == {"jsonrpc": "2.0", "id": "a", "result": {}}
    error = rpc.client_error(ClientError("forbidden", "No.", field="roomId", needs="start"), 3)
    assert json.loads(rpc.encode_error(error)) == {
        "jsonrpc": "2.0",
        "id": 3,
        "error": {
            "code": -32000,
            "message": "No.",
            "data": {"code": "forbidden", "field": "roomId", "needs": "start"},
        },
    }
    assert json.loads(rpc.encode_error(RpcError(-32700, "x"))) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32700, "message": "x"},
    }
    assert json.loads(rpc.encode_notification("speaker", msgspec.Raw(b'{"participantId":null,"seq":4}'))) == {
        "jsonrpc": "2.0",
        "method": "speaker",
        "params": {"participantId": None, "seq": 4},
    }
    assert "speaker" in NOTIFICATIONS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(
    method=st.sampled_from(sorted(METHODS)) | st.text(max_size=10),
    id=st.integers() | st.text(max_size=70) | st.none(),
    params=JSON
    | st.dictionaries(
        st.sampled_from(["roomId", "token", "sdp", "epoch", "to", "text", "participantId", "resume"]), JSON
    ),
)
def test_whatever_comes_is_a_request_or_one_refusal(method: str, id: object, params: object) -> None:
    outcome = decoded(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
    if isinstance(outcome, RpcError):
        json.loads(rpc.encode_error(outcome))
        assert outcome.id is None or outcome.id == id
    else:
        assert (outcome.id, outcome.method) == (id, method)
        assert isinstance(outcome.params, METHODS[method][0])


@given(st.text(max_size=200))
def test_any_text_is_a_request_or_one_refusal(text: str) -> None:
    outcome = decoded(text)
    assert not isinstance(outcome, RpcError) or outcome.code in (-32700, -32600, -32601, -32602)
