"""Who is in a call: one record per person, kept after they left so that they come back under the same id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from server import ids
from server.db.changes import ParticipantJoined, SfuIds
from server.rtc.parameters import Source
from server.signaling.messages import ParticipantInfo, ParticipantStatusName

Role = Literal["host", "participant"]


class Joiner(msgspec.Struct, frozen=True, kw_only=True):
    """A session that enters a call."""

    session_id: str
    key: str  # one per person (`Session.user_key`)
    user_id: str | None
    anonymous_id: str | None
    name: str
    avatar: str | None
    audio_enabled: bool
    video_enabled: bool
    publish: bool = True
    device: dict[str, Any] | None = None


class Participant:
    """One person in one call."""

    def __init__(self, participant_id: str, role: Role, joiner: Joiner, now: float) -> None:
        self.id = participant_id
        self.role: Role = role
        self.user_id = joiner.user_id
        self.anonymous_id = joiner.anonymous_id
        self.session_id = joiner.session_id
        self.name = joiner.name
        self.joined_at = now
        self.device = joiner.device
        self.audio_enabled = joiner.audio_enabled and joiner.publish
        self.video_enabled = joiner.video_enabled and joiner.publish
        self.screen_share_enabled = False
        self.connected = False  # a media path of this participant has been seen to work
        self.away_until: float | None = None  # the connection is cut; gone for good at this time
        self.sfu = SfuIds(participant_id=participant_id, send_transport_id=None, recv_transport_id=None)
        self.poor_reports = 0
        # What it says, and as it was made.
        self._info: tuple[tuple[object, ...], ParticipantInfo] | None = None

    @property
    def away(self) -> bool:
        return self.away_until is not None

    @property
    def status(self) -> ParticipantStatusName:
        if self.away:
            return "reconnecting"
        return "connected" if self.connected else "connecting"

    @property
    def sources(self) -> frozenset[Source]:
        """Which are on."""
        on: list[tuple[Source, bool]] = [
            ("microphone", self.audio_enabled),
            ("camera", self.video_enabled),
            ("screen", self.screen_share_enabled),
        ]
        return frozenset(source for source, enabled in on if enabled)

    def joined(self, call_id: str, now: float) -> ParticipantJoined:
        return ParticipantJoined(
            at=now,
            participant_id=self.id,
            call_id=call_id,
            user_id=self.user_id,
            anonymous_id=self.anonymous_id,
            name=self.name,
            role=self.role,
            audio_enabled=self.audio_enabled,
            video_enabled=self.video_enabled,
            device_info=self.device,
        )

    def info(self) -> ParticipantInfo:
        """Made anew only when it says something else: whoever joins a large call is told hundreds."""
        says = (
            self.name, self.status, self.audio_enabled, self.video_enabled, self.screen_share_enabled
        )  # fmt: skip
        if self._info is None or self._info[0] != says:
            info = ParticipantInfo(
                participant_id=self.id,
                name=self.name,
                role=self.role,
                status=self.status,
                audio_enabled=self.audio_enabled,
                video_enabled=self.video_enabled,
                screen_share_enabled=self.screen_share_enabled,
                joined_at=round(self.joined_at * 1000),
                user_id=self.user_id,
            )
            self._info = says, info
        return self._info[1]


class Participants:
    """The present ones in the order in which they joined, and the ids of all who ever were."""

    def __init__(self) -> None:
        self._here: dict[str, Participant] = {}
        self._away: dict[str, Participant] = {}  # of these
        self._ids: dict[str, str] = {}  # person -> participant id

    def __len__(self) -> int:
        return len(self._here)

    def __iter__(self) -> Iterator[Participant]:
        return iter(self._here.values())

    def __contains__(self, participant_id: str) -> bool:
        return participant_id in self._here

    def get(self, participant_id: str) -> Participant | None:
        return self._here.get(participant_id)

    def of(self, key: str) -> Participant | None:
        """The person's record, if present."""
        return self._here.get(self._ids.get(key, ""))

    def ids(self, *, but: str | None = None) -> tuple[str, ...]:
        return tuple(one for one in self._here if one != but)

    @property
    def away(self) -> list[Participant]:
        """Those whose connection is cut."""
        return list(self._away.values())

    @property
    def all_here(self) -> bool:
        """Nobody is away."""
        return not self._away

    def cut(self, one: Participant, until: float) -> None:
        """Its connection is; it stays until then (Unix seconds)."""
        one.away_until = until
        self._away[one.id] = one

    def back(self, one: Participant) -> None:
        one.away_until = None
        self._away.pop(one.id, None)

    def expect_host(self, key: str | None) -> None:
        """This person is the host, whoever comes first."""
        if key is not None:
            self._ids[key] = ids.cuid()

    def add(self, joiner: Joiner, now: float) -> Participant:
        """A record for a person who is not present. The first person of a call is its host, for good."""
        assert self.of(joiner.key) is None
        first = next(iter(self._ids), joiner.key)
        participant_id = self._ids.setdefault(joiner.key, ids.cuid())
        role: Role = "host" if first == joiner.key else "participant"
        one = self._here[participant_id] = Participant(participant_id, role, joiner, now)
        return one

    def remove(self, participant_id: str) -> None:
        del self._here[participant_id]
        self._away.pop(participant_id, None)
