"""A call as applications see it: its row and the live call, put together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from server.rest import shapes
from server.session.overview import Overview

Row = Mapping[str, Any]


def call_of(row: Row, live: Overview | None, *, all_of_people: bool) -> shapes.Call:
    """The row's call; where a live call differs, that is right."""
    people = [participant_of(one, all_of_people=all_of_people) for one in row["participants"]]
    fields = {name: value for name, value in row.items() if name != "participants"}
    call = msgspec.convert({**fields, "participants": []}, shapes.Call)
    call = msgspec.structs.replace(call, participants=people)
    if live is None:
        return call
    return msgspec.structs.replace(
        call,
        status=live.status,
        mode=live.mode,
        started_at=_time(live.started_at),
        ended_at=None,
        duration=None,
        end_reason=None,
        ended_by=None,
        live=_state(live),
    )


def live_call_of(live: Overview, *, stored: bool = False) -> shapes.Call:
    """A call without its row."""
    return shapes.Call(
        id=live.call_id,
        room_id=live.room_id,
        call_type=live.call_type,
        status=live.status,
        mode=live.mode,
        initiator_id=live.initiator_id,
        created_at=_moment(live.opened_at),
        started_at=_time(live.started_at),
        stored=stored,
        live=_state(live),
    )


def participant_of(row: Row, *, all_of_people: bool) -> shapes.Participant:
    one = msgspec.convert(dict(row), shapes.Participant)
    return one if all_of_people else msgspec.structs.replace(one, quality_metrics=None, device_info=None)


def transitions_of(noted: Any) -> list[shapes.Transition]:
    """From `modeTransitions`, in which other applications may have written as well."""
    elements = noted if isinstance(noted, list) else []
    return [_transition(one) for one in elements if isinstance(one, dict)]


def _transition(noted: dict[str, Any]) -> shapes.Transition:
    def text(name: str) -> str | None:
        value = noted.get(name)
        return value if isinstance(value, str) else None

    def number(name: str) -> float | None:
        value = noted.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    epoch = noted.get("epoch")
    return shapes.Transition(
        from_mode=text("from"),
        to_mode=text("to"),
        timestamp=text("timestamp"),
        duration=number("duration"),
        reason=text("reason"),
        epoch=epoch if type(epoch) is int and abs(epoch) < 2**53 else None,
        max_video_gap_ms=number("maxVideoGapMs"),
        max_audio_gap_ms=number("maxAudioGapMs"),
    )


def _state(live: Overview) -> shapes.LiveState:
    return shapes.LiveState(
        epoch=live.epoch,
        policy=live.policy,
        ringing=live.ringing,
        participants=[
            shapes.LiveParticipant(
                id=one.participant_id,
                user_id=one.user_id,
                name=one.name,
                role=one.role,
                status=one.status,
                joined_at=_moment(one.joined_at / 1000),
                audio_enabled=one.audio_enabled,
                video_enabled=one.video_enabled,
                screen_share_enabled=one.screen_share_enabled,
            )
            for one in live.participants
        ],
    )


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(round(at * 1000) / 1000, UTC)


def _time(at: float | None) -> datetime | None:
    return None if at is None else _moment(at)
