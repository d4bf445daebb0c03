"""The actor of one room: it runs the call's core, carries out what the core decides, and keeps its time.

One Trio task does all of it, in batches: news from media and connections, requests, then timers. If anything
in it fails, this one call ends truthfully (`server_error`) and nobody else notices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec
import structlog
import trio

from server.db.changes import CallMetricsUpdate, Change
from server.errors import ClientError
from server.media.api import Consumer, MediaServer, Producer, TransportState, WebRtcTransport
from server.rooms.announce import announce
from server.rooms.inbox import Inbox
from server.rooms.session import Encoded, Session
from server.rooms.sfu import Sfu
from server.session import effects as fx
from server.session.call import Call
from server.session.lifecycle import Event
from server.session.opening import NewCall
from server.session.participants import Joiner
from server.session.roster import Pace
from server.session.settings import CallSettings
from server.session.switch import SfuRoom
from server.signaling import messages as m

log = structlog.get_logger("room")
T = TypeVar("T")

MAX_REQUESTS = 256  # that wait for one room; more senders wait for a place
BATCH = 64  # requests between two looks at the clock
OFFERS = 64  # made between two looks at the inbox
SILENCE_DBOV = -100.0  # levels below are not told


class Recorder(Protocol):
    """Where facts go (`server.db.recorder`). Never blocks, never fails."""

    def submit(self, change: Change) -> None: ...


class Hall(Protocol):
    """What a room needs of the directory around it."""

    def sessions_of(self, user_id: str) -> list[Session]: ...


class Room:
    """A room and its call, from its opening to the end. Also the router's listener.

    `session` is of the one who opens it by entering it, who gets `opened`; None: it is opened ahead.
    """

    opened: m.CallResult

    def __init__(
        self,
        new: NewCall,
        session: Session | None,
        sdp: str | None,
        *,
        settings: CallSettings,
        media: MediaServer,
        recorder: Recorder,
        clock: Callable[[], float],
        hall: Hall,
    ) -> None:
        self.room_id = new.room_id
        self._recorder = recorder
        self._clock = clock
        self._hall = hall
        self._inbox = Inbox(max_requests=MAX_REQUESTS)
        self._sessions: dict[str, Session] = {}  # by session id
        self._members: dict[str, Session] = {}  # by participant id
        self.finished = trio.Event()  # set by the directory once the room is out of its books
        self._heard = False  # the last audio levels told were not all silence
        self._levels = Pace(settings.tell_at_once_up_to)
        self._offers = Pace(settings.tell_at_once_up_to)
        self._tick_due = math.inf  # Unix seconds, as of before the sleep
        router = media.create_router(self)
        self.sfu = Sfu(router, small=settings.tell_at_once_up_to, send_offer=self._send_offer)
        self._router = router
        try:
            self.call = Call(
                new,
                settings,
                SfuRoom(router.id, router.rtp_capabilities.to_json()),
                m.MediaPath(list(settings.media_addresses), router.udp_port, router.tcp_port),
                clock(),
            )
            if session is not None:
                self._admit(session, self.call.participant_of(session.user_key) or "")
            self._carry_out()
            if session is not None:
                self.opened = m.CallResult(self.snapshot(session), self._publish(session, sdp))
            self._reconcile()
        except BaseException:
            self._close()
            raise

    # ---- the actor ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the call is over. Only Cancelled comes out of here."""
        try:
            while not self.call.over:
                with trio.move_on_after(self._sleep_s()):
                    await self._inbox.wait()  # lets others run, even if something is there
                self._work()
        except Exception:
            log.exception("room_failed", room=self.room_id, call=self.call.id)
            self._fail()
        finally:
            self._close()

    async def ask(self, job: Callable[[], T]) -> T:
        """Run `job` in the actor. What it changes is carried out before this returns.

        Raises Closed if the call is over, and what `job` raises.
        """
        return await self._inbox.ask(job)

    def _sleep_s(self) -> float:
        now = self._clock()
        timeout = self.call.next_timeout(now)
        due = self._tick_due = math.inf if timeout is None else timeout[0]
        if self.sfu.offers_wait:
            due = min(due, self._offers.due(self.call.present, now))
        return max(0.0, due - now)

    def _work(self) -> None:
        news, requests = self._inbox.take(BATCH)
        for tell in news:
            tell()
            self._carry_out()
        failed: Exception | None = None
        for request in requests:
            if failed is not None or self.call.over:
                request.refuse()
                continue
            request.run()
            self._carry_out()
            if request.error is not None and not isinstance(request.error, ClientError):
                failed = request.error
        if failed is not None:
            raise failed
        now = self._clock()
        if self._tick_due <= now:
            self.call.tick(now)
            self._carry_out()
        self._reconcile()

    def _fail(self) -> None:
        try:
            self.call.stop(Event.SERVER_ERROR, self._clock())
            self._carry_out()
        except Exception:
            log.exception("room_failed_again", room=self.room_id, call=self.call.id)

    def _close(self) -> None:
        self._inbox.close()
        for session in self._sessions.values():
            self._release(session)
        self._sessions.clear()
        self._members.clear()
        self._router.close()

    # ---- what requests do -----------------------------------------------------------------------------

    def join(self, session: Session, joiner: Joiner, sdp: str | None) -> m.CallResult:
        """To be run by `ask`."""
        state = self.call.join(joiner, self._clock())
        self._admit(session, state.participant_id)
        self._carry_out()
        return m.CallResult(state, self._publish(session, sdp))

    def _publish(self, session: Session, sdp: str | None) -> m.SfuPublishResult | None:
        """The newcomer's producers are there before the others are offered anything: one offer, not two."""
        if sdp is None:
            return None
        try:
            return self.sfu.peer(self.participant_id(session)).publish(sdp)
        except ClientError:
            return None  # it is in the call all the same, and learns the reason from sfu.publish

    def snapshot(self, session: Session) -> m.CallState:
        """All that a client needs to build the call anew."""
        participant_id = self.participant_id(session)
        return self.call.snapshot(
            participant_id, pending=True, offer=self.sfu.outstanding_offer(participant_id)
        )

    def participant_id(self, session: Session) -> str:
        if session.room is not self or session.participant_id is None:
            raise ClientError("not_in_call", "you are not in this call: join it first")
        return session.participant_id

    def stop(self) -> None:
        """To be run by `ask`: the server is about to stop."""
        self.call.stop(Event.SERVER_SHUTDOWN, self._clock())

    def attached(self, session: Session, here: bool) -> None:
        """A member's connection came or went."""

        def news() -> None:
            participant_id = session.participant_id
            if session.room is not self or participant_id is None or not self.call.has(participant_id):
                return
            if here:
                self.call.attach(participant_id, self._clock())
            else:
                self.call.detach(participant_id, self._clock())

        self._inbox.tell(("connection", session.id), news)

    def _admit(self, session: Session, participant_id: str) -> None:
        session.room = self
        session.participant_id = participant_id
        self._sessions[session.id] = session
        self._members[participant_id] = session
        if session.sink is None:  # its connection was cut while the request waited
            self.attached(session, False)

    def _release(self, session: Session) -> None:
        if session.room is self:
            session.room = None
            session.participant_id = None

    # ---- what the core decides ------------------------------------------------------------------------

    def _carry_out(self) -> None:
        for effect in self.call.effects():
            self._execute(effect)

    def _reconcile(self) -> None:
        """Media as it should be after a batch; the ids that come of it may be facts to record."""
        if not self.call.over:
            now = self._clock()
            for ids in self.sfu.reconcile():
                self.call.sfu_ids(ids, now)
            if self.sfu.offers_wait and self._offers.due(self.call.present, now) <= now:
                self.call.roster.tell()
                self._carry_out()
                self.sfu.offer(OFFERS)
                if not self.sfu.offers_wait:
                    self._offers.told(now)
            self._carry_out()

    def _execute(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Notify():
                params = Encoded(effect.params)
                for participant_id in effect.to:
                    session = self._members.get(participant_id)
                    if session is not None:
                        session.notify(effect.method, params, lossy=effect.lossy)
            case fx.NotifyChanged():
                here = self._members
                announce(effect.changed, [(one, here[one]) for one in effect.to if one in here])
            case fx.NotifySession():
                if effect.session_id in self._sessions:
                    self._sessions[effect.session_id].notify(effect.method, effect.params)
            case fx.NotifyUser():
                for session in self._hall.sessions_of(effect.user_id):
                    if session.id != effect.but_session:
                        session.notify(effect.method, effect.params)
            case fx.Persist():
                self._recorder.submit(self._with_media(effect.change))
            case fx.OpenPeer():
                self.sfu.open(effect.participant_id, publish=effect.publish, on=effect.on)
            case fx.ClosePeer():
                self.sfu.close(effect.participant_id)
            case fx.Forward():
                self.sfu.forward(effect.on)
            case fx.Sources():
                self.sfu.sources(effect.participant_id, effect.on)
            case fx.Dismiss():
                session = self._sessions.pop(effect.session_id, None)
                if session is not None:
                    if self._members.get(session.participant_id or "") is session:
                        del self._members[session.participant_id or ""]
                    self._release(session)

    def _with_media(self, change: Change) -> Change:
        """The call's last metrics get what only the media server knows."""
        if isinstance(change, CallMetricsUpdate) and self.call.over:
            return msgspec.structs.replace(change, media=self.sfu.figures())
        return change

    def _send_offer(self, participant_id: str, offer: m.SfuOffer) -> None:
        session = self._members.get(participant_id)
        if session is not None:
            session.notify("sfu.offer", offer, supersedes=True)

    # ---- RouterListener -------------------------------------------------------------------------------

    def on_transport_state(self, transport: WebRtcTransport, state: TransportState) -> None:
        protocol = transport.protocol

        def news() -> None:
            owner = self.sfu.owner_of(transport)
            if owner is not None:
                participant_id, direction = owner
                said = m.TransportChanged(direction, state, protocol)
                self.call.transport_state(participant_id, direction, said, self._clock())

        self._inbox.tell(("transport", transport.id), news)

    def on_producer_started(self, producer: Producer) -> None:
        log.debug("producer_started", call=self.call.id, producer=producer.id, source=producer.source)

    def on_consumer_started(self, consumer: Consumer) -> None:
        log.debug("consumer_started", call=self.call.id, consumer=consumer.id)

    def on_audio_levels(self, levels: list[tuple[Producer, float]]) -> None:
        def news() -> None:
            loud: dict[str, float] = {}
            for producer, dbov in levels:
                speaker = self.sfu.speaker_of(producer)
                if speaker is not None and dbov > SILENCE_DBOV and producer.source == "microphone":
                    loud[speaker] = round(dbov, 1)
            now = self._clock()
            if (loud or self._heard) and self._levels.due(self.call.present, now) <= now:
                self._levels.told(now)
                self._heard = bool(loud)
                told = Encoded(m.AudioLevels(loud))
                for session in self._members.values():
                    session.notify("audio.levels", told, lossy=True)

        self._inbox.tell("levels", news)

    def on_active_speaker(self, producer: Producer | None) -> None:
        def news() -> None:
            speaker = None if producer is None else self.sfu.speaker_of(producer)
            active = Encoded(m.ActiveSpeaker(speaker))
            for session in self._members.values():
                session.notify("speaker", active)

        self._inbox.tell("speaker", news)
