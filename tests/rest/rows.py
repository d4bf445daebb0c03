"""Rows such as the server itself writes: calls of every status, with all that can hang on one."""

from __future__ import annotations

from typing import Any

from server.db.changes import SfuIds
from server.db.pool import Database
from server.db.queries import (
    NewParticipant,
    add_transcription,
    create_call_session,
    create_recording,
    end_call,
    finish_recording,
    leave_call,
    switch_to_p2p,
    switch_to_sfu,
    update_call_metrics,
    update_participant_quality,
    update_recording_status,
)
from server.db.queries.switches import Transition

T0 = 1_760_000_000.0
FULL = "cfull"  # a call that has everything
SFU = "csfu"  # active, on the SFU
ROOM = "team"


def person(name: str, call: str = FULL) -> NewParticipant:
    return NewParticipant(id=f"{call}-{name}", user_id=name, name=name.title(), device_info={"browser": name})


def guest(call: str = FULL) -> NewParticipant:
    return NewParticipant(id=f"{call}-guest", anonymous_id=f"g-{call}", name="Gus")


async def make(db: Database, call: str, *people: NewParticipant, at: float = T0, **more: Any) -> None:
    fields: dict[str, Any] = {"room_id": ROOM, "call_type": "VIDEO", "status": "ACTIVE", **more}
    await db.run(create_call_session, call, at=at, participants=people, **fields)


def sfu_ids(*participant_ids: str) -> list[SfuIds]:
    return [
        SfuIds(
            participant_id=one,
            send_transport_id=f"s-{one}",
            recv_transport_id=f"r-{one}",
            audio_producer_id=f"a-{one}",
        )
        for one in participant_ids
    ]


async def to_sfu(db: Database, call: str, *participant_ids: str, at: float) -> None:
    await db.run(
        switch_to_sfu,
        call,
        sfu_room_id=f"router-{call}",
        sfu_rtp_capabilities={"codecs": []},
        participants=sfu_ids(*participant_ids),
        transition=Transition(reason="participant_joined", duration=1.25, epoch=2, max_video_gap_ms=80.0),
        at=at,
    )


async def write(db: Database) -> None:
    """Ann, Bob and a guest in a call that is over; calls of other rooms, people and statuses."""
    await make(db, FULL, person("ann"), person("bob"), guest(), initiator_id="ann", settings={"topic": "x"})
    await to_sfu(db, FULL, f"{FULL}-ann", f"{FULL}-bob", at=T0 + 10)
    back = Transition(reason="participant_left", duration=0.5, epoch=3)
    await db.run(switch_to_p2p, FULL, transition=back, at=T0 + 60)
    await db.run(update_participant_quality, f"{FULL}-ann", {"rttMs": 31.5}, at=T0 + 61)
    await db.run(
        update_call_metrics,
        FULL,
        avg_packet_loss=0.01,
        avg_rtt=31.5,
        peak_participants=3,
        total_participants=3,
        total_data_sent=2**40,
        at=T0 + 90,
    )
    await db.run(leave_call, f"{FULL}-guest", at=T0 + 50, reason="left")
    for n in range(3):
        await db.run(
            add_transcription,
            f"said{n}",
            FULL,
            f"{FULL}-ann",
            f"sentence {n}",
            started_at=T0 + n,
            ended_at=T0 + n + 1,
            language="en",
            at=T0 + n,
        )
    await db.run(create_recording, "rec", FULL, at=T0 + 1, format="webm", started_by="ann")
    await db.run(update_recording_status, "rec", "recording", at=T0 + 2)
    await db.run(finish_recording, "rec", file_key="2025/rec.webm", file_size=2**33, at=T0 + 80)
    await db.run(end_call, FULL, at=T0 + 100, reason="ended", ended_by="ann")
    await make(db, SFU, person("bob", SFU), person("cid", SFU), at=T0 + 200, room_id="other")
    await to_sfu(db, SFU, f"{SFU}-bob", f"{SFU}-cid", at=T0 + 210)
    await make(db, "cmissed", at=T0 + 300, status="INITIATED", initiator_id="ann", call_type="AUDIO")
    await db.run(end_call, "cmissed", at=T0 + 330, status="MISSED", reason="ring_timeout")
    await make(db, "cplain", person("cid", "cplain"), at=T0 + 400, room_id="third")
