"""What a participant may ask of the call it is in: one small function per method, run by the room's actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from server.errors import ClientError
from server.rooms.actor import Room
from server.rooms.session import Session
from server.session.identity import clean_name
from server.signaling import messages as m

MAX_JSON_BYTES = 4096  # of free-form objects: deviceInfo, settings
MAX_CANDIDATE_BYTES = 2048
DONE = m.Empty()

Handler = Callable[[Room, Session, str, Any, float], m.Wire]  # participant id, parameters, now


def check_size(value: dict[str, Any] | None, field: str, limit: int = MAX_JSON_BYTES) -> None:
    """ClientError `too_large` for an object of more than `limit` bytes as JSON."""
    if value is not None and len(msgspec.json.encode(value)) > limit:
        raise ClientError("too_large", f"at most {limit} bytes as JSON", field=field, limit=limit)


def _leave(room: Room, session: Session, me: str, said: m.Empty, now: float) -> m.Wire:
    room.call.leave(me, now)
    return DONE


def _end(room: Room, session: Session, me: str, said: m.Empty, now: float) -> m.Wire:
    grants = session.identity.grants
    if not (grants.end or grants.admin):
        raise ClientError("forbidden", "your token has no grant to end the call; call.leave leaves it")
    room.call.end(me, now)
    return DONE


def _state(room: Room, session: Session, me: str, said: m.StateQuery, now: float) -> m.Wire:
    return m.CallResult(room.snapshot(session))


def _update(room: Room, session: Session, me: str, said: m.ParticipantUpdate, now: float) -> m.Wire:
    check_size(said.device, "device")
    grants = session.identity.grants
    sends = said.audio_enabled or said.video_enabled or said.screen_share_enabled
    if sends and not (grants.publish or grants.admin):
        raise ClientError("forbidden", "your token has no grant to publish media")
    name = clean_name(said.name)
    room.call.update(me, msgspec.structs.replace(said, name=name), now)
    session.name = name or session.name
    return DONE


def _signal(room: Room, session: Session, me: str, said: m.P2pSignal, now: float) -> m.Wire:
    check_size(said.candidate, "candidate", MAX_CANDIDATE_BYTES)
    room.call.signal(me, said)
    return DONE


def _p2p_failed(room: Room, session: Session, me: str, said: m.P2pFailed, now: float) -> m.Wire:
    room.call.p2p_failed(me, said, now)
    return DONE


def _publish(room: Room, session: Session, me: str, said: m.SfuPublish, now: float) -> m.Wire:
    return room.sfu.peer(me).publish(said.sdp)


def _answer(room: Room, session: Session, me: str, said: m.SfuAnswer, now: float) -> m.Wire:
    if room.sfu.peer(me).answer(said.offer_id, said.sdp):
        session.forget("sfu.offer")  # who has answered it has it; it would be the largest of all that is kept
    return DONE


def _restart(room: Room, session: Session, me: str, said: m.SfuRestart, now: float) -> m.Wire:
    room.sfu.peer(me).restart()
    return DONE


def _keyframe(room: Room, session: Session, me: str, said: m.SfuKeyframe, now: float) -> m.Wire:
    room.sfu.peer(me).keyframe(said.consumer_id)
    return DONE


def _swapped(room: Room, session: Session, me: str, said: m.EpochSwapped, now: float) -> m.Wire:
    room.call.swapped(me, said, now)
    return DONE


def _measured(room: Room, session: Session, me: str, said: m.EpochMeasured, now: float) -> m.Wire:
    room.call.measured(me, said, now)
    return DONE


def _request_mode(room: Room, session: Session, me: str, said: m.ModeRequest, now: float) -> m.Wire:
    room.call.request_mode(said.mode, now)
    return DONE


def _chat(room: Room, session: Session, me: str, said: m.ChatSend, now: float) -> m.Wire:
    room.call.chat(me, said.text, now)
    return DONE


def _caption(room: Room, session: Session, me: str, said: m.CaptionSend, now: float) -> m.Wire:
    grants = session.identity.grants
    if not (grants.publish or grants.admin):
        raise ClientError("forbidden", "your token has no grant to publish, and so none to be captioned")
    room.call.caption(me, said, now)
    return DONE


def _stats(room: Room, session: Session, me: str, said: m.ClientStats, now: float) -> m.Wire:
    room.call.stats(me, said, now)
    return DONE


HANDLERS: dict[str, Handler] = {
    "call.leave": _leave,
    "call.end": _end,
    "call.state": _state,
    "participant.update": _update,
    "p2p.signal": _signal,
    "p2p.failed": _p2p_failed,
    "sfu.publish": _publish,
    "sfu.answer": _answer,
    "sfu.restart": _restart,
    "sfu.keyframe": _keyframe,
    "epoch.swapped": _swapped,
    "epoch.measured": _measured,
    "mode.request": _request_mode,
    "chat.send": _chat,
    "caption.send": _caption,
    "stats": _stats,
}


async def handle(
    room: Room, session: Session, method: str, params: m.Wire, now: Callable[[], float]
) -> m.Wire:
    """Have the room's actor do it. KeyError for a method that is not of this table."""
    handler = HANDLERS[method]

    def job() -> m.Wire:
        return handler(room, session, room.participant_id(session), params, now())

    return cast(m.Wire, await room.ask(job))
