"""A client's session: it outlives its WebSocket, numbers its notifications, keeps the newest for replay."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import msgspec

from server import ids
from server.session.identity import Identity
from server.signaling.messages import Wire

if TYPE_CHECKING:
    from server.rooms.actor import Room

REPLAY_COUNT = 256
REPLAY_BYTES = 1 << 18

_encode = msgspec.json.Encoder().encode


class Sink(Protocol):
    """A connection, as its session sees it. Both methods return at once and never raise."""

    def send_nowait(self, method: str, params: msgspec.Raw) -> bool:
        """Queue a notification; `params` is a complete JSON object with `seq`. False: closed or full."""

    def close(self, code: int, reason: str) -> None:
        """Close the connection with this WebSocket code."""


class Encoded:
    """Parameters that many sessions are sent: turned into JSON, and kept, once for them all."""

    __slots__ = ("_body",)

    def __init__(self, params: Wire) -> None:
        body = _encode(params)
        self._body = b"{" if body == b"{}" else body[:-1] + b","

    def __len__(self) -> int:
        return len(self._body)

    def numbered(self, seq: int) -> msgspec.Raw:
        """A complete JSON object."""
        return msgspec.Raw(b'%b"seq":%d}' % (self._body, seq))


class Session:
    """One client. The directory makes it; a connection attaches to it and detaches from it."""

    def __init__(self, identity: Identity, *, name: str, device: dict[str, object] | None) -> None:
        self.id = ids.cuid()
        self.resume_token = ids.token()
        self.anonymous_id = None if identity.user_id is not None else ids.cuid()
        self.identity = identity
        self.name = name
        self.device = device
        self.features: frozenset[str] = frozenset()  # of the protocol, that its client understands
        self.seq = 0
        self.sink: Sink | None = None
        self.expires_at: float | None = None  # Unix seconds; None while a connection is attached
        # Owned by the room actor that this session is in.
        self.room: Room | None = None
        self.participant_id: str | None = None
        self._sent: deque[tuple[int, str, Encoded]] = deque()
        self._sent_bytes = 0
        self._dropped = 0  # up to this seq there is nothing to replay any more
        self._delivered = 0  # the newest seq that went to a connection
        self._held = 0

    @property
    def user_key(self) -> str:
        """One per person: the same user in two sessions has the same key, a guest's is its own."""
        return self.identity.user_id or self.anonymous_id or self.id

    def notify(
        self, method: str, params: Wire | Encoded, *, lossy: bool = False, supersedes: bool = False
    ) -> None:
        """Number it, keep it for replay and send it. A lossy one is dropped while nobody listens.

        One that `supersedes` those of its method before it takes their place: they are of no use to anybody.
        """
        if supersedes:
            self.forget(method)
        if lossy and (self.sink is None or self._held):
            return
        self.seq += 1
        encoded = params if isinstance(params, Encoded) else Encoded(params)
        self._sent.append((self.seq, method, encoded))
        self._sent_bytes += len(encoded)
        while len(self._sent) > REPLAY_COUNT or (self._sent_bytes > REPLAY_BYTES and len(self._sent) > 1):
            self._dropped, _, oldest = self._sent.popleft()
            self._sent_bytes -= len(oldest)
        self._deliver()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Hold notifications back while a request is handled, so that its answer is queued before them.

        The connection wraps `Directory.request` and the queueing of the response in it.
        """
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self._deliver()

    def can_replay_after(self, seq: int) -> bool:
        """Whether every notification after `seq` is still kept."""
        return self._dropped <= seq <= self.seq

    def rewind(self, seq: int) -> None:
        """Deliver again from the notification after `seq` on (at the next attach)."""
        self._delivered = seq

    def attach(self, sink: Sink) -> Sink | None:
        """Make `sink` the session's connection; the one it takes over from is returned."""
        old, self.sink = self.sink, sink
        self.expires_at = None
        self._deliver()
        return old if old is not sink else None

    def detach(self, sink: Sink) -> bool:
        """Forget `sink`; False if another connection has taken over already."""
        if self.sink is not sink:
            return False
        self.sink = None
        return True

    def forget(self, method: str) -> None:
        """Keep those of that method no longer for replay: they are of no use to anybody any more."""
        kept = [entry for entry in self._sent if entry[1] != method]
        if len(kept) < len(self._sent):
            self._sent = deque(kept)
            self._sent_bytes = sum(len(encoded) for _, _, encoded in kept)

    def _deliver(self) -> None:
        if self.sink is None or self._held or self._delivered == self.seq:
            return
        fresh = []
        for entry in reversed(self._sent):
            if entry[0] <= self._delivered:
                break
            fresh.append(entry)
        for seq, method, encoded in reversed(fresh):
            if not self.sink.send_nowait(method, encoded.numbered(seq)):
                return  # the connection is going down; what it missed is replayed after a resume
            self._delivered = seq
