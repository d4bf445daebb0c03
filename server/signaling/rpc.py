"""JSON-RPC 2.0 over text, typed by `messages.METHODS`. Pure functions: text in, requests out, and back.

What cannot be understood is an `RpcError`, which is also what the client is answered. Standard codes are
those of the specification (section 5.1); -32000 carries a `ClientError`, whose code is a word in `data.code`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from server.errors import ClientError
from server.signaling.messages import METHODS, Wire

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
CLIENT_ERROR = -32000

RequestId = int | str
_MAX_ID_LENGTH = 64


class RpcError(Exception):
    def __init__(
        self, code: int, message: str, *, id: RequestId | None = None, data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id
        self.data = data


@dataclass(frozen=True, slots=True)
class RpcRequest:
    id: RequestId
    method: str
    params: Wire


class _Envelope(msgspec.Struct):
    jsonrpc: str
    method: str
    id: RequestId
    params: msgspec.Raw = msgspec.Raw(b"{}")


class _OnlyId(msgspec.Struct):
    id: RequestId | None = None


class _Result(msgspec.Struct):
    id: RequestId
    result: Wire
    jsonrpc: str = "2.0"


class _ErrorBody(msgspec.Struct, omit_defaults=True):
    code: int
    message: str
    data: dict[str, Any] | None = None


class _Error(msgspec.Struct):
    id: RequestId | None
    error: _ErrorBody
    jsonrpc: str = "2.0"


class _Notification(msgspec.Struct):
    method: str
    params: msgspec.Raw
    jsonrpc: str = "2.0"


_envelopes = msgspec.json.Decoder(_Envelope)
_ids = msgspec.json.Decoder(_OnlyId)
_params = {method: msgspec.json.Decoder(params) for method, (params, _) in METHODS.items()}
_encoder = msgspec.json.Encoder()
_PATH = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")


def decode_untrusted(text: str) -> RpcRequest:
    """Raises RpcError only."""
    try:
        envelope = _envelopes.decode(text)
    except msgspec.ValidationError as error:
        message = f"This is no JSON-RPC request: {_plain(error)}"
        raise RpcError(INVALID_REQUEST, message, id=_id_untrusted(text)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise RpcError(PARSE_ERROR, f"This is not JSON: {_plain(error)}") from None
    if envelope.jsonrpc != "2.0":
        raise RpcError(INVALID_REQUEST, 'jsonrpc must be "2.0".', id=_short(envelope.id))
    if _short(envelope.id) is None:
        raise RpcError(INVALID_REQUEST, f"An id may have {_MAX_ID_LENGTH} characters.")
    decoder = _params.get(envelope.method)
    if decoder is None:
        method = envelope.method[:64]
        raise RpcError(METHOD_NOT_FOUND, f"There is no method {method!r}.", id=envelope.id)
    try:
        params = decoder.decode(envelope.params)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        field = _field(error)
        where = f"{field}: " if field else ""
        data = {"code": "invalid_params", "field": field}
        raise RpcError(INVALID_PARAMS, f"{where}{_plain(error)}", id=envelope.id, data=data) from None
    return RpcRequest(envelope.id, envelope.method, params)


def client_error(error: ClientError, id: RequestId | None) -> RpcError:
    data = {"code": error.code, **error.data}
    if error.field is not None:
        data["field"] = error.field
    return RpcError(CLIENT_ERROR, error.message, id=id, data=data)


def encode_result(id: RequestId, result: Wire) -> str:
    return _encoder.encode(_Result(id, result)).decode()


def encode_error(error: RpcError) -> str:
    body = _ErrorBody(error.code, error.message, error.data)
    return _encoder.encode(_Error(error.id, body)).decode()


def encode_notification(method: str, params: msgspec.Raw) -> str:
    return _encoder.encode(_Notification(method, params)).decode()


def _id_untrusted(text: str) -> RequestId | None:
    """The id of a message that is JSON but no request, so that its sender can tell what was refused."""
    try:
        return _short(_ids.decode(text).id)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def _short(id: RequestId | None) -> RequestId | None:
    return None if isinstance(id, str) and len(id) > _MAX_ID_LENGTH else id


def _plain(error: Exception) -> str:
    return _PATH.sub("", str(error)).replace("`", "")[:300]


def _field(error: Exception) -> str | None:
    found = _PATH.search(str(error))
    return found.group(1)[:100] or None if found else None
