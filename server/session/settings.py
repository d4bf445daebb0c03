"""What a deployment may choose about calls. Units stand in the names; the configuration fills it."""

from __future__ import annotations

from typing import Literal

import msgspec

Policy = Literal["auto", "p2p", "sfu"]
CaptionMode = Literal["off", "relay", "store"]


class CallSettings(msgspec.Struct, frozen=True, kw_only=True):
    policy: Policy = "auto"
    captions: CaptionMode = "relay"  # for calls that do not say; store: final ones become call_transcriptions
    ring_timeout_s: float = 30.0  # an unanswered call is MISSED
    resume_grace_s: float = 30.0  # a participant without a connection stays for this long
    empty_grace_s: float = 10.0  # a call without participants ends
    back_to_p2p_delay_s: float = 5.0  # two alone in SFU mode; doubled at each return
    back_to_p2p_max_delay_s: float = 60.0
    p2p_retry_s: float = 2.0  # policy "p2p" only: pause before a failed connection is made anew
    sfu_epoch_timeout_s: float = 8.0
    p2p_epoch_timeout_s: float = 6.0
    linger_s: float = 3.0  # the old path stays up idle after a commit
    poor_loss: float = 0.08  # share of packets, 0..1
    poor_rtt_ms: float = 800.0
    poor_reports: int = 3  # that many in a row make P2P bad
    max_participants: int = 50  # of one call
    tell_at_once_up_to: int = 25  # participants; in a larger call comings and goings are told together
    max_rooms: int = 1000  # calls at a time
    max_sessions: int = 20_000
    media_addresses: tuple[str, ...] = ()  # announced to clients, so that they can name a blocked port
    server_version: str = ""
    server_instance: str = ""
