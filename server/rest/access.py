"""Who may see and do what: a token's grants, turned into a scope.

    token                                  sees
    admin                                  everything
    bound to one room                      that room's calls
    for all rooms, with the grant `read`   everything
    for all rooms, of a user (`sub`)       the calls that this user made or took part in
    any other                              nothing

What is outside of a token's scope does not exist for it. Beyond seeing, `start` opens calls, `end` ends them
and takes people out, and what is about whole persons or mints tokens is for `admin`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from server.rest.problems import Problem
from server.session.identity import Identity
from server.session.overview import Overview

Need = Literal["read", "read-all", "start", "end", "admin"]
# What each need asks of a token, in words.
NEEDS: dict[Need, str] = {
    "read": "any token that sees something: `admin`, `read`, one room's, or a user's",
    "read-all": "`admin`, or `read` for all rooms",
    "start": "`start` or `admin`",
    "end": "`end` or `admin`",
    "admin": "`admin`",
}


class Scope(msgspec.Struct, frozen=True):
    """None: all of them."""

    room_id: str | None = None
    user_id: str | None = None

    @property
    def whole(self) -> bool:
        return self.room_id is None and self.user_id is None

    def shows(self, call: Overview) -> bool:
        """Whether a live call is in it."""
        if self.room_id is not None:
            return call.room_id == self.room_id
        present = [one.user_id for one in call.participants]
        return self.user_id is None or self.user_id in (call.initiator_id, *call.ringing, *present)


NOTHING = Scope(room_id="")  # no room has this id


def scope_of(who: Identity) -> Scope:
    grants = who.grants
    if grants.admin:
        return Scope()
    if grants.room != "*":
        return Scope(room_id=grants.room)
    if grants.read:
        return Scope()
    return NOTHING if who.user_id is None else Scope(user_id=who.user_id)


def check(who: Identity, need: Need) -> Scope:
    """The scope in which the token may do it. Raises Problem `forbidden`."""
    scope = scope_of(who)
    grants = who.grants
    may = {
        "read": scope != NOTHING,
        "read-all": scope.whole,
        "start": grants.start,
        "end": grants.end and scope != NOTHING,
        "admin": grants.admin,
    }[need]
    if not may:
        raise Problem("forbidden", f"This token may not do that: it takes {NEEDS[need]}.")
    return scope


def sees_all_of_people(who: Identity) -> bool:
    """Devices and quality of others: for applications, not for the others in the call."""
    return who.grants.admin or who.grants.read
