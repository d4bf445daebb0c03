"""Which mode a call should be in, and when: a pure function of what is known.

The return to P2P has hysteresis (two must have been alone for a while) and back-off (each return doubles that
while, so a call whose third person comes and goes does not flap). A call whose P2P failed never returns.
"""

from __future__ import annotations

import msgspec

from server.session.settings import CallSettings, Policy
from server.signaling.messages import Mode, SwitchReason


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    policy: Policy
    mode: Mode
    present: int  # participants, with those who are reconnecting
    all_here: bool  # nobody is reconnecting
    p2p_path: bool  # the two who are present have a P2P connection that was committed
    p2p_failed: bool = False  # once true, stays true for the call
    poor_quality: bool = False  # of the P2P connection, by the clients' reports
    requested: Mode | None = None
    feature: bool = False  # something on the server needs the media
    two_since: float | None = None  # Unix seconds since when exactly two are present
    returns: int = 0  # how often the call went back to P2P (or must be treated as if)
    retry_at: float = 0.0  # no P2P connection is begun before


class Want(msgspec.Struct, frozen=True):
    mode: Mode
    reason: SwitchReason
    at: float  # Unix seconds; in the future: not yet


def return_delay(settings: CallSettings, returns: int) -> float:
    """Seconds that two must be alone before the call goes back to P2P for the next time."""
    doubled: float = settings.back_to_p2p_delay_s * 2.0 ** min(returns, 16)
    return min(doubled, max(settings.back_to_p2p_max_delay_s, settings.back_to_p2p_delay_s))


def decide(s: Situation, settings: CallSettings, now: float) -> Want | None:
    """The epoch that should begin, or None to stay as it is."""
    if s.policy == "sfu" or s.present == 0:
        return None
    if s.mode == "p2p":
        if s.policy == "auto":
            reason = sfu_reason(s)
            if reason is not None:
                return Want("sfu", reason, now)
        if s.present == 2 and s.all_here and not s.p2p_path:
            return Want("p2p", "participant_joined", max(now, s.retry_at))
        return None
    if s.present != 2 or not s.all_here or s.p2p_failed or s.feature or s.requested == "sfu":
        return None
    if s.requested == "p2p":
        return Want("p2p", "requested", max(now, s.retry_at))
    since = now if s.two_since is None else s.two_since
    at = max(since + return_delay(settings, s.returns), s.retry_at)
    return Want("p2p", "participant_left", max(now, at))


def sfu_reason(s: Situation) -> SwitchReason | None:
    """Why a call under policy `auto` must be on the SFU; None if P2P will do."""
    if s.present >= 3:
        return "participant_joined"
    if s.feature:
        return "feature"
    if s.requested == "sfu":
        return "requested"
    if s.present == 2 and s.all_here and s.p2p_failed:
        return "p2p_failed"
    if s.present == 2 and s.poor_quality:
        return "poor_quality"
    return None
