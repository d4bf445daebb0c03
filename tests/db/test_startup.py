from __future__ import annotations

from pathlib import Path
from typing import Any

from server.db.changes import (
    CallCreated,
    CallEnded,
    Change,
    ParticipantJoined,
    SfuIds,
    SwitchedToSfu,
    TransitionGaps,
)
from server.db.pool import Database
from server.db.queries import call_by_id, call_metrics
from server.db.recorder import Recorder
from server.db.spool import segments
from server.db.startup import STRANGER_SILENCE, close_interrupted, heartbeat, register_instance, take_over
from server.db.times import moment
from server.db.writes import apply_change

T0 = 1_760_000_000.0


def created(call: str, status: str = "ACTIVE", *, at: float = T0) -> CallCreated:
    return CallCreated(
        at=at,
        call_id=call,
        room_id="r",
        call_type="VIDEO",
        status=status,  # type: ignore[arg-type]
        mode="p2p",
        initiator_id=None,
    )


def joined(call: str, who: str, *, at: float = T0) -> ParticipantJoined:
    return ParticipantJoined(
        at=at,
        participant_id=f"{call}-{who}",
        call_id=call,
        user_id=who,
        anonymous_id=None,
        name=who,
        role="participant",
        audio_enabled=True,
        video_enabled=True,
    )


def switched(
    call: str, epoch: int, *, at: float = T0 + 9, participants: list[SfuIds] | None = None
) -> Change:
    return SwitchedToSfu(at=at, call_id=call, epoch=epoch, reason="requested", duration=1.0, sfu_room_id="x",
                         sfu_rtp_capabilities={}, participants=participants or [])  # fmt: skip


async def play(db: Database, instance: str, *changes: Change) -> None:
    for change in changes:
        await db.run(apply_change, change, instance)


async def call(db: Database, call_id: str) -> dict[str, Any]:
    found = await db.run(call_by_id, call_id)
    assert found is not None
    return found


async def test_open_calls_end_at_the_last_moment_known(db: Database) -> None:
    await db.run(register_instance, "old", "node", at=T0)
    await play(db, "old", created("a"), joined("a", "u1"), created("ringing", "INITIATED"))
    await play(
        db,
        "old",
        created("over"),
        CallEnded(at=T0 + 3, call_id="over", status="ENDED", reason="x", ended_by=None),
    )
    await db.run(heartbeat, "old", at=T0 + 60.5)
    await play(db, "old", created("b", at=T0 + 61), joined("b", "u1", at=T0 + 62))
    await play(db, "someone-elses", created("foreign"))

    closed = await db.run(close_interrupted, "new", "node", at=T0 + 1000)
    assert [(one.call_id, one.ended_at) for one in closed] == [
        ("a", moment(T0 + 60.5)),
        ("b", moment(T0 + 62)),
        ("ringing", moment(T0 + 60.5)),
    ]
    a, ringing, b = await call(db, "a"), await call(db, "ringing"), await call(db, "b")
    assert (a["status"], a["endReason"], a["endedAt"], a["duration"]) == (
        "ENDED",
        "server_restart",
        moment(T0 + 60.5),
        60,
    )
    [p] = a["participants"]
    assert (p["status"], p["leftAt"], p["leftReason"]) == ("left", moment(T0 + 60.5), "server_restart")
    assert (b["endedAt"], b["duration"]) == (moment(T0 + 62), 1)
    assert (ringing["status"], ringing["duration"], ringing["endReason"]) == (
        "MISSED",
        None,
        "server_restart",
    )
    assert (await call(db, "over"))["endReason"] == "x"
    assert (await call(db, "foreign"))["status"] == "ACTIVE"
    assert await db.run(close_interrupted, "new", "node", at=T0 + 1000) == []


async def test_the_nodes_own_file_may_know_better(db: Database) -> None:
    await db.run(register_instance, "old", "node", at=T0)
    await play(db, "old", created("a"))
    [closed] = await db.run(close_interrupted, "new", "node", at=T0 + 1000, last_seen=T0 + 500)
    assert closed.ended_at == moment(T0 + 500)


async def test_another_node_is_gone_only_after_a_long_silence(db: Database) -> None:
    await db.run(register_instance, "theirs", "other-node", at=T0)
    await play(db, "theirs", created("a"))
    assert (
        await db.run(close_interrupted, "new", "node", at=T0 + STRANGER_SILENCE - 1, last_seen=T0 + 5) == []
    )
    [closed] = await db.run(close_interrupted, "new", "node", at=T0 + STRANGER_SILENCE + 1, last_seen=T0 + 5)
    assert closed.ended_at == moment(T0)


async def test_the_spool_is_written_before_the_calls_are_closed(db: Database, tmp_path: Path) -> None:
    """A server that never reached the database, and was killed."""
    dead = Recorder(tmp_path, "s1")
    dead.submit(created("a"))
    dead.submit(joined("a", "u1", at=T0 + 5))
    dead.submit(switched("a", 1))
    dead.submit(created("b"))
    dead.submit(CallEnded(at=T0 + 20, call_id="b", status="ENDED", reason="hangup", ended_by=None))
    dead._spool.close()

    recorder = Recorder(tmp_path, "s2")
    [closed] = await take_over(db, recorder, "node", at=T0 + 100, last_seen=None)
    assert (closed.call_id, closed.room_id, closed.mode, closed.ended_at) == ("a", "r", "sfu", moment(T0 + 9))
    assert (await call(db, "b"))["endReason"] == "hangup"
    assert segments(tmp_path) == {}
    assert await take_over(db, recorder, "node", at=T0 + 101, last_seen=None) == []
    recorder.close()


async def test_a_call_that_a_dead_process_had_reopened_is_its_own(db: Database, tmp_path: Path) -> None:
    """Two servers died, one after the other, before either had reached the database."""
    first = Recorder(tmp_path, "s1")
    first.submit(created("a"))
    first.submit(joined("a", "u1"))
    ids = [SfuIds(participant_id="a-u1", send_transport_id="s", recv_transport_id="r")]
    first.submit(switched("a", 1, participants=ids))
    first.submit(created("b", at=T0 + 1))
    first._spool.close()
    second = Recorder(tmp_path, "s2")
    second.submit(created("a", at=T0 + 20))  # its clients came back
    second.submit(joined("a", "u2", at=T0 + 21))
    second.submit(switched("a", 2, at=T0 + 22))
    second._spool.close()

    recorder = Recorder(tmp_path, "s3")
    closed = await take_over(db, recorder, "node", at=T0 + 100, last_seen=None)
    assert [(one.call_id, one.mode, one.ended_at) for one in closed] == [
        ("a", "sfu", moment(T0 + 22)),
        ("b", "p2p", moment(T0 + 1)),
    ]
    a = await call(db, "a")
    assert (a["startedAt"], a["modeChangeCount"]) == (moment(T0), 2)
    assert [(p["id"], p["leftAt"], p["sfuSendTransportId"]) for p in a["participants"]] == [
        ("a-u1", moment(T0 + 9), None),
        ("a-u2", moment(T0 + 22), None),
    ]
    recorder.close()


async def test_a_call_that_a_later_process_ended_was_not_interrupted(db: Database, tmp_path: Path) -> None:
    first = Recorder(tmp_path, "s1")
    first.submit(created("a"))
    first._spool.close()
    second = Recorder(tmp_path, "s2")
    second.submit(created("a", at=T0 + 20))
    second.submit(CallEnded(at=T0 + 30, call_id="a", status="ENDED", reason="hangup", ended_by=None))
    second._spool.close()
    recorder = Recorder(tmp_path, "s3")
    assert await take_over(db, recorder, "node", at=T0 + 100, last_seen=None) == []
    a = await call(db, "a")
    assert (a["endReason"], a["duration"]) == ("hangup", 30)
    recorder.close()


async def test_gaps_of_a_reopened_call_are_those_of_its_latest_epoch(db: Database, tmp_path: Path) -> None:
    """Its new server counts epochs from 1 again."""
    dead = Recorder(tmp_path, "s1")
    dead.submit(created("a"))
    dead.submit(switched("a", 1))
    dead._spool.close()
    recorder = Recorder(tmp_path, "s2")
    await take_over(db, recorder, "node", at=T0 + 10, last_seen=None)
    gaps = TransitionGaps(at=T0 + 13, call_id="a", epoch=1, max_video_gap_ms=70.0, max_audio_gap_ms=None)
    await play(db, "s2", created("a", at=T0 + 11), switched("a", 1, at=T0 + 12), gaps)
    metrics = await db.run(call_metrics, "a")
    assert metrics is not None
    assert [one["maxVideoGapMs"] for one in metrics["modeTransitions"]] == [None, 70.0]
    assert (await call(db, "a"))["modeChangeCount"] == 2
    recorder.close()
