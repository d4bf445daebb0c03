"""All sessions and calls of this server: who is connected, which room has a call, how both are reached."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Callable, Iterator

import structlog
import trio

from server import ids
from server.errors import ClientError
from server.media.api import MediaServer
from server.rooms.actor import Recorder, Room
from server.rooms.inbox import Closed
from server.rooms.requests import DONE, HANDLERS, check_size, handle
from server.rooms.session import Session, Sink
from server.session.identity import Identity
from server.session.opening import NewCall, Resumed
from server.session.overview import Overview, overview
from server.session.participants import Joiner
from server.session.settings import CallSettings
from server.signaling import messages as m

log = structlog.get_logger("directory")
SWEEP_S = 1.0  # how often expired sessions are looked for
TAKEN_OVER = 4001  # WebSocket close code


class Directory:
    """The connection's way into calls. All methods are called on the Trio thread.

    A connection does, in this order: `hello`, queue the response, `attach`; then for each request

        with session.answering():
            result = await directory.request(session, method, params)
            ...queue the response...

    and `detach` at its end.
    """

    def __init__(
        self,
        settings: CallSettings,
        media: MediaServer,
        recorder: Recorder,
        clock: Callable[[], float],  # Unix seconds
        resumable: Callable[[str], Resumed | None] = lambda room_id: None,
    ) -> None:
        """`resumable` gives, once, the call that a room had when the last server died just now."""
        self._resumable = resumable
        self._settings = settings
        self._media = media
        self._recorder = recorder
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._rooms: dict[str, Room] = {}  # by room id
        self._calls: dict[str, Room] = {}  # by call id
        self._actors: trio.Nursery | None = None
        self._draining = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the room actors until cancelled."""
        async with trio.open_nursery() as actors:
            self._actors = actors
            task_status.started()
            try:
                while True:
                    await trio.sleep(SWEEP_S)
                    self._sweep()
            finally:
                self._actors = None

    # ---- sessions and their connections ---------------------------------------------------------------

    def hello(
        self, identity: Identity, params: m.Hello, *, ice_servers: list[m.IceServer]
    ) -> tuple[Session, m.HelloResult]:
        """Open a session, or take up the one that `params.resume` names.

        ClientError: `resume_unknown`, `too_large`, `busy`.
        """
        check_size(params.device, "device")
        if params.resume is not None:
            session, resync = self._resume(identity, params.resume)
        else:
            session, resync = self._open(identity, params), False
        session.features = frozenset(params.features)
        room = session.room
        return session, m.HelloResult(
            session_id=session.id,
            resume_token=session.resume_token,
            resumed=params.resume is not None,
            resync=resync,
            guest=session.identity.guest,
            name=session.name,
            user_id=session.identity.user_id,
            grants=session.identity.grants.names(),
            ice_servers=ice_servers,
            resume_grace_ms=round(self._settings.resume_grace_s * 1000),
            server_version=self._settings.server_version,
            server_instance=self._settings.server_instance,
            server_time=round(self._clock() * 1000),
            call=room.snapshot(session) if room is not None and resync else None,
        )

    def _open(self, identity: Identity, params: m.Hello) -> Session:
        if len(self._sessions) >= self._settings.max_sessions:
            raise ClientError("busy", "the server has as many sessions as it takes; try again later")
        # A token's name is the application's word; a guest says its own.
        said = params.name.strip() if params.name else ""
        name = (said or identity.name) if identity.guest else (identity.name or said)
        session = Session(identity, name=name or "Guest", device=params.device)
        session.expires_at = self._clock() + self._settings.resume_grace_s
        self._sessions[session.id] = session
        if identity.user_id is not None:
            for room in self._rooms.values():
                incoming = room.call.incoming_for(identity.user_id)
                if incoming is not None:
                    session.notify("call.incoming", incoming)
        return session

    def _resume(self, identity: Identity, said: m.Resume) -> tuple[Session, bool]:
        session = self._sessions.get(said.session_id)
        expired = session is None or (session.expires_at is not None and session.expires_at <= self._clock())
        if (
            session is None
            or expired
            or not hmac.compare_digest(session.resume_token.encode(), said.resume_token.encode())
            or session.identity.user_id != identity.user_id
        ):
            raise ClientError(
                "resume_unknown", "this session is unknown or has expired: say hello anew", field="resume"
            )
        resync = not session.can_replay_after(said.last_seq)
        session.rewind(session.seq if resync else said.last_seq)
        return session, resync

    def attach(self, session: Session, sink: Sink) -> None:
        """Deliver notifications to `sink` from now on, the missed ones first."""
        before = session.attach(sink)
        if before is not None:
            before.close(TAKEN_OVER, "another connection has taken this session over")
        if session.room is not None:
            session.room.attached(session, True)

    def detach(self, session: Session, sink: Sink) -> None:
        """The connection is gone; the session waits for a resume. Nothing if another took over."""
        if session.detach(sink):
            session.expires_at = self._clock() + self._settings.resume_grace_s
            if session.room is not None:
                session.room.attached(session, False)

    def sessions_of(self, user_id: str) -> list[Session]:
        return [one for one in self._sessions.values() if one.identity.user_id == user_id]

    def _sweep(self) -> None:
        now = self._clock()
        for session in list(self._sessions.values()):
            if session.expires_at is not None and session.expires_at <= now and session.room is None:
                del self._sessions[session.id]

    # ---- requests -------------------------------------------------------------------------------------

    async def request(self, session: Session, method: str, params: m.Wire) -> m.Wire:
        """Carry out one request (any method but `hello`); ClientError refuses it and nothing has changed."""
        try:
            return await self._request(session, method, params)
        except Closed:
            raise ClientError("not_found", "this call is over") from None

    async def _request(self, session: Session, method: str, params: m.Wire) -> m.Wire:
        match params:
            case m.CallStart():
                return self._start(session, params)
            case m.CallJoin():
                return await self._join(session, params)
            case m.CallAnswer():
                return await self._answer(session, params)
        if method == "call.reject" and isinstance(params, m.CallRef):
            return await self._reject(session, params)
        if method not in HANDLERS:
            raise ClientError("bad_state", f"{method} is not possible here")
        if session.room is None:
            raise ClientError("not_in_call", "you are in no call: join one first")
        return await handle(session.room, session, method, params, self._clock)

    def _start(self, session: Session, said: m.CallStart) -> m.CallResult:
        grants = session.identity.grants
        self._check_room(session, said.room_id)
        check_size(said.settings, "settings")
        invite = [user for user in said.invite if user != session.identity.user_id]
        if invite and not (grants.start or grants.admin):
            raise ClientError("forbidden", "your token has no grant to ring others", field="invite")
        self._check_empty(said.room_id)
        joiner = self._joiner(session, said.audio_enabled, said.video_enabled)
        new = NewCall(
            call_id=ids.cuid(),
            room_id=said.room_id,
            call_type=said.call_type,
            initiator=joiner,
            invite=invite,
            settings=said.settings,
        )
        return self._open_room(new, session, said.sdp).opened

    async def _join(self, session: Session, said: m.CallJoin) -> m.CallResult:
        self._check_room(session, said.room_id)
        joiner = self._joiner(session, said.audio_enabled, said.video_enabled)
        while (room := self._rooms.get(said.room_id)) is not None:
            try:
                return await self._enter(room, session, joiner, said.sdp)
            except Closed:  # it ended just now; the next call of this room begins
                await room.finished.wait()
        before = self._resumable(said.room_id) or Resumed(call_id=ids.cuid())
        new = NewCall(
            call_id=before.call_id,
            room_id=said.room_id,
            call_type=said.call_type,
            initiator=joiner,
            policy=before.policy,
            settings=before.settings,
            metrics=before.metrics,
        )
        return self._open_room(new, session, said.sdp).opened

    async def _answer(self, session: Session, said: m.CallAnswer) -> m.CallResult:
        room = self._ringing(session, said.call_id)
        self._check_free(session, room)
        joiner = self._joiner(session, said.audio_enabled, said.video_enabled)
        return await self._enter(room, session, joiner, said.sdp)

    async def _reject(self, session: Session, said: m.CallRef) -> m.Wire:
        room = self._ringing(session, said.call_id)
        user_id = session.identity.user_id or ""
        await room.ask(lambda: room.call.reject(user_id, session.id, self._clock()))
        return DONE

    def _ringing(self, session: Session, call_id: str) -> Room:
        room = self._calls.get(call_id)
        if room is None or not room.call.was_invited(session.identity.user_id):
            raise ClientError("not_found", "no such call rings for you", field="callId")
        return room

    async def _enter(self, room: Room, session: Session, joiner: Joiner, sdp: str | None) -> m.CallResult:
        return await room.ask(lambda: room.join(session, joiner, sdp))

    def _open_room(self, new: NewCall, session: Session | None = None, sdp: str | None = None) -> Room:
        if self._draining or self._actors is None:
            raise ClientError("draining", "the server is about to stop: reconnect in a moment")
        if len(self._rooms) >= self._settings.max_rooms:
            raise ClientError("room_limit", "the server has as many calls as it takes", field="roomId")
        room = Room(
            new,
            session,
            sdp,
            settings=self._settings,
            media=self._media,
            recorder=self._recorder,
            clock=self._clock,
            hall=self,
        )
        self._rooms[room.room_id] = self._calls[room.call.id] = room
        self._actors.start_soon(self._act, room, name=f"room {room.room_id}")
        return room

    async def _act(self, room: Room) -> None:
        log.info("call_began", room=room.room_id, call=room.call.id)
        try:
            await room.run()
        finally:
            del self._rooms[room.room_id], self._calls[room.call.id]
            room.finished.set()
        log.info("call_over", room=room.room_id, call=room.call.id, status=room.call.status)

    def _check_empty(self, room_id: str) -> None:
        there = self._rooms.get(room_id)
        if there is not None:
            raise ClientError(
                "bad_state", "this room has a call: join it", field="roomId", callId=there.call.id
            )

    def _check_room(self, session: Session, room_id: str) -> None:
        grants = session.identity.grants
        if not grants.allows_room(room_id) or not (grants.join or grants.admin):
            raise ClientError("forbidden", "your token does not open this room", field="roomId")
        self._check_free(session, self._rooms.get(room_id))

    def _check_free(self, session: Session, wanted: Room | None) -> None:
        if session.room is not None and session.room is not wanted:
            raise ClientError(
                "bad_state", "you are in another call: leave it first", callId=session.room.call.id
            )

    def _joiner(self, session: Session, audio_enabled: bool, video_enabled: bool) -> Joiner:
        identity = session.identity
        return Joiner(
            session_id=session.id,
            key=session.user_key,
            user_id=identity.user_id,
            anonymous_id=session.anonymous_id,
            name=session.name,
            avatar=identity.avatar,
            audio_enabled=audio_enabled,
            video_enabled=video_enabled,
            publish=identity.grants.publish or identity.grants.admin,
            device=session.device,
        )

    # ---- from outside of the calls: what applications see and do ----------------------------------------

    def open_ahead(self, new: NewCall) -> Overview:
        """Open a call that nobody has entered yet. ClientError: `bad_state`, `room_limit`, `too_large`,
        `draining`."""
        check_size(new.settings, "settings")
        self._check_empty(new.room_id)
        return overview(self._open_room(new).call)

    def live(
        self,
        *,
        room_id: str | None = None,
        user_id: str | None = None,
        before: tuple[float, str] | None = None,
    ) -> Iterator[Overview]:
        """The calls that are not over, the last opened first: of one room, or those that concern one user.
        `before` is the time and the id of one that was given already."""
        rooms = list(self._rooms.values()) if room_id is None else [*filter(None, [self._rooms.get(room_id)])]
        calls = sorted((room.call for room in rooms), key=lambda call: (call.opened_at, call.id))
        for call in reversed(calls):
            passed = before is not None and (call.opened_at, call.id) >= before
            if not (passed or call.over) and (user_id is None or call.concerns(user_id)):
                yield overview(call)

    def unattended(self, initiator_id: str | None) -> int:
        """How many calls of this user wait for their first join."""
        calls = [room.call for room in self._rooms.values()]
        return sum(
            one.initiator_id == initiator_id and one.status == "INITIATED" and not one.present
            for one in calls
        )

    def live_call(self, call_id: str) -> Overview | None:
        room = self._calls.get(call_id)
        return None if room is None or room.call.over else overview(room.call)

    async def close(
        self, call_id: str, *, ended_by: str | None, reason: str | None = None
    ) -> tuple[bool, m.CallOver] | None:
        """End a call for everybody: how it ended, and whether this ended it. None: it is not here."""
        room = self._calls.get(call_id)
        if room is None:
            return None
        now = self._clock
        did = await self._act_on(room, lambda: room.call.close(now(), ended_by=ended_by, reason=reason))
        return None if room.call.ended is None else (did, room.call.ended)

    async def expel(self, call_id: str, participant_id: str) -> bool:
        """Take a participant out of a call; False: they are not in it."""
        room = self._calls.get(call_id)
        if room is None:
            return False
        try:
            return await self._act_on(room, lambda: room.call.expel(participant_id, self._clock()))
        except ClientError:  # not_in_call
            return False

    @staticmethod
    async def _act_on(room: Room, act: Callable[[], None]) -> bool:
        try:
            await room.ask(act)
        except Closed:
            return False
        return True

    # ---- the end --------------------------------------------------------------------------------------

    def drain(self, reconnect_after_ms: int) -> None:
        """Announce the stop to every session; new calls are refused from now on."""
        self._draining = True
        for session in self._sessions.values():
            session.notify("server.draining", m.Draining(reconnect_after_ms))

    async def shutdown(self) -> None:
        """End every call truthfully (`server_shutdown`) and return when all actors have finished."""
        self._draining = True
        async with trio.open_nursery() as asking:
            for room in list(self._rooms.values()):
                asking.start_soon(self._stop, room)

    async def _stop(self, room: Room) -> None:
        with contextlib.suppress(Closed):  # it ended by itself
            await room.ask(room.stop)
        await room.finished.wait()

    def stats(self) -> dict[str, int]:
        """Gauges: sessions, attached, calls, participants, p2p_calls, sfu_calls."""
        calls = [room.call for room in self._rooms.values()]
        return {
            "sessions": len(self._sessions),
            "attached": sum(one.sink is not None for one in self._sessions.values()),
            "calls": len(calls),
            "participants": sum(call.present for call in calls),
            "p2p_calls": sum(call.mode == "p2p" for call in calls),
            "sfu_calls": sum(call.mode == "sfu" for call in calls),
        }
