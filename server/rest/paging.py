"""Cursors: a row's place in a listing, as text that means nothing to its reader."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from server.rest.problems import Problem

Place = tuple[datetime, str]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Cursor(msgspec.Struct, array_like=True):
    microseconds: int  # since 1970
    id: str


def encode(place: Place) -> str:
    cursor = _Cursor((place[0] - _EPOCH) // timedelta(microseconds=1), place[1])
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor)).rstrip(b"=").decode()


def decode_untrusted(text: str) -> Place:
    """Raises Problem `invalid_params`."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.msgpack.decode(raw, type=_Cursor)
        place = (_EPOCH + timedelta(microseconds=cursor.microseconds), cursor.id)
        if "\0" not in cursor.id and encode(place) == text:
            return place
    except (binascii.Error, msgspec.MsgspecError, ValueError, OverflowError):
        pass
    raise Problem("invalid_params", "This is no cursor of this server: take `nextCursor`.", field="cursor")


def page_of(rows: list[dict[str, Any]], limit: int, time: str) -> tuple[list[dict[str, Any]], str | None]:
    """Of one row more than asked for: those asked for, and the cursor of what comes after them."""
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], encode((last[time], last["id"]))
