"""Every operation of the API: its place, whom it is for, what it takes and gives. The server answers by this
table, and describes itself by it (`openapi.py`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from server.rest import asked, calls, history, shapes
from server.rest.access import Need
from server.rest.desk import Ask, Desk

BASE = "/api/v1"
Operate = Callable[[Desk, Ask], Awaitable[msgspec.Struct | None]]


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str  # below BASE
    run: Operate  # its name is the operation's id
    summary: str
    need: Need
    gives: type[msgspec.Struct] | None  # None: an answer without a body
    status: int = 200
    in_path: type[msgspec.Struct] = asked.Nothing
    query: type[msgspec.Struct] = asked.Nothing
    body: type[msgspec.Struct] | None = None
    keyed: bool = False  # takes an Idempotency-Key
    made_at: Callable[[Any], str] | None = None  # where below BASE to find what it made: `Location`
    problems: tuple[str, ...] = ()  # besides those that every operation has

    @property
    def id(self) -> str:
        """Such as `listCalls`."""
        first, *rest = getattr(self.run, "__name__", "").split("_")
        return first + "".join(word.title() for word in rest)


def _of_call(path: str, run: Operate, summary: str, gives: type[msgspec.Struct], **more: Any) -> Operation:
    return Operation(
        "GET",
        f"/calls/{{callId}}/{path}",
        run,
        summary,
        "read",
        gives,
        in_path=asked.OfCall,
        problems=("not_found", "database_away"),
        **more,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/calls",
        calls.open_call,
        "Opens a call that waits for its people: rings those in `invite`, or is found by link",
        "start",
        shapes.CallOpened,
        status=201,
        body=asked.OpenCall,
        keyed=True,
        made_at=lambda opened: f"/calls/{opened.call.id}",
        problems=("bad_state", "too_large", "key_reused", "room_limit", "draining"),
    ),
    Operation(
        "GET",
        "/calls",
        calls.list_calls,
        "Calls, latest first, in pages",
        "read",
        shapes.CallPage,
        query=asked.CallsQuery,
        problems=("database_away",),
    ),
    Operation(
        "GET",
        "/live-calls",
        calls.list_live_calls,
        "Calls that are not over, as the server itself knows them: also without the database; in pages",
        "read",
        shapes.CallPage,
        query=asked.LiveQuery,
    ),
    Operation(
        "GET",
        "/active-sfu-calls",
        calls.list_active_sfu_calls,
        "Active calls whose media goes through the SFU",
        "read",
        shapes.CallPage,
        query=asked.Paged,
        problems=("database_away",),
    ),
    Operation(
        "GET",
        "/calls/{callId}",
        calls.get_call,
        "One call, with its participants and what it is like now",
        "read",
        shapes.Call,
        in_path=asked.OfCall,
        problems=("not_found", "database_away"),
    ),
    Operation(
        "POST",
        "/calls/{callId}/end",
        calls.end_call,
        "Ends a call for everybody; harmless if it is over",
        "end",
        shapes.CallEnded,
        in_path=asked.OfCall,
        body=asked.EndCall,
        problems=("not_found", "bad_state", "database_away"),
    ),
    _of_call(
        "participants",
        calls.list_participants,
        "All who ever took part, in order of joining, in pages",
        shapes.ParticipantPage,
        query=asked.Paged,
    ),
    Operation(
        "DELETE",
        "/calls/{callId}/participants/{participantId}",
        calls.remove_participant,
        "Takes somebody out of a live call: others with `end` or `admin`, oneself with any token",
        "read",
        None,
        status=204,
        in_path=asked.OfParticipant,
        problems=("not_found",),
    ),
    _of_call("metrics", history.metrics_of_call, "A call's quality in figures", shapes.Metrics),
    _of_call("transitions", history.transitions_of_call, "Every change of mode", shapes.Transitions),
    _of_call("analytics", history.analytics_of_call, "A call that is over, in summary", shapes.Analytics),
    _of_call("recording", history.recording_of_call, "What is known of its recording", shapes.Recording),
    _of_call(
        "transcriptions",
        history.transcriptions_of_call,
        "What was said, in segments, in pages",
        shapes.TranscriptionPage,
        query=asked.TranscriptionsQuery,
    ),
    Operation(
        "GET",
        "/rooms/{roomId}/calls",
        history.calls_of_room,
        "A room's history, latest first, in pages",
        "read",
        shapes.CallPage,
        in_path=asked.OfRoom,
        query=asked.Filtered,
        problems=("database_away",),
    ),
    Operation(
        "GET",
        "/users/{userId}/calls",
        history.calls_of_user,
        "The calls that a user made or took part in, latest first, in pages",
        "read",
        shapes.CallPage,
        in_path=asked.OfUser,
        query=asked.Filtered,
        problems=("database_away",),
    ),
    Operation(
        "GET",
        "/sfu-rooms/{sfuRoomId}/call",
        history.call_of_sfu_room,
        "The active call that has this router",
        "read-all",
        shapes.Call,
        in_path=asked.OfSfuRoom,
        problems=("not_found", "database_away"),
    ),
    Operation(
        "GET",
        "/producers/{producerId}/participant",
        history.participant_of_producer,
        "Who sends this audio, video or screen",
        "read-all",
        shapes.ParticipantFound,
        in_path=asked.OfProducer,
        problems=("not_found", "database_away"),
    ),
    Operation(
        "GET",
        "/transports/{transportId}/participant",
        history.participant_of_transport,
        "Who sends by this transport",
        "read-all",
        shapes.ParticipantFound,
        in_path=asked.OfTransport,
        problems=("not_found", "database_away"),
    ),
    Operation(
        "GET",
        "/recordings",
        history.list_recordings,
        "Recordings, latest first, in pages: of all calls, or of one room",
        "read",
        shapes.RecordingPage,
        query=asked.RecordingsQuery,
        problems=("database_away",),
    ),
    Operation(
        "GET",
        "/statistics/transitions",
        history.transition_statistics,
        "How often calls changed their mode, how long it took, and why",
        "read-all",
        shapes.TransitionStatistics,
        query=asked.Period,
        problems=("database_away",),
    ),
    Operation(
        "GET",
        "/statistics/calls",
        history.call_statistics,
        "What calls add up to: of all, or of one room",
        "read",
        shapes.CallStatistics,
        query=asked.RoomPeriod,
        problems=("database_away",),
    ),
    Operation(
        "GET",
        "/users/{userId}/export",
        history.export_user,
        "All that is held on a user: for `admin`, and for the user's own token for all rooms",
        "read",
        shapes.PersonHeld,
        in_path=asked.OfUser,
        problems=("not_found", "database_away"),
    ),
    Operation(
        "DELETE",
        "/users/{userId}",
        history.erase_user,
        "Takes a user out of every row; the calls keep their figures",
        "admin",
        shapes.PersonErased,
        in_path=asked.OfUser,
        problems=("not_found", "bad_state", "database_away"),
    ),
    Operation(
        "POST",
        "/tokens",
        history.make_token,
        "Makes a token, and a link that carries it, for one person",
        "admin",
        shapes.TokenMade,
        status=201,
        body=asked.MakeToken,
    ),
)
EVERYWHERE = (
    "invalid_params",
    "token_missing",
    "token_invalid",
    "token_expired",
    "forbidden",
    "rate_limited",
    "internal",
    "too_busy",
)
WITH_BODY = ("malformed", "unsupported_media_type", "invalid")


def problems_of(operation: Operation) -> list[str]:
    """Every code that it may answer with."""
    body = WITH_BODY if operation.body is not None else ()
    return [*EVERYWHERE, *body, *operation.problems]
