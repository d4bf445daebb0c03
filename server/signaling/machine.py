"""One connection's protocol as a machine without IO: what each message means now, and what answers it.

    state    event        next
    new      welcome      ready     `hello` was accepted
    new      close        closed    no hello in time, too many strikes, the client left
    ready    close        closed    flooded, taken over, too slow, server stops, the client left

Everything else changes nothing. Messages go through it twice: `receive_untrusted` when they arrive, which
decodes and counts them, and `admit` when their turn comes, which looks at the state: a client may send its
next request before `hello` is answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from server.errors import ClientError
from server.signaling import rpc
from server.signaling.bucket import TokenBucket
from server.signaling.rpc import RpcError, RpcRequest
from server.signaling.settings import LimitSettings


class State(Enum):
    NEW = "new"
    READY = "ready"
    CLOSED = "closed"


class Event(Enum):
    WELCOME = "welcome"
    CLOSE = "close"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.NEW, Event.WELCOME): State.READY,
    (State.NEW, Event.CLOSE): State.CLOSED,
    (State.READY, Event.CLOSE): State.CLOSED,
}

LEFT = 1000  # the client went
GOING_AWAY = 1001
VIOLATION = 1008
TOO_LARGE = 1009
HELLO_TIMEOUT = 4000
TAKEN_OVER = 4001
TOO_SLOW = 4002

# Strikes are messages that break the rules; a client gets some, and new ones with time.
STRIKES = 20
STRIKES_PER_S = 0.5
BYTES_PER_REQUEST = 8192  # a message costs one request and one more for each of these


@dataclass(frozen=True, slots=True)
class Close:
    """The connection is to be closed with this code."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Text for the client."""

    text: str


class Machine:
    def __init__(self, limits: LimitSettings, now: float) -> None:
        self.state = State.NEW
        self._hello_deadline = now + limits.hello_timeout_s
        self._requests = TokenBucket(rate=limits.requests_per_s, burst=limits.request_burst, now=now)
        self._strikes = TokenBucket(rate=STRIKES_PER_S, burst=STRIKES, now=now)

    def receive_untrusted(self, message: str | bytes, now: float) -> RpcRequest | Reply | Close:
        """A message has arrived: a request to queue, a refusal to send, or the end."""
        if isinstance(message, bytes):
            return Close(VIOLATION, "binary messages are not spoken here")
        cost = 1 + len(message) // BYTES_PER_REQUEST
        allowed = self._requests.take(cost, now)
        try:
            request = rpc.decode_untrusted(message)
        except RpcError as error:
            return self._strike(error, now)
        if not allowed:
            return self.overload(request, now)
        return request

    def overload(self, request: RpcRequest, now: float) -> Reply | Close:
        """The request comes too fast (here, or for the shell's queue)."""
        wait_ms = max(1, round(self._requests.wait_s(1) * 1000))
        error = ClientError("rate_limited", "Too many requests: wait and send again.", retryAfterMs=wait_ms)
        return self._strike(rpc.client_error(error, request.id), now)

    def admit(self, request: RpcRequest) -> RpcError | None:
        """The request's turn has come: an error refuses it for the state that the connection is in."""
        if self.state is State.NEW and request.method != "hello":
            error = ClientError("not_ready", "Say hello first.")
        elif self.state is State.READY and request.method == "hello":
            error = ClientError("bad_state", "hello was said and answered on this connection.")
        elif self.state is State.CLOSED:
            error = ClientError("bad_state", "The connection is closing.")
        else:
            return None
        return rpc.client_error(error, request.id)

    def refuse_hello(self, error: ClientError, request: RpcRequest, now: float) -> Reply | Close:
        return self._strike(rpc.client_error(error, request.id), now)

    def apply(self, event: Event) -> bool:
        """False: the event is illegal in this state and has changed nothing."""
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            return False
        self.state = following
        return True

    def next_timeout(self) -> float | None:
        """When `handle_timer` is to be called: the deadline of `hello`."""
        return self._hello_deadline if self.state is State.NEW else None

    def handle_timer(self, now: float) -> Close | None:
        if self.state is State.NEW and now >= self._hello_deadline:
            return Close(HELLO_TIMEOUT, "no hello in time")
        return None

    def _strike(self, error: RpcError, now: float) -> Reply | Close:
        if not self._strikes.take(1, now):
            return Close(VIOLATION, "too many messages that break the rules")
        return Reply(rpc.encode_error(error))
