"""Which mode is wanted, by tables of situations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.session.policy import Situation, Want, decide, return_delay
from server.session.settings import CallSettings

NOW = 1000.0
SETTINGS = CallSettings()


def situation(**given: Any) -> Situation:
    fields: dict[str, Any] = {
        "policy": "auto",
        "mode": "p2p",
        "present": 2,
        "all_here": True,
        "p2p_path": True,
    }
    return Situation(**(fields | given))


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ({}, None),
        ({"present": 0}, None),
        ({"present": 1, "p2p_path": False}, None),
        ({"p2p_path": False}, ("p2p", "participant_joined")),
        ({"p2p_path": False, "all_here": False}, None),
        ({"present": 3}, ("sfu", "participant_joined")),
        ({"present": 3, "p2p_failed": True, "poor_quality": True}, ("sfu", "participant_joined")),
        ({"p2p_failed": True}, ("sfu", "p2p_failed")),
        ({"p2p_failed": True, "all_here": False}, None),
        ({"p2p_failed": True, "present": 1, "p2p_path": False}, None),
        ({"poor_quality": True}, ("sfu", "poor_quality")),
        ({"requested": "sfu"}, ("sfu", "requested")),
        ({"requested": "sfu", "present": 1}, ("sfu", "requested")),
        ({"feature": True, "present": 1}, ("sfu", "feature")),
        ({"feature": True, "present": 0}, None),
        ({"policy": "p2p", "poor_quality": True, "requested": "sfu", "feature": True}, None),
        ({"policy": "p2p", "p2p_path": False}, ("p2p", "participant_joined")),
        ({"policy": "sfu", "mode": "sfu"}, None),
        ({"mode": "sfu", "requested": "p2p", "two_since": NOW}, ("p2p", "requested")),
        ({"mode": "sfu", "requested": "sfu", "two_since": 0.0}, None),
        ({"mode": "sfu", "two_since": 0.0}, ("p2p", "participant_left")),
        ({"mode": "sfu", "two_since": 0.0, "p2p_failed": True}, None),
        ({"mode": "sfu", "two_since": 0.0, "feature": True}, None),
        ({"mode": "sfu", "two_since": 0.0, "all_here": False}, None),
        ({"mode": "sfu", "two_since": None, "present": 1}, None),
        ({"mode": "sfu", "two_since": None, "present": 3}, None),
    ],
)
def test_what_is_wanted_now(given_: dict[str, Any], wanted: tuple[str, str] | None) -> None:
    want = decide(situation(**given_), SETTINGS, NOW)
    assert (None if want is None else (want.mode, want.reason)) == wanted
    assert want is None or want.at == NOW


@pytest.mark.parametrize(
    ("given_", "at"),
    [
        ({"two_since": NOW}, NOW + 5),
        ({"two_since": NOW - 3}, NOW + 2),
        ({"two_since": NOW, "returns": 2}, NOW + 20),
        ({"two_since": NOW, "returns": 9}, NOW + 60),
        ({"two_since": NOW - 50, "retry_at": NOW + 7}, NOW + 7),
    ],
)
def test_when_to_go_back(given_: dict[str, Any], at: float) -> None:
    want = decide(situation(mode="sfu", p2p_path=False, **given_), SETTINGS, NOW)
    assert want == Want("p2p", "participant_left", at)


@given(returns=st.integers(0, 1000), first=st.floats(0.1, 100), longest=st.floats(0.1, 1000))
def test_the_delay_grows_up_to_its_bound(returns: int, first: float, longest: float) -> None:
    settings = CallSettings(back_to_p2p_delay_s=first, back_to_p2p_max_delay_s=longest)
    delay = return_delay(settings, returns)
    assert first <= delay <= max(first, longest)
    assert return_delay(settings, returns + 1) >= delay
