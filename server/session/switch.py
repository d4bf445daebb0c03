"""The mode of one call and its way from one path to the other: policy and epochs put together.

The call feeds it what happens and calls `settle`, which carries on until nothing more is due.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from server.db.changes import SfuIds, SwitchedToP2p, SwitchedToSfu
from server.errors import ClientError
from server.session.effects import Effect, Forward, Notify, Persist
from server.session.epoch import Epoch, PairKey, pairs_of
from server.session.metrics import CallMetrics
from server.session.participants import Participants
from server.session.policy import Situation, Want, decide, sfu_reason
from server.session.records import SwitchRecords
from server.session.settings import CallSettings
from server.signaling.messages import (
    EpochCommit,
    EpochEnd,
    EpochPrepare,
    Mode,
    Pair,
    Wire,
)

NO_RETURN_SOON = 16  # counts as so many returns: the longest delay from now on


class SfuRoom(msgspec.Struct, frozen=True):
    """The router's columns."""

    id: str
    rtp_capabilities: dict[str, Any]


class Switch:
    def __init__(
        self,
        *,
        call_id: str,
        settings: CallSettings,
        participants: Participants,
        metrics: CallMetrics,
        router: SfuRoom,
        emit: Callable[[Effect], None],
    ) -> None:
        self._call_id = call_id
        self._settings = settings
        self._participants = participants
        self._metrics = metrics
        self._router = router
        self._emit = emit

        self.mode: Mode = "sfu" if settings.policy == "sfu" else "p2p"
        self.epoch: Epoch | None = None  # preparing or lingering
        self.committed = 0  # number of the newest committed epoch
        self._numbers = 0
        self.records = SwitchRecords(call_id, self._emit, self._tell)
        self._p2p_pair: set[str] = set()  # the two whose P2P connection is in force
        self._p2p_epoch = 0
        self._p2p_failed = False
        self._suspect: str | None = None  # its P2P broke while its connection was cut: it may just be gone
        self._poor = False
        self._requested: Mode | None = None
        self._feature = False
        self._two_since: float | None = None
        self._returns = 0
        self._retry_at = 0.0

    # ---- what happens ---------------------------------------------------------------------------------

    def joined(self, participant_id: str, now: float) -> None:
        self._count(now)
        if self.epoch is not None and self.epoch.preparing and self.epoch.to_mode == "sfu":
            self.epoch.join(participant_id)
            self._emit(Notify((participant_id,), "epoch.prepare", self._prepare(self.epoch)))

    def left(self, participant_id: str, now: float) -> None:
        self._count(now)
        if self._suspect == participant_id:
            self._suspect = None
        if participant_id in self._p2p_pair:
            self._p2p_pair = set()
            self._poor = False
        if self.epoch is not None:
            was_member = participant_id in self.epoch.members
            self.epoch.leave(participant_id)
            if was_member and self.epoch.preparing and self.epoch.to_mode == "p2p":
                self._abort("participant_left")

    def away(self, participant_id: str) -> None:
        if self.epoch is not None:
            self.epoch.waive(participant_id)

    def back(self, participant_id: str, now: float) -> None:
        if self._suspect == participant_id:
            self._suspect = None
            self._fail_p2p(now)

    def swapped(self, receiver: str, sender: str, number: int) -> bool:
        epoch = self.epoch
        return epoch is not None and epoch.number == number and epoch.swap(receiver, sender)

    def transport_failed(self, participant_id: str, *, receiving: bool) -> None:
        if self.epoch is not None and self.epoch.to_mode == "sfu":
            self.epoch.unswap(participant_id, receiving=receiving)

    def p2p_failed(self, reporter: str, other: str, number: int, now: float) -> None:
        """A client says that its P2P connection of that epoch is broken. Old news change nothing."""
        epoch = self.epoch
        pair = {reporter, other}
        making = epoch is not None and epoch.preparing and epoch.to_mode == "p2p"
        current = making and epoch is not None and epoch.number == number and epoch.members == pair
        in_force = not making and self._p2p_pair == pair and self._p2p_epoch == number
        if not (current or in_force):
            return
        peer = self._participants.get(other)
        if peer is not None and peer.away:
            self._suspect = other
        else:
            self._fail_p2p(now)

    def poor_quality(self) -> None:
        """The reports say that P2P is bad."""
        if self.mode == "p2p" and self._p2p_pair:
            self._poor = True

    def want_feature(self, on: bool) -> None:
        """Something on the server needs the media (a recording)."""
        self._feature = on

    def request(self, mode: Mode) -> None:
        if self._settings.policy != "auto":
            raise ClientError("bad_state", f"this server's policy is {self._settings.policy}", field="mode")
        if mode == "p2p" and self._p2p_failed:
            raise ClientError("bad_state", "P2P has failed in this call; it stays on the SFU", field="mode")
        if mode == "p2p" and len(self._participants) > 2:
            raise ClientError("bad_state", "P2P is for two participants at most", field="mode")
        to_sfu = self.epoch is not None and self.epoch.preparing and self.epoch.to_mode == "sfu"
        already = mode == "p2p" and self.mode == "p2p" and not to_sfu
        self._requested = None if already else mode

    # ---- what is due ----------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Do all that is due at `now`: commits, aborts, releases, and the next epoch."""
        while self._step(now):
            pass

    def next_timeout(self, now: float) -> tuple[float, str] | None:
        """When `settle` is needed again though nothing happens, and why."""
        epoch = self.epoch
        if epoch is not None and epoch.preparing:
            return epoch.deadline, "epoch"
        due: list[tuple[float, str]] = []
        if epoch is not None and epoch.release_at is not None:
            due.append((epoch.release_at, "release"))
        want = decide(self._situation(), self._settings, now)
        if want is not None:
            due.append((want.at, "mode"))
        return min(due, default=None)

    def pending(self) -> EpochPrepare | None:
        """The epoch under way, for a client that has to catch up."""
        if self.epoch is None or not self.epoch.preparing:
            return None
        return self._prepare(self.epoch)

    def relays(self, number: int) -> bool:
        """Whether P2P signals of this epoch are still of use."""
        epoch = self.epoch
        making = epoch is not None and epoch.to_mode == "p2p" and epoch.number == number
        return making or (number == self._p2p_epoch and number > 0)

    def _step(self, now: float) -> bool:
        epoch = self.epoch
        if epoch is not None and epoch.preparing:
            return self._carry_on(epoch, now)
        if epoch is not None and epoch.release_at is not None and epoch.release_at <= now:
            self._release(epoch)
            return True
        want = decide(self._situation(), self._settings, now)
        if want is None or want.at > now:
            return False
        self._begin(want, now)
        return True

    def _carry_on(self, epoch: Epoch, now: float) -> bool:
        """An epoch under way: whether it came to its end."""
        if epoch.to_mode == "p2p":
            reason = sfu_reason(self._situation()) if self._settings.policy == "auto" else None
            if reason is not None:
                # The call's first path may play for some already: it is kept while the SFU takes over.
                if epoch.from_mode is None and epoch.swapped and not self._p2p_failed:
                    self._commit(epoch, now)
                else:
                    self._abort(reason)
                return True
        if epoch.complete:
            self._commit(epoch, now)
            return True
        if now < epoch.deadline:
            return False
        if epoch.to_mode == "sfu" or epoch.swapped:
            self._commit(epoch, now)
        elif epoch.disturbed:
            self._retry_at = now + self._settings.p2p_retry_s
            self._abort("timeout")
        else:
            self._fail_p2p(now)
            if self.epoch is epoch:
                self._abort("p2p_failed")
        return True

    def _begin(self, want: Want, now: float) -> None:
        if self.epoch is not None and (self.epoch.to_mode, want.mode) != ("p2p", "sfu"):
            # A straggler of the last switch gets a new P2P connection instead. But an SFU that is about to
            # go to standby and is wanted again simply goes on.
            self._release(self.epoch)
        self._numbers += 1
        first = want.mode == self.mode
        everyone = self._participants.ids()
        if self.mode == "p2p":
            old_path: set[PairKey] = set() if first else pairs_of(self._p2p_pair)
        else:
            old_path = pairs_of(everyone)
        epoch = Epoch(
            number=self._numbers,
            from_mode=None if first else self.mode,
            to_mode=want.mode,
            reason=want.reason,
            offerer=everyone[0] if want.mode == "p2p" else None,
            participants=everyone,
            away=[one.id for one in self._participants.away],
            old_path=old_path,
            now=now,
            timeout_s=(
                self._settings.sfu_epoch_timeout_s
                if want.mode == "sfu"
                else self._settings.p2p_epoch_timeout_s
            ),
            linger_s=self._settings.linger_s,
        )
        self.epoch = epoch
        if not first:
            self.records.begin(epoch, self.mode)
        self._tell("epoch.prepare", self._prepare(epoch))
        if want.mode == "sfu":
            self._emit(Forward(True))

    def _commit(self, epoch: Epoch, now: float) -> None:
        epoch.commit(now)
        self.committed = epoch.number
        self.mode = epoch.to_mode
        duration = now - epoch.began_at
        stragglers = [Pair(receiver, sender) for receiver, sender in sorted(epoch.stragglers)]
        commit = EpochCommit(
            epoch=epoch.number,
            mode=epoch.to_mode,
            duration_ms=round(duration * 1000),
            stragglers=stragglers,
            linger_ms=round(self._settings.linger_s * 1000),
        )
        self._tell("epoch.commit", commit, epoch.members)
        self._poor = False
        if epoch.to_mode == "p2p":
            self._p2p_pair = set(epoch.members)
            self._p2p_epoch = epoch.number
            if self._requested == "p2p":
                self._requested = None
        else:
            self._p2p_pair = set()
            if self._requested == "p2p":
                self._requested = None
            if epoch.reason == "poor_quality":
                self._returns = NO_RETURN_SOON
        if epoch.from_mode is None:
            self.epoch = None  # the call's first path: no old one to release
            return
        if epoch.to_mode == "sfu":
            self._two_since = now if len(self._participants) == 2 else None
            self._emit(Persist(self._switched_to_sfu(epoch, duration, now)))
        else:
            self._returns += 1
            switched = SwitchedToP2p(
                at=now, call_id=self._call_id, epoch=epoch.number, reason=epoch.reason, duration=duration
            )
            self._emit(Persist(switched))
        self.records.commit(epoch.number, duration, now)

    def _release(self, epoch: Epoch) -> None:
        epoch.release()
        self.epoch = None
        end = EpochEnd(epoch=epoch.number, mode=self.mode, reason=epoch.reason)
        self._tell("epoch.release", end, epoch.members)
        if self.mode == "p2p":
            self._emit(Forward(False))

    def _abort(self, reason: str) -> None:
        """Give the new path up; only one to P2P: the SFU always serves those whom it reaches."""
        epoch = self.epoch
        if epoch is None or not epoch.abort():
            return
        self.epoch = None
        self.records.drop(epoch.number)
        if epoch.from_mode == "sfu":
            self._returns += 1
            self._requested = None if self._requested == "p2p" else self._requested
        end = EpochEnd(epoch=epoch.number, mode=self.mode, reason=reason)
        self._tell("epoch.abort", end, epoch.members)

    def _fail_p2p(self, now: float) -> None:
        if self._p2p_failed:
            return
        self._metrics.ice_failures += 1
        if self._settings.policy == "p2p":
            self._retry_at = now + self._settings.p2p_retry_s
            self._p2p_pair = set()
        else:
            self._p2p_failed = True
        if self.epoch is not None and self.epoch.preparing and self.epoch.to_mode == "p2p":
            self._abort("p2p_failed")

    def _count(self, now: float) -> None:
        self._two_since = now if len(self._participants) == 2 else None

    def _situation(self) -> Situation:
        return Situation(
            policy=self._settings.policy,
            mode=self.mode,
            present=len(self._participants),
            all_here=self._participants.all_here,
            p2p_path=bool(self._p2p_pair),
            p2p_failed=self._p2p_failed,
            poor_quality=self._poor,
            requested=self._requested,
            feature=self._feature,
            two_since=self._two_since,
            returns=self._returns,
            retry_at=self._retry_at,
        )

    def _prepare(self, epoch: Epoch) -> EpochPrepare:
        return EpochPrepare(
            epoch=epoch.number,
            from_mode=epoch.from_mode,
            to_mode=epoch.to_mode,
            reason=epoch.reason,
            participants=list(self._participants.ids()),
            timeout_ms=round((epoch.deadline - epoch.began_at) * 1000),
            offerer=epoch.offerer,
        )

    def _switched_to_sfu(self, epoch: Epoch, duration: float, now: float) -> SwitchedToSfu:
        everyone: list[SfuIds] = [one.sfu for one in self._participants]
        return SwitchedToSfu(
            at=now,
            call_id=self._call_id,
            epoch=epoch.number,
            reason=epoch.reason,
            duration=duration,
            sfu_room_id=self._router.id,
            sfu_rtp_capabilities=self._router.rtp_capabilities,
            participants=everyone,
        )

    def _tell(self, method: str, params: Wire, members: Collection[str] | None = None) -> None:
        """Tell everybody, or those who take part in the epoch: one who came later knows nothing of it."""
        to = tuple(one for one in self._participants.ids() if members is None or one in members)
        if to:
            self._emit(Notify(to, method, params))
