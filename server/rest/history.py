"""What is kept of calls: of one, of a room, of a user, of many in figures; and what is held on a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from server.db.records import CallFilter
from server.rest import asked, paging, shapes
from server.rest.access import Scope, sees_all_of_people
from server.rest.calls import merged, no_call, page_of_calls, utc
from server.rest.desk import Ask, Desk
from server.rest.merge import participant_of, transitions_of
from server.rest.problems import Problem

PERIOD = timedelta(days=7)

# ---- of a room, of a user ---------------------------------------------------------------------------------


async def calls_of_room(desk: Desk, ask: Ask) -> shapes.CallPage:
    path: asked.OfRoom = ask.path
    if ask.scope.room_id not in (None, path.room_id):
        raise Problem("forbidden", "This token is for another room.", field="roomId")
    return await page_of_calls(desk, ask, CallFilter(room_id=path.room_id))


async def calls_of_user(desk: Desk, ask: Ask) -> shapes.CallPage:
    path: asked.OfUser = ask.path
    own = path.user_id == ask.who.user_id
    if not (own or sees_all_of_people(ask.who)):
        raise Problem("forbidden", "This token is another user's.", field="userId")
    return await page_of_calls(desk, ask, CallFilter(user_id=path.user_id))


# ---- of a call --------------------------------------------------------------------------------------------


async def metrics_of_call(desk: Desk, ask: Ask) -> shapes.Metrics:
    row = _kept(await desk.records.metrics(*_this(ask)), "Nothing has been measured in this call yet.")
    return msgspec.convert(row, shapes.Metrics)


async def transitions_of_call(desk: Desk, ask: Ask) -> shapes.Transitions:
    found = await desk.records.metrics(*_this(ask))
    if found is None:
        raise no_call()
    (row,) = found
    return shapes.Transitions(transitions=transitions_of((row or {}).get("modeTransitions")))


async def analytics_of_call(desk: Desk, ask: Ask) -> shapes.Analytics:
    row = _kept(await desk.records.analytics(*_this(ask)), "A call has a summary once it is over.")
    return msgspec.convert(row, shapes.Analytics)


async def recording_of_call(desk: Desk, ask: Ask) -> shapes.Recording:
    row = _kept(await desk.records.recording(*_this(ask)), "This call has no recording.")
    return msgspec.convert(row, shapes.Recording)


async def transcriptions_of_call(desk: Desk, ask: Ask) -> shapes.TranscriptionPage:
    query: asked.TranscriptionsQuery = ask.query
    rows = await desk.records.transcriptions(
        *_this(ask),
        language=query.language or None,
        limit=query.limit + 1,
        after=paging.decode(query.cursor) if query.cursor else None,
    )
    if rows is None:
        raise no_call()
    rows, cursor = paging.page_of(rows, query.limit, "startedAt")
    said = [msgspec.convert(row, shapes.Transcription) for row in rows]
    return shapes.TranscriptionPage(transcriptions=said, next_cursor=cursor)


def _this(ask: Ask) -> tuple[CallFilter, CallFilter]:
    path: asked.OfCall = ask.path
    return CallFilter(call_id=path.call_id), ask.within


def _kept(found: tuple[dict[str, Any] | None] | None, otherwise: str) -> dict[str, Any]:
    if found is None:
        raise no_call()
    (row,) = found
    if row is None:
        raise Problem("not_found", otherwise)
    return row


# ---- by what the media server calls them ------------------------------------------------------------------


async def call_of_sfu_room(desk: Desk, ask: Ask) -> shapes.Call:
    path: asked.OfSfuRoom = ask.path
    row = await desk.records.call_by_sfu_room(path.sfu_room_id)
    if row is None:
        raise Problem("not_found", "No active call has this router.", field="sfuRoomId")
    return merged(desk, ask, row)


async def participant_of_producer(desk: Desk, ask: Ask) -> shapes.ParticipantFound:
    path: asked.OfProducer = ask.path
    row = await desk.records.participant_by_producer(path.producer_id)
    if row is None:
        raise Problem("not_found", "Nobody sends this producer.", field="producerId")
    return _found(row)


async def participant_of_transport(desk: Desk, ask: Ask) -> shapes.ParticipantFound:
    path: asked.OfTransport = ask.path
    row = await desk.records.participant_by_transport(path.transport_id)
    if row is None:
        raise Problem("not_found", "Nobody sends by this transport.", field="transportId")
    return _found(row)


def _found(row: dict[str, Any]) -> shapes.ParticipantFound:
    one = participant_of(row, all_of_people=True)
    return shapes.ParticipantFound(**msgspec.structs.asdict(one), call_session_id=row["callSessionId"])


# ---- many in figures --------------------------------------------------------------------------------------


async def transition_statistics(desk: Desk, ask: Ask) -> shapes.TransitionStatistics:
    row = await desk.records.transition_stats(*_period(desk, ask.query))
    return msgspec.convert(row, shapes.TransitionStatistics)


async def list_recordings(desk: Desk, ask: Ask) -> shapes.RecordingPage:
    query: asked.RecordingsQuery = ask.query
    rows = await desk.records.recordings(
        room_id=_room(ask, query.room_id or None),
        status=query.status or None,
        limit=query.limit + 1,
        after=paging.decode(query.cursor) if query.cursor else None,
    )
    rows, cursor = paging.page_of(rows, query.limit, "createdAt")
    recordings = [msgspec.convert(row, shapes.Recording) for row in rows]
    return shapes.RecordingPage(recordings=recordings, next_cursor=cursor)


async def call_statistics(desk: Desk, ask: Ask) -> shapes.CallStatistics:
    query: asked.RoomPeriod = ask.query
    room_id = _room(ask, query.room_id or None)
    row = await desk.records.analytics_summary(*_period(desk, query), room_id=room_id)
    return msgspec.convert(row, shapes.CallStatistics)


def _room(ask: Ask, wanted: str | None) -> str | None:
    """The room that is asked for and may be; None: all of them. Problem `forbidden`."""
    room_id = wanted or ask.scope.room_id
    if ask.scope not in (Scope(), Scope(room_id=room_id)):
        raise Problem("forbidden", "This takes a token for that room, or one that sees everything.")
    return room_id


def _period(desk: Desk, query: asked.Period) -> tuple[datetime, datetime]:
    until = utc(query.until) if query.until else datetime.fromtimestamp(desk.clock(), UTC)
    if query.since:
        return utc(query.since), until
    return max(until, datetime.min.replace(tzinfo=UTC) + PERIOD) - PERIOD, until


# ---- persons and tokens -----------------------------------------------------------------------------------


async def export_user(desk: Desk, ask: Ask) -> shapes.PersonHeld:
    path: asked.OfUser = ask.path
    if not ask.who.grants.admin and ask.scope != Scope(user_id=path.user_id):
        raise Problem("forbidden", "This takes `admin`, or this user's own token for all rooms.")
    held = await desk.records.export_user(path.user_id)
    if held is None:
        raise Problem("not_found", "Nothing is held on this user.", field="userId")
    return shapes.PersonHeld(held=held)


async def erase_user(desk: Desk, ask: Ask) -> shapes.PersonErased:
    path: asked.OfUser = ask.path
    done = await desk.records.erase_user(path.user_id)
    if done is None:
        raise Problem("not_found", "Nothing is held on this user.", field="userId")
    erased, letters = done
    return shapes.PersonErased(
        participations=erased.participations,
        calls_initiated=erased.calls_initiated,
        calls_ended=erased.calls_ended,
        changes_set_aside=letters,
        person_row=erased.person_row,
    )


async def make_token(desk: Desk, ask: Ask) -> shapes.TokenMade:
    body: asked.MakeToken = ask.body
    now = desk.clock()
    can = ("start", "publish") if body.can is None else body.can
    token = desk.mint(
        room=body.room_id, user_id=body.user_id, name=body.name, can=can, ttl_s=body.ttl_s, now=now
    )
    room = "" if body.room_id == "*" else f"?room={body.room_id}"
    return shapes.TokenMade(
        token=token,
        link=f"{desk.base_url(ask.request)}/{room}#token={token}",
        expires_at=datetime.fromtimestamp(int(now + body.ttl_s), UTC),
    )
