"""One call from its first participant to its end, sans-IO.

Mutate it by its events, then drain `effects()` and ask `next_timeout()`; `tick` is due then. Every event
takes `now` (Unix seconds). ClientError refuses an event, and then nothing has changed.
"""

from __future__ import annotations

import msgspec

from server.db import changes
from server.errors import ClientError
from server.rtc.parameters import Direction
from server.session import effects as fx
from server.session.captions import Captions, captions_of
from server.session.lifecycle import Event, Lifecycle
from server.session.metrics import CallMetrics
from server.session.opening import Ahead, NewCall, created
from server.session.participants import Joiner, Participant, Participants
from server.session.ringing import Ringing
from server.session.roster import Roster
from server.session.settings import CallSettings, Policy
from server.session.switch import SfuRoom, Switch
from server.signaling import messages as m


class Call:
    def __init__(
        self, new: NewCall, settings: CallSettings, router: SfuRoom, media: m.MediaPath, now: float
    ) -> None:
        if new.policy is not None:
            settings = msgspec.structs.replace(settings, policy=new.policy)
        self.id = new.call_id
        self.room_id = new.room_id
        self.call_type: m.CallTypeName = new.call_type
        self.started_at: float | None = None
        self.ended: m.CallOver | None = None
        self._settings = settings
        self._media = media
        self._out: list[fx.Effect] = []
        self._people = Participants()
        mode = captions_of(new.settings, settings.captions)
        self.roster = Roster(self._people, at_once=settings.tell_at_once_up_to, emit=self._out.append)
        self._captions = Captions(self.id, mode, self._people, self._emit)
        self._users_seen: set[str] = set()
        self._metrics = CallMetrics(now, before=new.metrics)
        ahead = new.initiator if isinstance(new.initiator, Ahead) else None
        self.opened_at = round(now, 3)  # as the row has it
        self.initiator_id = new.initiator.user_id
        self._lifecycle = Lifecycle("INITIATED" if new.invite or ahead else "ACTIVE")
        self._answered_by = 2 if new.invite else 1  # so many present make it ACTIVE
        self._wait_until = None if ahead is None else now + ahead.wait_s  # for those who are to come
        self._empty_since: float | None = None
        self._switch = Switch(
            call_id=self.id,
            settings=settings,
            participants=self._people,
            metrics=self._metrics,
            router=router,
            emit=self._emit,
        )
        sfu = self._switch.mode == "sfu"
        if ahead is None or ahead.name:
            self._see_user(new.initiator, now)
        self._persist(created(new, self.status, self.mode, router if sfu else None, now))
        if sfu:
            self._out.append(fx.Forward(True))
        if self.status == "ACTIVE":
            self._start(now)
        ring_until = self._wait_until or now + settings.ring_timeout_s
        self._ringing = Ringing(
            m.Incoming(
                call_id=self.id,
                room_id=self.room_id,
                call_type=self.call_type,
                from_name=new.initiator.name or self.room_id,
                from_user_id=new.initiator.user_id,
                expires_at=round(ring_until * 1000),
            ),
            invite=new.invite,
            until=ring_until,
            emit=self._out.append,
        )
        if isinstance(new.initiator, Ahead):
            self._people.expect_host(new.initiator.user_id)
        else:
            self.join(new.initiator, now)

    # ---- what it is -----------------------------------------------------------------------------------

    @property
    def status(self) -> m.CallStatusName:
        return self._lifecycle.status

    @property
    def mode(self) -> m.Mode:
        return self._switch.mode

    @property
    def over(self) -> bool:
        return self._lifecycle.over

    @property
    def epoch(self) -> int:
        """The newest that was committed."""
        return self._switch.committed

    @property
    def policy(self) -> Policy:
        return self._settings.policy

    @property
    def participant_ids(self) -> tuple[str, ...]:
        return self._people.ids()

    @property
    def present(self) -> int:
        return len(self._people)

    def has(self, participant_id: str) -> bool:
        return participant_id in self._people

    @property
    def participants(self) -> list[m.ParticipantInfo]:
        return [one.info() for one in self._people]

    @property
    def rung(self) -> list[str]:
        """The user ids of those who have neither answered nor declined yet."""
        return self._ringing.still()

    def participant_of(self, key: str) -> str | None:
        """The person's participant id, if present."""
        one = self._people.of(key)
        return None if one is None else one.id

    def incoming_for(self, user_id: str) -> m.Incoming | None:
        """The ring that this user should hear, if any."""
        return self._ringing.incoming if self._ringing.rings(user_id) else None

    def concerns(self, user_id: str) -> bool:
        """Whether the user made it, is rung by it or is in it."""
        present = self._people.of(user_id) is not None
        return present or user_id == self.initiator_id or self._ringing.rings(user_id)

    def was_invited(self, user_id: str | None) -> bool:
        return user_id is not None and self._ringing.invited(user_id)

    def snapshot(
        self, participant_id: str, *, pending: bool = False, offer: m.SfuOffer | None = None
    ) -> m.CallState:
        """The call as this participant sees it; `pending` with the epoch that is under way."""
        self._one(participant_id)
        return m.CallState(
            call_id=self.id,
            room_id=self.room_id,
            call_type=self.call_type,
            status=self.status,
            mode=self.mode,
            epoch=self.epoch,
            participant_id=participant_id,
            participants=self.participants,
            media=self._media,
            policy=self.policy,
            captions=self._captions.mode,
            started_at=_ms(self.started_at),
            pending_epoch=self._switch.pending() if pending else None,
            pending_offer=offer,
        )

    def effects(self) -> list[fx.Effect]:
        """What is to be done since the last time, in order."""
        drained = self._out[:]
        self._out.clear()
        return drained

    def next_timeout(self, now: float) -> tuple[float, str] | None:
        """When `tick` is due (Unix seconds) and the reason; None once the call is over."""
        if self.over:
            return None
        due = [(one.away_until, "resume") for one in self._people.away if one.away_until is not None]
        told = self.roster.next_timeout(now)
        if told is not None:
            due.append((told, "roster"))
        if self._ringing.until is not None:
            due.append((self._ringing.until, "ring"))
        if self._empty_since is not None:
            due.append((self._empty_since + self._settings.empty_grace_s, "empty"))
        if self._wait_until is not None:
            due.append((self._wait_until, "wait"))
        switch = self._switch.next_timeout(now)
        if switch is not None:
            due.append(switch)
        return min(due, default=None)

    # ---- people come and go ---------------------------------------------------------------------------

    def join(self, joiner: Joiner, now: float) -> m.CallState:
        """Returns the call as the newcomer finds it; what its arrival sets off follows by notifications.

        The same person again replaces the earlier session and keeps the participant id.
        """
        before = self._people.of(joiner.key)
        limit = 2 if self._settings.policy == "p2p" else self._settings.max_participants
        if len(self._people) - (before is not None) >= limit:
            raise ClientError("call_full", f"this call takes {limit} participants at most", field="roomId")
        if before is not None:
            if before.session_id != joiner.session_id:
                self._out.append(fx.NotifySession(before.session_id, "call.replaced", m.Replaced(self.id)))
            self._remove(before, "replaced", now, dismiss=before.session_id != joiner.session_id)
        self._see_user(joiner, now)
        one = self._people.add(joiner, now)
        self._persist(one.joined(self.id, now))
        self._empty_since = None
        self._metrics.joined(one.id, len(self._people))
        self.roster.joined(one)
        self._ringing.answered(joiner.user_id, joiner.session_id)
        if len(self._people) == self._answered_by and self._lifecycle.apply(Event.ANSWERED):
            self._wait_until = None
            self._start(now)
            others = self._people.ids(but=one.id)
            if others:
                self._emit(fx.Notify(others, "call.updated", self._updated()))
        self._out.append(fx.OpenPeer(one.id, joiner.publish, one.sources))
        found = self.snapshot(one.id)
        self._switch.joined(one.id, now)
        self._settle(now)
        return found

    def leave(self, participant_id: str, now: float, reason: str = "left") -> None:
        self._remove(self._one(participant_id), reason, now)
        self._settle(now)

    def expel(self, participant_id: str, now: float) -> None:
        """Somebody with the right to it takes a participant out of the call, for whom it is then over."""
        one = self._one(participant_id)
        self._out.append(
            fx.NotifySession(one.session_id, "call.ended", m.CallOver(self.id, "removed", self.status))
        )
        self.leave(participant_id, now, reason="removed")

    def end(self, participant_id: str, now: float) -> None:
        """End the call for everybody; the caller has checked the grant."""
        self.close(now, ended_by=self._one(participant_id).user_id)

    def close(self, now: float, *, ended_by: str | None, reason: str | None = None) -> None:
        """End the call from outside of it; `reason` in an application's own word."""
        self._finish(Event.ENDED, now, ended_by, reason)

    def reject(self, user_id: str, session_id: str, now: float) -> None:
        """An invited user declines, for all of its devices."""
        if not self._ringing.rings(user_id):
            raise ClientError("bad_state", "this call does not ring for you", field="callId")
        self._ringing.rejected(user_id, session_id)
        if self._ringing.all_rejected and len(self._people) < 2:
            self._finish(Event.ALL_REJECTED, now)

    def detach(self, participant_id: str, now: float) -> None:
        """The participant's connection is cut; its media and its place stay for the grace time."""
        one = self._one(participant_id)
        if not one.away:
            self._people.cut(one, now + self._settings.resume_grace_s)
            self._status_changed(one, now)
            self._switch.away(one.id)
            self._settle(now)

    def attach(self, participant_id: str, now: float) -> None:
        """The participant's connection is back."""
        one = self._one(participant_id)
        if one.away:
            self._people.back(one)
            self._metrics.reconnections += 1
            self._status_changed(one, now)
            self._switch.back(one.id, now)
            self._settle(now)

    # ---- what participants say ------------------------------------------------------------------------

    def update(self, participant_id: str, said: m.ParticipantUpdate, now: float) -> None:
        one = self._one(participant_id)
        before = one.info()
        if said.audio_enabled is not None:
            one.audio_enabled = said.audio_enabled
        if said.video_enabled is not None:
            one.video_enabled = said.video_enabled
        if said.screen_share_enabled is not None:
            one.screen_share_enabled = said.screen_share_enabled
        if said.name and said.name != one.name:
            one.name = said.name
            self._persist(changes.ParticipantRenamed(at=now, participant_id=one.id, name=one.name))
        if said.device is not None:
            one.device = said.device
        after = one.info()
        change = changes.ParticipantMedia(
            at=now,
            participant_id=one.id,
            audio_enabled=_changed(before.audio_enabled, after.audio_enabled),
            video_enabled=_changed(before.video_enabled, after.video_enabled),
            screen_share_enabled=_changed(before.screen_share_enabled, after.screen_share_enabled),
            device_info=said.device,
        )
        if change != changes.ParticipantMedia(at=now, participant_id=one.id):
            self._persist(change)
        if before != after:
            self.roster.updated(one)
            self._out.append(fx.Sources(one.id, one.sources))

    def signal(self, participant_id: str, said: m.P2pSignal) -> None:
        """Relay to the other side of the P2P connection; of another epoch: silence."""
        if (said.description is None) == (said.candidate is None):
            raise ClientError("invalid", "say either a description or a candidate", field="description")
        if said.to == participant_id or said.to not in self._people:
            raise ClientError("not_found", "no such participant in this call", field="to")
        if self._switch.relays(said.epoch):
            relayed = m.P2pSignalled(participant_id, said.epoch, said.description, said.candidate)
            self._out.append(fx.Notify((said.to,), "p2p.signal", relayed))

    def swapped(self, participant_id: str, said: m.EpochSwapped, now: float) -> None:
        one = self._one(participant_id)
        if self._switch.swapped(participant_id, said.participant_id, said.epoch):
            self._seen_working(one, now)
            self._settle(now)

    def measured(self, participant_id: str, said: m.EpochMeasured, now: float) -> None:
        self._switch.records.measured(participant_id, said, now)

    def p2p_failed(self, participant_id: str, said: m.P2pFailed, now: float) -> None:
        self._switch.p2p_failed(participant_id, said.participant_id, said.epoch, now)
        self._settle(now)

    def request_mode(self, mode: m.Mode, now: float) -> None:
        self._switch.request(mode)
        self._settle(now)

    def want_feature(self, on: bool, now: float) -> None:
        """A server-side feature begins or ceases to need the media."""
        self._switch.want_feature(on)
        self._settle(now)

    def chat(self, participant_id: str, text: str, now: float) -> None:
        """To everybody, the sender too, so that all see the same order."""
        one = self._one(participant_id)
        message = m.ChatMessage(one.id, one.name, text, round(now * 1000))
        self._emit(fx.Notify(self._people.ids(), "chat.message", message))

    def caption(self, participant_id: str, said: m.CaptionSend, now: float) -> None:
        self._captions.say(self._one(participant_id), said, now)

    def stats(self, participant_id: str, said: m.ClientStats, now: float) -> None:
        one = self._one(participant_id)
        self._metrics.report(one.id, said)
        if self._metrics.due(now):
            self._persist(self._metrics.change(self.id, now))
        metrics = {k: v for k, v in msgspec.to_builtins(said).items() if v is not None}
        self._persist(changes.ParticipantQuality(at=now, participant_id=one.id, metrics=metrics))
        poor = (said.packet_loss or 0.0) > self._settings.poor_loss or (
            said.rtt_ms or 0.0
        ) > self._settings.poor_rtt_ms
        one.poor_reports = one.poor_reports + 1 if poor and said.path in (None, "p2p") else 0
        if one.poor_reports >= self._settings.poor_reports:
            one.poor_reports = 0
            self._switch.poor_quality()
            self._settle(now)

    # ---- what the media core says ---------------------------------------------------------------------

    def sfu_ids(self, ids: changes.SfuIds, now: float) -> None:
        """The ids of a participant's transports and producers came into being or changed."""
        one = self._people.get(ids.participant_id)
        if one is None or one.sfu == ids:
            return
        one.sfu = ids
        if self._switch.mode == "sfu":
            self._persist(changes.ParticipantSfu(at=now, call_id=self.id, ids=ids))

    def transport_state(
        self, participant_id: str, direction: Direction, said: m.TransportChanged, now: float
    ) -> None:
        one = self._people.get(participant_id)
        if one is None:
            return
        self._out.append(fx.Notify((one.id,), "sfu.transport", said))
        if said.state == "connected":
            self._seen_working(one, now)
        elif said.state in ("failed", "closed"):
            self._metrics.transport_errors += said.state == "failed"
            self._switch.transport_failed(one.id, receiving=direction == "recv")
        self._settle(now)

    # ---- time and the end -----------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        if self.over:
            return
        for one in self._people.away:
            if one.away_until is not None and one.away_until <= now:
                self._remove(one, "timeout", now)
        if self._ringing.until is not None and self._ringing.until <= now:
            self._ringing.stop("missed")
            if self.status == "INITIATED":
                self._finish(Event.RING_TIMEOUT, now)
        if self._wait_until is not None and self._wait_until <= now:
            self._finish(Event.RING_TIMEOUT, now)
        if self._empty_since is not None and self._empty_since + self._settings.empty_grace_s <= now:
            self._finish(Event.EMPTIED, now)
        self._settle(now)
        self.roster.tick(now)

    def stop(self, event: Event, now: float) -> None:
        """The server ends the call: SERVER_SHUTDOWN or SERVER_ERROR."""
        self._finish(event, now)

    def _finish(
        self, event: Event, now: float, ended_by: str | None = None, reason: str | None = None
    ) -> None:
        if not self._lifecycle.apply(event):
            return
        reason = reason or self._lifecycle.end_reason or ""
        self._ringing.stop("missed" if event is Event.RING_TIMEOUT else "cancelled")
        self._persist(self._metrics.change(self.id, now))
        status = self._lifecycle.end_status
        self._persist(
            changes.CallEnded(at=now, call_id=self.id, status=status, reason=reason, ended_by=ended_by)
        )
        self.ended = m.CallOver(self.id, reason, status)
        everyone = self._people.ids()
        if everyone:
            self._emit(fx.Notify(everyone, "call.ended", self.ended))
        for one in list(self._people):
            self._out.append(fx.Dismiss(one.session_id))
            self._people.remove(one.id)

    def _settle(self, now: float) -> None:
        if not self.over:
            self._switch.settle(now)

    def _start(self, now: float) -> None:
        self.started_at = now
        self._persist(changes.CallStarted(at=now, call_id=self.id))

    def _remove(self, one: Participant, reason: str, now: float, *, dismiss: bool = True) -> None:
        self._people.remove(one.id)
        self._captions.left(one.id)
        self._persist(changes.ParticipantLeft(at=now, participant_id=one.id, reason=reason))
        self._out.append(fx.ClosePeer(one.id))
        self.roster.left(one.id, reason)
        if dismiss:
            self._out.append(fx.Dismiss(one.session_id))
        self._switch.left(one.id, now)
        if len(self._people) == 0 and reason != "replaced":
            if self.status != "INITIATED":
                self._empty_since = now
            elif self._wait_until is None:  # else it was opened ahead, and waits on
                self._finish(Event.CANCELLED, now)

    def _one(self, participant_id: str) -> Participant:
        one = self._people.get(participant_id)
        if one is None:
            raise ClientError("not_in_call", "you are not in this call: join it first")
        return one

    def _seen_working(self, one: Participant, now: float) -> None:
        if not one.connected:
            one.connected = True
            if not one.away:
                self._status_changed(one, now)

    def _status_changed(self, one: Participant, now: float) -> None:
        self._persist(changes.ParticipantStatusChanged(at=now, participant_id=one.id, status=one.status))
        self.roster.updated(one)

    def _see_user(self, joiner: Joiner | Ahead, now: float) -> None:
        if joiner.user_id is not None and joiner.user_id not in self._users_seen:
            self._users_seen.add(joiner.user_id)
            self._persist(
                changes.UserSeen(at=now, user_id=joiner.user_id, name=joiner.name, avatar=joiner.avatar)
            )

    def _emit(self, effect: fx.Effect) -> None:
        """What is told to many may name somebody of whom they have not been told: that comes first."""
        if isinstance(effect, fx.Notify) and len(effect.to) > 1:
            self.roster.tell()
        self._out.append(effect)

    def _persist(self, change: changes.Change) -> None:
        self._out.append(fx.Persist(change))

    def _updated(self) -> m.CallUpdated:
        return m.CallUpdated(self.id, self.status, self._switch.mode, _ms(self.started_at))


def _ms(at: float | None) -> int | None:
    return None if at is None else round(at * 1000)


def _changed(before: bool, after: bool) -> bool | None:
    return None if before == after else after
