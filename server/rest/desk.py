"""What the operations have at hand: the live calls, the records, the clock; and who is asking for what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from server.db.records import CallFilter, Records
from server.http.exchange import Request
from server.rest.access import Scope
from server.rest.idempotency import Replays
from server.session.identity import Identity

if TYPE_CHECKING:
    from server.rooms.directory import Directory


class Mint(Protocol):
    """`server.signaling.tokens.Tokens.mint`."""

    def __call__(
        self, *, room: str, user_id: str | None, name: str, can: Sequence[Any], ttl_s: float, now: float
    ) -> str: ...


@dataclass(frozen=True, slots=True)
class Desk:
    directory: Directory
    records: Records
    mint: Mint
    clock: Callable[[], float]  # Unix seconds
    base_url: Callable[[Request], str]  # as the asker sees this server: https://calls.example.org
    ring_timeout_s: float
    replays: Replays = field(default_factory=Replays)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, checked and typed: `path`, `query` and `body` are of the operation's types."""

    request: Request
    who: Identity
    scope: Scope
    path: Any
    query: Any
    body: Any
    key: str | None  # Idempotency-Key

    @property
    def caller(self) -> str:
        """Whose requests count together."""
        grants = self.who.grants
        return f"{'admin' if grants.admin else grants.room}/{self.who.user_id or ''}"

    @property
    def within(self) -> CallFilter:
        return CallFilter(room_id=self.scope.room_id, user_id=self.scope.user_id)
