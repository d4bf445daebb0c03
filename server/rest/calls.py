"""Calls: opened, listed, looked at, ended; and people taken out of them.

What changes a live call goes through the room's actor, so that everybody in it hears of it; the rows follow.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import msgspec
import trio

from server import ids
from server.db.records import CallFilter
from server.errors import Unavailable
from server.rest import asked, paging, shapes
from server.rest.access import sees_all_of_people
from server.rest.desk import Ask, Desk
from server.rest.idempotency import call_id_of, fingerprint
from server.rest.merge import call_of, live_call_of, participant_of
from server.rest.problems import Problem
from server.session.identity import clean_name
from server.session.opening import Ahead, NewCall

LINK_WAIT_S = 900.0  # of a call that rings nobody
MAX_WAITING = 5  # calls of one user that nobody has come to yet
_LOOK_UP_S = 1.0  # for what would be known without the database as well
_FIRST, _LAST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
_OVER = ("ENDED", "MISSED", "REJECTED")


async def list_calls(desk: Desk, ask: Ask) -> shapes.CallPage:
    query: asked.CallsQuery = ask.query
    room_id, user_id = query.room_id or None, query.user_id or None
    return await page_of_calls(desk, ask, CallFilter(room_id=room_id, user_id=user_id))


async def list_active_sfu_calls(desk: Desk, ask: Ask) -> shapes.CallPage:
    return await page_of_calls(desk, ask, CallFilter(mode="sfu", status="ACTIVE"))


async def page_of_calls(desk: Desk, ask: Ask, wanted: CallFilter) -> shapes.CallPage:
    """Those that the query asks for, of those that are `wanted`."""
    query: asked.Paged = ask.query
    after = paging.decode(query.cursor) if query.cursor else None
    filters = [wanted, ask.within]
    if isinstance(query, asked.Filtered):
        filters.append(
            CallFilter(
                status=query.status or None,
                mode=query.mode or None,
                call_type=query.call_type or None,
                since=utc(query.since) if query.since else None,
                until=utc(query.until) if query.until else None,
            )
        )
    rows = await desk.records.calls(*filters, limit=query.limit + 1, after=after)
    rows, cursor = paging.page_of(rows, query.limit, "createdAt")
    calls = []
    for row in rows:
        calls.append(merged(desk, ask, row))
        await trio.lowlevel.checkpoint()  # a large page is no reason for others to wait
    return shapes.CallPage(calls=calls, next_cursor=cursor)


async def list_live_calls(desk: Desk, ask: Ask) -> shapes.CallPage:
    query: asked.LiveQuery = ask.query
    room_id = query.room_id or ask.scope.room_id
    if ask.scope.room_id not in (None, room_id):
        return shapes.CallPage(calls=[], next_cursor=None)
    before = None
    if query.cursor:
        time, call_id = paging.decode(query.cursor)
        before = (time.timestamp(), call_id)
    found = desk.directory.live(room_id=room_id, user_id=ask.scope.user_id, before=before)
    calls = [(live.opened_at, live_call_of(live)) for live in itertools.islice(found, query.limit + 1)]
    cursor = None
    if len(calls) > query.limit:
        opened_at, last = calls[query.limit - 1]
        cursor = paging.encode((datetime.fromtimestamp(opened_at, UTC), last.id))
    return shapes.CallPage(calls=[call for _, call in calls[: query.limit]], next_cursor=cursor)


async def get_call(desk: Desk, ask: Ask) -> shapes.Call:
    path: asked.OfCall = ask.path
    live = desk.directory.live_call(path.call_id)
    shown = live is not None and ask.scope.shows(live)
    try:
        row = await find(desk, ask, path.call_id)
    except Unavailable:
        if live is None or not shown:
            raise
        return live_call_of(live)
    if row is not None:
        return call_of(row, live, all_of_people=sees_all_of_people(ask.who))
    if live is None or not shown:
        raise no_call()
    return live_call_of(live)


async def open_call(desk: Desk, ask: Ask) -> shapes.CallOpened:
    body: asked.OpenCall = ask.body
    caller = _check_initiator(ask, body)
    if not ask.who.grants.allows_room(body.room_id):
        raise Problem("forbidden", "This token does not open this room.", field="roomId")
    now = desk.clock()
    call_id = ids.cuid()
    if ask.key is not None:
        repeated, call_id = await _repeated(desk, ask, ask.key, call_id)
        if repeated is not None:
            return repeated
    _check_waiting(desk, ask)
    invite = [user for user in dict.fromkeys(body.invite) if user != caller.user_id]
    default_s = desk.ring_timeout_s if invite else LINK_WAIT_S
    wait_s = default_s if body.wait_s is None else body.wait_s
    if wait_s > LINK_WAIT_S and not ask.who.grants.admin:
        raise Problem("forbidden", f"Beyond {LINK_WAIT_S:.0f} s only `admin` may wait.", field="waitS")
    new = NewCall(
        call_id=call_id,
        room_id=body.room_id,
        call_type=body.call_type,
        initiator=msgspec.structs.replace(caller, wait_s=wait_s),
        invite=invite,
        policy=body.policy,
        settings=body.settings,
    )
    live = desk.directory.open_ahead(new)
    answer = _opened(desk, ask, live_call_of(live))
    if ask.key is not None:
        desk.replays.put(ask.caller, ask.key, body, answer, now)
    stored = await desk.records.settled()
    return msgspec.structs.replace(answer, call=msgspec.structs.replace(answer.call, stored=stored))


async def end_call(desk: Desk, ask: Ask) -> shapes.CallEnded:
    path: asked.OfCall = ask.path
    body: asked.EndCall = ask.body
    live = desk.directory.live_call(path.call_id)
    if live is not None and ask.scope.shows(live):
        done = await desk.directory.close(path.call_id, ended_by=ask.who.user_id, reason=body.reason)
        if done is not None:
            await desk.records.settled()
            ended, how = done
            return shapes.CallEnded(id=path.call_id, ended=ended, status=how.status, end_reason=how.reason)
    row = await find(desk, ask, path.call_id)
    if row is None:
        raise no_call()
    if row["status"] not in _OVER:
        raise Problem("bad_state", "This call is not on this server.", call_id=path.call_id)
    return shapes.CallEnded(id=path.call_id, ended=False, status=row["status"], end_reason=row["endReason"])


async def list_participants(desk: Desk, ask: Ask) -> shapes.ParticipantPage:
    path: asked.OfCall = ask.path
    query: asked.Paged = ask.query
    after = paging.decode(query.cursor) if query.cursor else None
    rows = await desk.records.participants(
        CallFilter(call_id=path.call_id), ask.within, limit=query.limit + 1, after=after
    )
    if rows is None:
        raise no_call()
    rows, cursor = paging.page_of(rows, query.limit, "joinedAt")
    everything = sees_all_of_people(ask.who)
    people = [participant_of(row, all_of_people=everything) for row in rows]
    return shapes.ParticipantPage(participants=people, next_cursor=cursor)


async def remove_participant(desk: Desk, ask: Ask) -> None:
    """Who holds `end` removes anybody; everybody may remove themselves."""
    path: asked.OfParticipant = ask.path
    live = desk.directory.live_call(path.call_id)
    if live is None or not ask.scope.shows(live):
        raise no_call()
    one = next((one for one in live.participants if one.participant_id == path.participant_id), None)
    if one is None:
        raise Problem("not_found", "Nobody with this id is in the call now.", field="participantId")
    own = one.user_id is not None and one.user_id == ask.who.user_id
    if not (own or ask.who.grants.end):
        raise Problem("forbidden", "This token may not remove others: it takes `end` or `admin`.")
    if not await desk.directory.expel(path.call_id, path.participant_id):
        raise Problem("not_found", "Nobody with this id is in the call now.", field="participantId")
    await desk.records.settled()


# ---- what these share -------------------------------------------------------------------------------------


async def find(desk: Desk, ask: Ask, call_id: str) -> dict[str, Any] | None:
    """The call's row, if the token may see it. One that is open there and not here has perhaps just ended."""
    wanted = CallFilter(call_id=call_id)
    row = await desk.records.call(wanted, ask.within)
    if row is not None and row["status"] not in _OVER and desk.directory.live_call(call_id) is None:
        await desk.records.settled()
        row = await desk.records.call(wanted, ask.within)
    return row


def merged(desk: Desk, ask: Ask, row: dict[str, Any]) -> shapes.Call:
    return call_of(row, desk.directory.live_call(row["id"]), all_of_people=sees_all_of_people(ask.who))


def no_call() -> Problem:
    return Problem("not_found", "There is no such call, or it is none of this token's.", field="callId")


def utc(when: datetime) -> datetime:
    """In UTC, away from the edges of what a datetime can be."""
    return min(max(when, _FIRST), _LAST).astimezone(UTC)


def _check_initiator(ask: Ask, body: asked.OpenCall) -> Ahead:
    """Who calls: only `admin` may say that it is somebody else."""
    who = ask.who
    own = body.initiator_id in (None, who.user_id)
    if not who.grants.admin:
        if not own or body.initiator_name is not None:
            field = "initiatorName" if own else "initiatorId"
            raise Problem("forbidden", "Only `admin` calls in another's name.", field=field)
        return Ahead(wait_s=0, user_id=who.user_id, name=who.name, avatar=who.avatar)
    name = clean_name(body.initiator_name)
    if own and who.user_id is not None:
        return Ahead(wait_s=0, user_id=who.user_id, name=name or who.name, avatar=who.avatar)
    return Ahead(wait_s=0, user_id=body.initiator_id, name=name)


def _check_waiting(desk: Desk, ask: Ask) -> None:
    if ask.who.grants.admin:
        return
    if desk.directory.unattended(ask.who.user_id) >= MAX_WAITING:
        raise Problem("rate_limited", "So many calls wait for their first join already: end one of them.")


async def _repeated(desk: Desk, ask: Ask, key: str, fresh_id: str) -> tuple[shapes.CallOpened | None, str]:
    """The answer that this key got before, if any; else the id that the call is to have."""
    call_id = call_id_of(ask.caller, key)
    row: dict[str, Any] | None = None
    known = False
    if desk.replays.get(ask.caller, key, desk.clock()) is None:
        try:
            with trio.move_on_after(_LOOK_UP_S):
                row = await desk.records.call(CallFilter(call_id=call_id))
                known = True
        except Unavailable:
            pass
    kept = desk.replays.get(ask.caller, key, desk.clock())
    if kept is not None:
        if kept.fingerprint != fingerprint(ask.body):
            raise _reused()
        assert isinstance(kept.answer, shapes.CallOpened)
        return kept.answer, call_id
    if row is not None:
        if (row["roomId"], row["callType"]) != (ask.body.room_id, ask.body.call_type):
            raise _reused()
        return _opened(desk, ask, merged(desk, ask, row)), call_id
    # Without the database nobody knows whether there was such a call: one with a new id is never wrong.
    return None, call_id if known else fresh_id


def _reused() -> Problem:
    return Problem("key_reused", "This Idempotency-Key came with another body before: use a new one.")


def _opened(desk: Desk, ask: Ask, call: shapes.Call) -> shapes.CallOpened:
    base = desk.base_url(ask.request)
    join = shapes.JoinInfo(
        link=f"{base}/?room={call.room_id}",
        web_socket=f"{'wss' if base.startswith('https') else 'ws'}{base[base.index(':') :]}/ws",
        room_id=call.room_id,
    )
    return shapes.CallOpened(call=call, join=join)
