"""Every change, and what the rows say after it. A scenario is a list of changes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio

from server.db.changes import (
    CallCreated,
    CallEnded,
    CallMetricsUpdate,
    CallStarted,
    Change,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantMedia,
    ParticipantQuality,
    ParticipantRenamed,
    ParticipantSfu,
    ParticipantStatusChanged,
    SfuIds,
    SwitchedToP2p,
    SwitchedToSfu,
    TransitionGaps,
    UserSeen,
)
from server.db.connection import Connection
from server.db.errors import DatabaseRefused, MissingRow
from server.db.pool import Database
from server.db.queries import call_by_id, call_metrics
from server.db.queries.metrics import stored_metrics
from server.db.times import moment
from server.db.writes import Record, apply_batch, apply_change, decode_change, encode_change, register_stream

T0 = 1_760_000_000.0


def ids(participant: str, suffix: str = "") -> SfuIds:
    return SfuIds(
        participant_id=participant,
        send_transport_id=f"{participant}-send{suffix}",
        recv_transport_id=f"{participant}-recv{suffix}",
        audio_producer_id=f"{participant}-audio{suffix}",
        video_producer_id=f"{participant}-video{suffix}",
    )


def created(status: str = "INITIATED", **more: Any) -> CallCreated:
    fields: dict[str, Any] = {"initiator_id": "u1", "mode": "p2p", "call_type": "VIDEO", **more}
    return CallCreated(at=T0, call_id="c", room_id="r", status=status, **fields)  # type: ignore[arg-type]


def joined(participant: str, user: str | None = None, *, at: float = T0, **more: Any) -> ParticipantJoined:
    fields: dict[str, Any] = {
        "anonymous_id": None,
        "name": participant.upper(),
        "role": "participant",
        "audio_enabled": True,
        "video_enabled": True,
        **more,
    }
    return ParticipantJoined(at=at, participant_id=participant, call_id="c", user_id=user, **fields)


def to_sfu(epoch: int = 1, *, at: float = T0 + 10, who: tuple[str, ...] = ("p1", "p2")) -> SwitchedToSfu:
    return SwitchedToSfu(
        at=at,
        call_id="c",
        epoch=epoch,
        reason="participant_joined",
        duration=1.23456,
        sfu_room_id="router",
        sfu_rtp_capabilities={"codecs": []},
        participants=[ids(one) for one in who],
    )


async def play(db: Database, *changes: Change) -> None:
    for change in changes:
        await db.run(apply_change, change, "instance")


async def call(db: Database) -> dict[str, Any]:
    found = await db.run(call_by_id, "c")
    assert found is not None
    return found


async def people(db: Database) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in (await call(db))["participants"]}


async def test_a_ringing_call_is_answered_and_ends(db: Database) -> None:
    await play(
        db, UserSeen(at=T0, user_id="u1", name="Ann", avatar="a.png"), created(settings={"a": [1, None]})
    )
    row = await call(db)
    assert (row["status"], row["mode"], row["callType"], row["roomId"]) == ("INITIATED", "p2p", "VIDEO", "r")
    assert (row["startedAt"], row["endedAt"], row["duration"], row["modeChangeCount"]) == (
        None,
        None,
        None,
        0,
    )
    assert (row["initiatorId"], row["settings"], row["serverInstanceId"]) == (
        "u1",
        {"a": [1, None]},
        "instance",
    )
    assert row["createdAt"] == moment(T0)

    await play(db, joined("p1", "u1"), joined("p2", "u2", at=T0 + 5), CallStarted(at=T0 + 5, call_id="c"))
    row = await call(db)
    assert (row["status"], row["startedAt"]) == ("ACTIVE", moment(T0 + 5))
    assert [p["user"]["name"] for p in row["participants"]] == ["Ann", "P2"]
    assert row["participants"][0]["user"]["avatar"] == "a.png"

    await play(db, CallEnded(at=T0 + 67.9, call_id="c", status="ENDED", reason="hangup", ended_by="u2"))
    row = await call(db)
    assert (row["status"], row["endedAt"], row["duration"]) == ("ENDED", moment(T0 + 67.9), 62)
    assert (row["endReason"], row["endedBy"]) == ("hangup", "u2")
    assert {(p["status"], p["leftAt"]) for p in row["participants"]} == {("left", moment(T0 + 67.9))}


@pytest.mark.parametrize("status", ["MISSED", "REJECTED"])
async def test_a_call_that_never_started_has_no_duration(db: Database, status: Any) -> None:
    await play(db, created(), CallEnded(at=T0 + 30, call_id="c", status=status, reason="x", ended_by=None))
    row = await call(db)
    assert (row["status"], row["startedAt"], row["duration"]) == (status, None, None)
    assert row["endedAt"] == moment(T0 + 30)


async def test_a_link_room_is_active_at_once(db: Database) -> None:
    await play(db, created("ACTIVE", initiator_id=None))
    assert (await call(db))["startedAt"] == moment(T0)


async def test_the_end_is_final(db: Database) -> None:
    await play(db, created(), joined("p1", "u1"))
    await play(db, CallEnded(at=T0 + 9, call_id="c", status="ENDED", reason="first", ended_by=None))
    await play(
        db,
        CallEnded(at=T0 + 99, call_id="c", status="MISSED", reason="second", ended_by=None),
        CallStarted(at=T0 + 99, call_id="c"),
        joined("p2", "u2", at=T0 + 99),
    )
    row = await call(db)
    assert (row["status"], row["endedAt"], row["endReason"]) == ("ENDED", moment(T0 + 9), "first")
    late = row["participants"][1]
    assert (late["status"], late["leftAt"]) == ("left", moment(T0 + 99))


async def test_muting_and_video_are_remembered(db: Database) -> None:
    await play(db, created(), joined("p1", "u1", video_enabled=False))
    p1 = (await people(db))["p1"]
    assert (p1["audioEnabled"], p1["videoEnabled"], p1["wasMuted"], p1["hadVideo"]) == (
        True,
        False,
        False,
        False,
    )

    await play(db, ParticipantMedia(at=T0 + 1, participant_id="p1", audio_enabled=False))
    await play(db, ParticipantMedia(at=T0 + 2, participant_id="p1", audio_enabled=True, video_enabled=True))
    await play(db, ParticipantMedia(at=T0 + 3, participant_id="p1", video_enabled=False))
    await play(
        db,
        ParticipantMedia(at=T0 + 4, participant_id="p1", screen_share_enabled=True, device_info={"mic": "x"}),
    )
    p1 = (await people(db))["p1"]
    assert (p1["audioEnabled"], p1["videoEnabled"], p1["screenShareEnabled"]) == (True, False, True)
    assert (p1["wasMuted"], p1["hadVideo"], p1["deviceInfo"]) == (True, True, {"mic": "x"})

    await play(db, ParticipantQuality(at=T0 + 5, participant_id="p1", metrics={"rtt": 12.5}))
    assert (await people(db))["p1"]["qualityMetrics"] == {"rtt": 12.5}


async def test_who_joins_muted_was_muted(db: Database) -> None:
    await play(db, created(), joined("p1", "u1", audio_enabled=False))
    p1 = (await people(db))["p1"]
    assert (p1["wasMuted"], p1["hadVideo"]) == (True, True)


async def test_status_follows_the_connection(db: Database) -> None:
    await play(db, created(), joined("p1", "u1"))
    assert (await people(db))["p1"]["status"] == "connecting"
    for status in ("connected", "reconnecting", "connected"):
        await play(db, ParticipantStatusChanged(at=T0 + 1, participant_id="p1", status=status))  # type: ignore[arg-type]
        assert (await people(db))["p1"]["status"] == status
    await play(db, ParticipantLeft(at=T0 + 8, participant_id="p1", reason="bye"))
    await play(db, ParticipantStatusChanged(at=T0 + 9, participant_id="p1", status="connected"))
    await play(db, ParticipantLeft(at=T0 + 9, participant_id="p1", reason="again"))
    p1 = (await people(db))["p1"]
    assert (p1["status"], p1["leftAt"], p1["leftReason"]) == ("left", moment(T0 + 8), "bye")


@pytest.mark.parametrize("person", [{"user": "u1"}, {"anonymous_id": "g1"}], ids=["user", "guest"])
async def test_the_same_person_has_one_row(db: Database, person: dict[str, str]) -> None:
    await play(db, created(initiator_id=None), joined("p1", **person, audio_enabled=False))  # type: ignore[arg-type]
    await play(db, ParticipantLeft(at=T0 + 5, participant_id="p1", reason="bye"))
    await play(db, joined("second", **person, at=T0 + 9, role="host"))  # type: ignore[arg-type]
    rows = await people(db)
    assert list(rows) == ["p1"]
    assert (rows["p1"]["joinedAt"], rows["p1"]["leftAt"], rows["p1"]["status"]) == (
        moment(T0),
        None,
        "connecting",
    )
    assert (rows["p1"]["wasMuted"], rows["p1"]["audioEnabled"], rows["p1"]["role"]) == (True, True, "host")

    await play(
        db,
        ParticipantStatusChanged(at=T0 + 10, participant_id="second", status="connected"),
        ParticipantMedia(at=T0 + 10, participant_id="second", video_enabled=False),
        ParticipantQuality(at=T0 + 10, participant_id="second", metrics={"x": 1}),
        to_sfu(who=("second",), at=T0 + 11),
    )
    p1 = (await people(db))["p1"]
    assert (p1["status"], p1["videoEnabled"], p1["qualityMetrics"]) == ("connected", False, {"x": 1})
    assert p1["sfuSendTransportId"] == "second-send"
    await play(db, ParticipantSfu(at=T0 + 12, call_id="c", ids=ids("second", "!")))
    await play(db, ParticipantLeft(at=T0 + 13, participant_id="second", reason="gone"))
    p1 = (await people(db))["p1"]
    assert (p1["sfuSendTransportId"], p1["leftAt"]) == ("second-send!", moment(T0 + 13))


async def test_guests_have_rows_of_their_own(db: Database) -> None:
    await play(db, created(initiator_id=None), joined("p1", anonymous_id="g1", name="Gast"))
    p1 = (await people(db))["p1"]
    assert (p1["userId"], p1["anonymousUser"], p1["user"]) == (None, {"id": "g1", "name": "Gast"}, None)


async def test_the_switch_there_and_back(db: Database) -> None:
    await play(db, created("ACTIVE"), joined("p1", "u1"), joined("p2", anonymous_id="g"), to_sfu())
    row = await call(db)
    assert (row["mode"], row["sfuRoomId"], row["sfuRtpCapabilities"]) == ("sfu", "router", {"codecs": []})
    assert (row["modeChangeCount"], row["lastModeChange"]) == (1, moment(T0 + 10))
    p2 = (await people(db))["p2"]
    assert [
        p2[f"sfu{x}Id"] for x in ("SendTransport", "RecvTransport", "AudioProducer", "VideoProducer")
    ] == [
        "p2-send",
        "p2-recv",
        "p2-audio",
        "p2-video",
    ]

    back = SwitchedToP2p(at=T0 + 20.5, call_id="c", epoch=2, reason="participant_left", duration=1.5)
    await play(
        db,
        TransitionGaps(at=T0 + 11, call_id="c", epoch=1, max_video_gap_ms=80.0, max_audio_gap_ms=None),
        back,
        TransitionGaps(at=T0 + 21, call_id="c", epoch=1, max_video_gap_ms=20.0, max_audio_gap_ms=5.0),
        TransitionGaps(at=T0 + 21, call_id="c", epoch=7, max_video_gap_ms=9999.0, max_audio_gap_ms=9999.0),
    )
    row = await call(db)
    assert (row["mode"], row["sfuRoomId"], row["sfuRtpCapabilities"]) == ("p2p", None, None)
    assert (row["modeChangeCount"], row["lastModeChange"]) == (2, moment(T0 + 20.5))
    for one in row["participants"]:
        assert all(value is None for name, value in one.items() if name.startswith("sfu"))
    metrics = await db.run(call_metrics, "c")
    assert metrics is not None
    assert metrics["modeTransitions"] == [
        {
            "from": "p2p",
            "to": "sfu",
            "timestamp": "2025-10-09T08:53:30.000Z",
            "duration": 1.235,
            "reason": "participant_joined",
            "epoch": 1,
            "maxVideoGapMs": 80.0,
            "maxAudioGapMs": 5.0,
        },
        {
            "from": "sfu",
            "to": "p2p",
            "timestamp": "2025-10-09T08:53:40.500Z",
            "duration": 1.5,
            "reason": "participant_left",
            "epoch": 2,
            "maxVideoGapMs": None,
            "maxAudioGapMs": None,
        },
    ]


async def test_sfu_ids_are_kept_in_sfu_mode_only(db: Database) -> None:
    await play(db, created("ACTIVE", sfu_room_id="early"), joined("p1", "u1"), joined("p2", "u2"))
    await play(db, ParticipantSfu(at=T0 + 1, call_id="c", ids=ids("p1")))
    assert (await call(db))["sfuRoomId"] is None
    assert (await people(db))["p1"]["sfuSendTransportId"] is None
    await play(db, to_sfu(), ParticipantSfu(at=T0 + 11, call_id="c", ids=ids("p1", "-new")))
    assert (await people(db))["p1"]["sfuAudioProducerId"] == "p1-audio-new"
    assert (await people(db))["p2"]["sfuAudioProducerId"] == "p2-audio"


async def test_a_switch_to_the_same_mode_is_no_transition(db: Database) -> None:
    await play(db, created("ACTIVE"), joined("p1", "u1"), to_sfu(1), to_sfu(2, at=T0 + 30))
    row = await call(db)
    assert (row["modeChangeCount"], row["lastModeChange"]) == (1, moment(T0 + 10))


async def test_metrics_add_up(db: Database) -> None:
    await play(
        db,
        created("ACTIVE"),
        CallMetricsUpdate(
            at=T0, call_id="c", avg_rtt=30.0, peak_participants=3, reconnections=2, total_data_sent=2**40
        ),
        CallMetricsUpdate(
            at=T0 + 1, call_id="c", avg_packet_loss=0.01, peak_participants=2, total_participants=4
        ),
        to_sfu(),
    )
    row = await db.run(call_metrics, "c")
    assert row is not None
    assert (row["avgRtt"], row["avgPacketLoss"], row["avgJitter"]) == (30.0, 0.01, None)
    assert (row["peakParticipants"], row["totalParticipants"], row["reconnections"]) == (3, 4, 2)
    assert (row["totalDataSent"], row["totalDataReceived"], row["iceFailures"]) == (2**40, None, 0)
    assert len(row["modeTransitions"]) == 1


async def test_what_the_server_measured_is_kept_beside_what_clients_did(db: Database) -> None:
    media = {"received": {"packets": 9}}
    await play(
        db,
        created("ACTIVE"),
        joined("p1", "u1"),
        joined("p2", "u2"),
        CallMetricsUpdate(at=T0, call_id="c", avg_rtt=30.0, total_participants=1, reports={"rtt": 2}),
        CallMetricsUpdate(at=T0 + 1, call_id="c", media=media),
        CallMetricsUpdate(at=T0 + 2, call_id="c", avg_rtt=31.0, reports={"rtt": 3}),
    )
    row = await db.run(call_metrics, "c")
    assert row is not None
    assert row["serverMetrics"] == {"media": media, "reports": {"rtt": 3}}
    assert row["totalParticipants"] == 2  # the rows know better than a server that came later
    stored = await db.run(stored_metrics, ["c", "nowhere"])
    assert list(stored) == ["c"]
    assert (stored["c"].at, stored["c"].avg_rtt, stored["c"].reports) == (T0 + 2, 31.0, {"rtt": 3})
    for nonsense in ("[1]", '{"reports": 5}', '{"reports": {"rtt": "x"}}'):
        await db.run(_set_server_metrics, nonsense)
        assert not (await db.run(stored_metrics, ["c"]))["c"].reports


async def _set_server_metrics(connection: Connection, value: str) -> None:
    await connection.execute('UPDATE call_metrics SET "serverMetrics" = $1::text::jsonb', value)


async def test_hostile_text_is_stored(db: Database) -> None:
    nasty = "a\0b'; DROP TABLE users; --"
    change = joined("p1", anonymous_id="g\0", name=nasty, device_info={"k\0": [nasty, float("nan")]})
    await play(db, created(initiator_id=None), decode_change(encode_change(change)))
    p1 = (await people(db))["p1"]
    assert p1["anonymousUser"] == {"id": "g\ufffd", "name": nasty.replace("\0", "\ufffd")}
    assert p1["deviceInfo"] == {"k\ufffd": [nasty.replace("\0", "\ufffd"), None]}
    lone = joined("p2", anonymous_id="g2", name="x\ud800")
    assert decode_change(encode_change(lone)).name == "x?"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "change",
    [
        CallStarted(at=T0, call_id="nowhere"),
        CallEnded(at=T0, call_id="nowhere", status="ENDED", reason="x", ended_by=None),
        ParticipantJoined(
            at=T0,
            participant_id="p",
            call_id="nowhere",
            user_id="u",
            anonymous_id=None,
            name="n",
            role="r",
            audio_enabled=True,
            video_enabled=True,
        ),
        ParticipantStatusChanged(at=T0, participant_id="nobody", status="connected"),
        ParticipantMedia(at=T0, participant_id="nobody", audio_enabled=True),
        ParticipantQuality(at=T0, participant_id="nobody", metrics={}),
        ParticipantLeft(at=T0, participant_id="nobody", reason="x"),
        ParticipantRenamed(at=T0, participant_id="nobody", name="x"),
        to_sfu(),
        SwitchedToP2p(at=T0, call_id="nowhere", epoch=1, reason="x", duration=1.0),
    ],
    ids=lambda change: type(change).__name__,
)
async def test_what_names_a_missing_row_is_refused(db: Database, change: Change) -> None:
    with pytest.raises(MissingRow):
        await play(db, change)


async def test_metrics_of_a_missing_call_are_refused(db: Database) -> None:
    with pytest.raises(DatabaseRefused) as caught:
        await play(db, CallMetricsUpdate(at=T0, call_id="nowhere"))
    assert caught.value.constraint == "call_metrics_callSessionId_fkey"


async def test_a_call_is_opened_again_after_a_restart_only(db: Database) -> None:
    await play(db, created("ACTIVE"), joined("p1", "u1"))
    await play(db, CallEnded(at=T0 + 9, call_id="c", status="ENDED", reason="server_restart", ended_by=None))
    await play(db, created("ACTIVE", mode="sfu", sfu_room_id="router2", sfu_rtp_capabilities={}))
    row = await call(db)
    assert (row["status"], row["endedAt"], row["duration"], row["endReason"]) == ("ACTIVE", None, None, None)
    assert (row["mode"], row["sfuRoomId"], row["startedAt"]) == ("sfu", "router2", moment(T0))
    await play(db, CallEnded(at=T0 + 9, call_id="c", status="ENDED", reason="hangup", ended_by=None))
    await play(db, created("ACTIVE"))
    assert (await call(db))["status"] == "ENDED"


async def test_a_batch_that_is_sent_again_does_nothing(db: Database) -> None:
    changes = [
        created("ACTIVE"),
        joined("p1", "u1"),
        to_sfu(1),
        SwitchedToP2p(at=T0 + 20, call_id="c", epoch=2, reason="x", duration=1.0),
    ]
    records = [Record(n, encode_change(change)) for n, change in enumerate(changes, 1)]
    assert await db.run(register_stream, "s") == 0
    assert await db.run(apply_batch, "s", records[:3]) == 3
    assert await db.run(apply_batch, "s", records[:3]) == 0
    assert await db.run(apply_batch, "s", records) == 1
    assert await db.run(apply_batch, "s", records) == 0
    assert (await call(db))["modeChangeCount"] == 2
    assert await db.run(register_stream, "s") == 4


async def test_copies_of_a_batch_at_once_apply_it_once(db: Database) -> None:
    records = [Record(n, encode_change(c)) for n, c in enumerate([created("ACTIVE"), to_sfu(1, who=())], 1)]
    await db.run(register_stream, "s")
    counts = []

    async def one() -> None:
        counts.append(await db.run(apply_batch, "s", records))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(one)
    assert sorted(counts) == [0, 0, 0, 0, 0, 2]


class Counting:
    """A connection that counts its statements."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.statements = itertools.count()

    def __getattr__(self, name: str) -> Any:
        next(self.statements)
        return getattr(self._connection, name)


@pytest.mark.parametrize(
    "change", [to_sfu, lambda: SwitchedToP2p(at=T0, call_id="c", epoch=1, reason="x", duration=1.0)]
)
async def test_a_switch_costs_as_many_statements_for_many_as_for_few(db: Database, change: Any) -> None:
    who = [f"p{n}" for n in range(30)]
    await play(db, created("ACTIVE"), *[joined(one, f"u{one}") for one in who])
    if change is not to_sfu:
        await play(db, to_sfu(who=tuple(who)))

    async def count(connection: Connection) -> int:
        counting = Counting(connection)
        one = to_sfu(who=tuple(who)) if change is to_sfu else change()
        await apply_change(counting, one, "instance")
        return next(counting.statements)

    assert await db.run(count) == 4
    if change is to_sfu:
        assert {row["sfuVideoProducerId"] for row in (await people(db)).values()} == {
            f"{one}-video" for one in who
        }
