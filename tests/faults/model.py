"""What a node's calls would say, at random, and what the rows must say of it in the end."""

from __future__ import annotations

import random
import time
from typing import Any

from server.db.changes import (
    CallCreated,
    CallEnded,
    CallMetricsUpdate,
    Change,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantMedia,
    ParticipantQuality,
    ParticipantStatusChanged,
    SfuIds,
    SwitchedToP2p,
    SwitchedToSfu,
    TransitionGaps,
)
from server.db.connection import Connection
from tests.faults.witness import Told

PEOPLE = ("u", "v", "w")
RESTART = "server_restart"
OPEN = 3  # calls at a time


class Model:
    """Makes changes as processes of one node would submit them. Each has an `at` of its own (ms apart)."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.calls: dict[str, dict[str, Any]] = {}
        self.told: list[Told] = []
        self.now = float(int(time.time()) - 1000)

    def restart(self) -> None:
        """The server died, and the next one closes what was open; rooms whose people come back reopen it."""
        for call in self.calls.values():
            if call["end"] is None:
                self._end(call, RESTART)

    def next(self, stream: str) -> Change:
        self.now = round(self.now + self.chance.choice((0.001, 0.002, 0.05)), 3)
        change = self._change()
        reported = change.participant_id if isinstance(change, ParticipantQuality) else None
        self.told.append(Told(stream, self.now, reported))
        return change

    def _change(self) -> Change:
        alive = [name for name, call in self.calls.items() if call["end"] is None]
        if len(alive) < OPEN:
            interrupted = [name for name, call in self.calls.items() if call["end"] == RESTART]
            if interrupted and self.chance.random() < 0.7:
                return self._create(self.chance.choice(interrupted))
            return self._create(f"c{len(self.calls)}")
        name = self.chance.choice(alive)
        call = self.calls[name]
        present = [person for person, state in call["people"].items() if state["in"]]
        roll = self.chance.random()
        if roll < 0.02:
            self._end(call, "hangup")
            return CallEnded(at=self.now, call_id=name, status="ENDED", reason="hangup", ended_by=None)
        if roll < 0.2 or not present:
            return self._join(name, call, self.chance.choice(PEOPLE))
        person = self.chance.choice(present)
        if roll < 0.28:
            call["people"][person] |= {"in": False, "screen": False}
            return ParticipantLeft(at=self.now, participant_id=f"{name}-{person}", reason="left")
        if roll < 0.55:
            return self._media(name, call["people"][person], person)
        if roll < 0.65:
            return ParticipantStatusChanged(
                at=self.now, participant_id=f"{name}-{person}", status="connected"
            )
        if roll < 0.7:
            call["people"][person]["quality"] = quality = {"n": len(self.told)}
            return ParticipantQuality(at=self.now, participant_id=f"{name}-{person}", metrics=quality)
        if roll < 0.75:
            call["sent"] += self.chance.randrange(1, 1000)
            return CallMetricsUpdate(at=self.now, call_id=name, total_data_sent=call["sent"])
        if roll < 0.8 and call["epochs"]:
            epoch = self.chance.choice(call["epochs"])
            epoch["gap"] = max(epoch["gap"] or 0.0, float(len(self.told)))
            return TransitionGaps(at=self.now, call_id=name, epoch=epoch["epoch"],
                                  max_video_gap_ms=epoch["gap"], max_audio_gap_ms=None)  # fmt: skip
        return self._switch(name, call, present)

    def _end(self, call: dict[str, Any], reason: str) -> None:
        call["end"] = reason
        for person in call["people"].values():
            person["in"] = False

    def _create(self, name: str) -> Change:
        call = self.calls.setdefault(name, {"epochs": [], "people": {}, "sent": 0})
        call |= {"end": None, "mode": "p2p"}
        return CallCreated(at=self.now, call_id=name, room_id="r", call_type="VIDEO", status="ACTIVE",
                           mode="p2p", initiator_id=None)  # fmt: skip

    def _join(self, name: str, call: dict[str, Any], person: str) -> Change:
        state = call["people"].setdefault(person, {"muted": False, "quality": None})
        state |= {"in": True, "audio": True, "video": False, "screen": False}
        return ParticipantJoined(at=self.now, participant_id=f"{name}-{person}", call_id=name, user_id=person,
                                 anonymous_id=None, name=person, role="participant", audio_enabled=True,
                                 video_enabled=False)  # fmt: skip

    def _media(self, name: str, state: dict[str, Any], person: str) -> Change:
        field = self.chance.choice(("audio", "video", "screen"))
        state[field] = not state[field]
        state["muted"] = state["muted"] or not state["audio"]
        names = {"audio": "audio_enabled", "video": "video_enabled", "screen": "screen_share_enabled"}
        return ParticipantMedia(
            at=self.now, participant_id=f"{name}-{person}", **{names[field]: state[field]}
        )

    def _switch(self, name: str, call: dict[str, Any], present: list[str]) -> Change:
        call["mode"] = "sfu" if call["mode"] == "p2p" else "p2p"
        epoch = len(call["epochs"]) + 1
        call["epochs"].append({"epoch": epoch, "to": call["mode"], "gap": None})
        common: dict[str, Any] = {
            "at": self.now, "call_id": name, "epoch": epoch, "reason": "requested", "duration": 0.5
        }  # fmt: skip
        if call["mode"] == "p2p":
            return SwitchedToP2p(**common)
        ids = [
            SfuIds(participant_id=f"{name}-{one}", send_transport_id="s", recv_transport_id="r")
            for one in present
        ]
        return SwitchedToSfu(
            **common, sfu_room_id=f"{name}{epoch}", sfu_rtp_capabilities={}, participants=ids
        )

    def rows(self) -> dict[str, dict[str, Any]]:
        """What `rows` must find in the database."""
        return {
            name: {**{key: call[key] for key in ("mode", "end", "epochs", "people")},
                   "sent": call["sent"] or None}
            for name, call in self.calls.items()
        }  # fmt: skip


async def rows(connection: Connection) -> dict[str, dict[str, Any]]:
    """The calls of the database in the model's shape."""
    found = {}
    for row in await connection.fetch(
        """
        SELECT s.id, s.mode, s."endReason", s."modeChangeCount" AS n, m."modeTransitions" AS transitions,
               m."totalDataSent" AS sent,
               (SELECT jsonb_object_agg(p."userId", jsonb_build_object(
                    'in', p."leftAt" IS NULL, 'audio', p."audioEnabled", 'video', p."videoEnabled",
                    'screen', p."screenShareEnabled", 'muted', p."wasMuted", 'quality', p."qualityMetrics"))
                  FROM call_participants p WHERE p."callSessionId" = s.id) AS people
          FROM call_sessions s LEFT JOIN call_metrics m ON m."callSessionId" = s.id
        """
    ):
        epochs = [
            {"epoch": one["epoch"], "to": one["to"], "gap": one["maxVideoGapMs"]}
            for one in row["transitions"] or []
        ]
        assert row["n"] == len(epochs)
        found[row["id"]] = {
            "mode": row["mode"], "end": row["endReason"], "epochs": epochs, "people": row["people"] or {},
            "sent": row["sent"],
        }  # fmt: skip
    return found
