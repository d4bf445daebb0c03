from __future__ import annotations

import itertools
import json

import pytest

from server.errors import ClientError
from server.signaling.machine import (
    HELLO_TIMEOUT,
    STRIKES,
    TRANSITIONS,
    VIOLATION,
    Close,
    Event,
    Machine,
    Reply,
    State,
)
from server.signaling.rpc import RpcRequest
from server.signaling.settings import LimitSettings

HELLO = '{"jsonrpc":"2.0","id":1,"method":"hello"}'
STATS = '{"jsonrpc":"2.0","id":2,"method":"stats"}'


def machine(**limits: float) -> Machine:
    return Machine(LimitSettings(**limits), now=0)  # type: ignore[arg-type]


def reach(state: State) -> Machine:
    made = machine()
    for event in {State.NEW: [], State.READY: [Event.WELCOME], State.CLOSED: [Event.CLOSE]}[state]:
        made.apply(event)
    assert made.state is state
    return made


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_illegal_events_change_nothing(state: State, event: Event) -> None:
    made = reach(state)
    legal = (state, event) in TRANSITIONS
    assert made.apply(event) is legal
    assert made.state is (TRANSITIONS[state, event] if legal else state)


@pytest.mark.parametrize(
    ("state", "text", "code"),
    [
        (State.NEW, HELLO, None),
        (State.NEW, STATS, "not_ready"),
        (State.READY, HELLO, "bad_state"),
        (State.READY, STATS, None),
        (State.CLOSED, HELLO, "bad_state"),
        (State.CLOSED, STATS, "bad_state"),
    ],
)
def test_what_is_admitted_in_which_state(state: State, text: str, code: str | None) -> None:
    made = reach(state)
    request = made.receive_untrusted(text, 0)
    assert isinstance(request, RpcRequest)
    refusal = made.admit(request)
    assert (refusal.data or {})["code"] == code if refusal is not None else code is None
    assert made.state is state


def test_hello_deadline() -> None:
    made = machine(hello_timeout_s=10)
    assert made.next_timeout() == 10
    assert made.handle_timer(9.9) is None
    assert made.handle_timer(10) == Close(HELLO_TIMEOUT, "no hello in time")
    made.apply(Event.WELCOME)
    assert made.next_timeout() is None
    assert made.handle_timer(100) is None


def test_binary_ends_it() -> None:
    step = machine().receive_untrusted(b"x", 0)
    assert isinstance(step, Close)
    assert step.code == VIOLATION


def test_requests_are_limited_and_strikes_end_it() -> None:
    made = machine(requests_per_s=10, request_burst=5)
    steps = [made.receive_untrusted(STATS, 0) for _ in range(5 + STRIKES + 1)]
    assert all(isinstance(step, RpcRequest) for step in steps[:5])
    for step in steps[5:-1]:
        assert isinstance(step, Reply)
        error = json.loads(step.text)
        assert error["id"] == 2
        assert error["error"]["data"] == {"code": "rate_limited", "retryAfterMs": 100}
    assert isinstance(steps[-1], Close)


def test_a_client_that_waits_as_told_goes_on() -> None:
    made = machine(requests_per_s=10, request_burst=1)
    now = 0.0
    for _ in range(500):
        assert isinstance(made.receive_untrusted(STATS, now), RpcRequest)
        now += 0.1001


def test_large_messages_cost_more() -> None:
    made = machine(request_burst=10)
    text = STATS[:-1] + ',"params":{"x":"' + "y" * 90_000 + '"}}'
    assert isinstance(made.receive_untrusted(text, 0), RpcRequest) is False


def test_strikes_are_forgiven_with_time() -> None:
    made = machine()
    for number in range(1000):
        assert isinstance(made.receive_untrusted("{", number * 2.1), Reply)


def test_refused_hellos_are_strikes() -> None:
    made = machine()
    request = made.receive_untrusted(HELLO, 0)
    assert isinstance(request, RpcRequest)
    error = ClientError("token_invalid", "No.", field="token")
    steps = [made.refuse_hello(error, request, 0) for _ in range(STRIKES + 1)]
    assert [type(step) for step in steps] == [Reply] * STRIKES + [Close]
