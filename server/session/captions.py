"""What is said in a call, as text: captions that clients make, for the others, and to keep if the call does.

A caption is a segment of speech under the speaker's own id for it. It may be sent again and again while it
grows, each time replacing what was sent before, and is final once. A final one that comes again (its answer
was lost) changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from server import ids
from server.db.changes import CaptionSaid
from server.errors import ClientError
from server.session.effects import Effect, Notify, Persist
from server.session.participants import Participant, Participants
from server.session.settings import CaptionMode
from server.signaling import messages as m
from server.signaling.bucket import TokenBucket

RATE, BURST = 10.0, 40.0  # captions of one speaker: per second, and at once
FINAL = 4.0  # a final one counts for so many: nobody speaks three sentences a second, and it may be stored
KEPT = 64  # segments of one speaker that are remembered
LONGEST_S = 600.0  # a segment that is said to be longer begins this long before its end

_MODES: dict[str, CaptionMode] = {"off": "off", "relay": "relay", "store": "store"}


def captions_of(settings: dict[str, Any] | None, default: CaptionMode) -> CaptionMode:
    """What these settings of a call say of captions. ClientError `invalid` if it is none of the three."""
    said = default if settings is None else settings.get("captions", default)
    mode = _MODES.get(said) if isinstance(said, str) else None
    if mode is None:
        raise ClientError("invalid", "captions are off, relay or store", field="settings.captions")
    return mode


class _Segment:
    def __init__(self, now: float) -> None:
        self.first_s = now  # when it was heard of
        self.final = False


class _Speaker:
    def __init__(self, now: float) -> None:
        self.bucket = TokenBucket(rate=RATE, burst=BURST, now=now)
        self.segments: OrderedDict[str, _Segment] = OrderedDict()


class Captions:
    """The captions of one call."""

    def __init__(
        self, call_id: str, mode: CaptionMode, people: Participants, emit: Callable[[Effect], None]
    ) -> None:
        self.mode: CaptionMode = mode
        self._call_id = call_id
        self._people = people
        self._emit = emit
        self._speakers: dict[str, _Speaker] = {}

    def say(self, one: Participant, said: m.CaptionSend, now: float) -> None:
        """Relay it, and keep it if it is final and the call keeps captions. ClientError: `captions_off`,
        `invalid`, `rate_limited`."""
        if self.mode == "off":
            raise ClientError("captions_off", "this call has no captions")
        text = said.text.strip()
        if not text:
            raise ClientError("invalid", "a caption has a text", field="text")
        speaker = self._speakers.setdefault(one.id, _Speaker(now))
        cost = FINAL if said.is_final else 1.0
        if not speaker.bucket.take(cost, now):
            wait_ms = int(speaker.bucket.wait_s(cost) * 1000) + 1
            raise ClientError("rate_limited", "too many captions", retryAfterMs=wait_ms)
        segment = speaker.segments.setdefault(said.segment_id, _Segment(now))
        if segment.final:
            return
        while len(speaker.segments) > KEPT:
            speaker.segments.popitem(last=False)
        segment.final = said.is_final
        start, end = _span(one, said, segment, now)
        caption = m.Caption(
            participant_id=one.id,
            segment_id=said.segment_id,
            text=text,
            is_final=said.is_final,
            started_at=round(start * 1000),
            ended_at=round(end * 1000),
            language=said.language,
            confidence=said.confidence,
        )
        others = self._people.ids(but=one.id)
        if others:
            self._emit(Notify(others, "call.caption", caption, lossy=not said.is_final))
        if said.is_final and self.mode == "store":
            kept = CaptionSaid(
                at=now,
                transcription_id=ids.cuid(),
                call_id=self._call_id,
                participant_id=one.id,
                text=text,
                language=said.language,
                started_at=start,
                ended_at=end,
                confidence=said.confidence,
                segment_id=said.segment_id,
            )
            self._emit(Persist(kept))

    def left(self, participant_id: str) -> None:
        """Who comes again counts segments anew."""
        self._speakers.pop(participant_id, None)


def _span(one: Participant, said: m.CaptionSend, segment: _Segment, now: float) -> tuple[float, float]:
    """From when to when it was spoken: as the client says, as far as that can be."""
    end = now if said.ended_at is None else min(now, max(one.joined_at, said.ended_at / 1000))
    start = segment.first_s if said.started_at is None else said.started_at / 1000
    return min(end, max(one.joined_at, end - LONGEST_S, start)), end
