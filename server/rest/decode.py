"""From a request to typed values: what stands in its path, its query and its body. Hostile input is a
`Problem` and nothing else."""

from __future__ import annotations

import re
import types
import typing
import urllib.parse
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from server.http.exchange import Request
from server.rest.problems import Problem

S = TypeVar("S", bound=msgspec.Struct)
_AT = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_INTEGER = re.compile(r"-?[0-9]{1,18}\Z")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")


def path_untrusted(request: Request, kind: type[S]) -> S:
    return _texts(dict(request.in_path), kind)


def query_untrusted(request: Request, kind: type[S]) -> S:
    query = request.target.partition("?")[2]
    try:
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=32)
    except ValueError:  # bytes that are no UTF-8, or too many
        raise Problem("invalid_params", "The query cannot be read.") from None
    values = dict(pairs)
    if len(values) < len(pairs):
        raise Problem("invalid_params", "Each parameter may be said once.")
    return _texts(values, kind)


def body_untrusted(request: Request, kind: type[S]) -> S:
    """An empty body stands for `{}`."""
    if request.body:
        content_type = request.header(b"content-type") or ""
        media, _, parameters = content_type.partition(";")
        charset = parameters.strip().lower().removeprefix("charset=").strip('"')
        if media.strip().lower() != "application/json" or charset not in ("", "utf-8"):
            raise Problem("unsupported_media_type", "Send the body as application/json.")
    try:
        return msgspec.json.decode(request.body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise Problem("invalid", _said(error), field=_field(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Problem("malformed", f"The body is not JSON: {_said(error)}") from None


def header_untrusted(request: Request, name: bytes, *, limit: int) -> str | None:
    """The header's value, if it is there: printable ASCII, said once."""
    values = [value for key, value in request.headers if key == name]
    if not values:
        return None
    text = values[0].decode("latin-1").strip()
    if len(values) > 1 or not 1 <= len(text) <= limit or not (text.isascii() and text.isprintable()):
        header = name.decode().title()
        raise Problem("malformed", f"{header} must be said once, in 1 to {limit} characters of ASCII.")
    return text


def _texts(values: Mapping[str, str], kind: type[S]) -> S:
    """Each text as its field's type wants it."""
    known = _plain_types(kind)
    typed = {name: _value(text, known.get(name, str)) for name, text in values.items()}
    try:
        return msgspec.convert(typed, kind)
    except msgspec.ValidationError as error:
        raise Problem("invalid_params", _said(error), field=_field(error)) from None


def _value(text: str, kind: type) -> Any:
    if kind in (int, float) and _INTEGER.match(text):
        return int(text)
    if kind is bool and text in ("true", "false"):
        return text == "true"
    return text


def _plain_types(kind: type[msgspec.Struct]) -> dict[str, type]:
    hints = typing.get_type_hints(kind, include_extras=True)
    names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    return {wire: plain_type(hints[name]) for name, wire in names}


def plain_type(hint: Any) -> type:
    """What a value is beneath its limits and beside its absence."""
    if typing.get_origin(hint) is Annotated:
        return plain_type(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return plain_type(typing.get_args(hint)[0])
    return hint if isinstance(hint, type) else str


def _said(error: Exception) -> str:
    text = _AT.sub("", str(error)).replace("`", "").rstrip(".")
    return text[:300] + "."


def _field(error: msgspec.ValidationError) -> str | None:
    found = _UNKNOWN.search(str(error)) or _AT.search(str(error))
    return found.group(1)[:100] or None if found else None
