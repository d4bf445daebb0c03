"""Who is asking: what a verified token (or `--dev`) says about a client. Plain data."""

from __future__ import annotations

import unicodedata

import msgspec

MAX_NAME = 64


class Grants(msgspec.Struct, frozen=True, kw_only=True):
    """What this client may do. `room` is one room's id, or "*" for every room."""

    room: str = "*"
    join: bool = True
    start: bool = False  # ring others with call.start
    publish: bool = True  # send media
    end: bool = False  # end the call for everybody
    read: bool = False  # read what is kept of calls, over REST
    admin: bool = False  # all of the above, in every room

    def allows_room(self, room_id: str) -> bool:
        return self.admin or self.room in ("*", room_id)

    def names(self) -> list[str]:
        """The grants as `hello` tells them to the client."""
        given = [name for name in ("join", "start", "publish", "end", "read", "admin") if getattr(self, name)]
        return [*given, f"room:{self.room}"]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str | None  # None for a guest
    name: str
    guest: bool
    grants: Grants
    avatar: str | None = None


def clean_name(name: str | None) -> str:
    """A display name in one line: no control or direction characters, no outer space, 64 characters."""
    if not name:
        return ""
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in name)
    return " ".join(kept.split())[:MAX_NAME].rstrip()
