"""Who is in a call: one record per person, kept after they left so that they come back under the same id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from server import ids
from server.db.changes import SfuIds
from server.signaling.messages import ParticipantInfo, ParticipantStatusName

Role = Literal["host", "participant"]


class Participant:
    """One person in one call."""

    def __init__(self, *, participant_id: str, key: str, role: Role) -> None:
        self.id = participant_id
        self.key = key  # the user's id, or the guest's
        self.role: Role = role
        self.user_id: str | None = None
        self.anonymous_id: str | None = None
        self.session_id = ""
        self.name = ""
        self.joined_at = 0.0
        self.device: dict[str, Any] | None = None
        self.audio_enabled = True
        self.video_enabled = True
        self.screen_share_enabled = False
        self.connected = False  # a media path of this participant has been seen to work
        self.away_until: float | None = None  # the connection is cut; gone for good at this time
        self.sfu = SfuIds(participant_id=participant_id, send_transport_id=None, recv_transport_id=None)
        self.poor_reports = 0

    @property
    def away(self) -> bool:
        return self.away_until is not None

    @property
    def status(self) -> ParticipantStatusName:
        if self.away:
            return "reconnecting"
        return "connected" if self.connected else "connecting"

    def info(self) -> ParticipantInfo:
        return ParticipantInfo(
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


class Participants:
    """The present ones in the order in which they joined, and the ids of all who ever were."""

    def __init__(self) -> None:
        self._here: dict[str, Participant] = {}
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

    def away_ids(self) -> tuple[str, ...]:
        return tuple(one.id for one in self if one.away)

    def add(self, key: str) -> Participant:
        """A record for a person who is not present. The first person of a call is its host, for good."""
        assert self.of(key) is None
        first = next(iter(self._ids), key)
        participant_id = self._ids.setdefault(key, ids.cuid())
        role: Role = "host" if first == key else "participant"
        one = Participant(participant_id=participant_id, key=key, role=role)
        self._here[participant_id] = one
        return one

    def remove(self, participant_id: str) -> None:
        del self._here[participant_id]
