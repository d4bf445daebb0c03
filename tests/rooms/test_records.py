"""What rooms record, in a real PostgreSQL: the rows of a whole call, looked at while it goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from server.db.storage import open_storage
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.harness.postgres import TestCluster, psql
from tests.harness.postgres import test_cluster as start_cluster
from tests.rooms.conftest import House

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def cluster() -> Iterator[TestCluster]:
    with start_cluster() as running:
        yield running


class Rows:
    def __init__(self, url: str) -> None:
        self._url = url

    async def all(self, table: str, order: str) -> list[dict[str, Any]]:
        statement = f"SELECT coalesce(json_agg(t ORDER BY {order}), '[]') FROM {table} t"
        found: list[dict[str, Any]] = json.loads(await trio.to_thread.run_sync(psql, self._url, statement))
        return found


async def test_captions_of_a_call_that_keeps_them(cluster: TestCluster, tmp_path: Path) -> None:
    url = await cluster.fresh()
    async with open_storage(data_dir=tmp_path, database_url=url) as storage, trio.open_nursery() as nursery:
        house = House(CallSettings(), storage.recorder)
        rows = Rows(url)
        await nursery.start(house.directory.run)
        ann, guest = house.client("ann"), house.guest("Gus")
        started = m.CallStart("room", settings={"captions": "store", "theme": "dark"})
        assert (await ann.ask("call.start", started)).call.captions == "store"
        await guest.enter()
        await guest.ask("participant.update", m.ParticipantUpdate(name="Dr Gus"))
        await guest.ask("caption.send", m.CaptionSend("1", "good"))
        await guest.ask("caption.send", m.CaptionSend("1", "good morning", True, "en", confidence=0.5))
        await ann.ask("caption.send", m.CaptionSend("1", "a nul \0 and half of a pair", True))
        caption = await ann.until("call.caption", 2)
        assert (caption.text, caption.is_final, caption.participant_id) == ("good morning", True, guest.pid)
        await storage.recorder.flush()
        said = await rows.all("call_transcriptions", '"createdAt"')
        assert [(one["participantId"], one["text"]) for one in said] == [
            (guest.pid, "good morning"),
            (ann.pid, "a nul \ufffd and half of a pair"),
        ]
        assert (said[0]["language"], said[0]["confidence"], said[0]["source"]) == ("en", 0.5, "client")
        people = await rows.all("call_participants", '"joinedAt"')
        assert [one["displayName"] for one in people] == ["Ann", "Dr Gus"]
        assert [one["name"] for one in await rows.all("anonymous_participants", "id")] == ["Dr Gus"]
        assert (await rows.all("call_sessions", "id"))[0]["settings"] == {
            "captions": "store",
            "theme": "dark",
        }
        nursery.cancel_scope.cancel()


async def test_a_call_from_first_to_last(cluster: TestCluster, tmp_path: Path) -> None:
    url = await cluster.fresh()
    settings = CallSettings(
        empty_grace_s=0.05, back_to_p2p_delay_s=0.05, linger_s=0.05, media_addresses=("192.0.2.1",)
    )
    async with open_storage(data_dir=tmp_path, database_url=url) as storage, trio.open_nursery() as nursery:
        house = House(settings, storage.recorder)
        rows = Rows(url)
        await nursery.start(house.directory.run)

        async def call() -> dict[str, Any]:
            await storage.recorder.flush()
            return (await rows.all("call_sessions", '"createdAt"'))[0]

        async def people() -> list[dict[str, Any]]:
            await storage.recorder.flush()
            return await rows.all("call_participants", '"joinedAt"')

        # Two, peer to peer: no SFU columns.
        ann, bob, guest = house.client("ann"), house.client("bob"), house.guest("Gus")
        await ann.enter()
        await bob.enter()
        await ann.swap(bob)
        await bob.swap(ann)
        row = await call()
        assert (row["status"], row["mode"], row["callType"]) == ("ACTIVE", "p2p", "VIDEO")
        assert (row["sfuRoomId"], row["sfuRtpCapabilities"], row["modeChangeCount"]) == (None, None, 0)
        assert row["initiatorId"] == "ann"
        assert [one["sfuSendTransportId"] for one in await people()] == [None, None]

        # A third, by the SFU.
        await guest.enter()
        for one in (ann, bob):
            await one.answer_offer()
        for one, others in ((ann, (bob, guest)), (bob, (ann, guest)), (guest, (ann, bob))):
            await one.swap(*others)
        await ann.ask("epoch.measured", m.EpochMeasured(2, bob.pid, 134.0, 12.5))
        row = await call()
        assert (row["mode"], row["sfuRoomId"], row["modeChangeCount"]) == ("sfu", house.router.id, 1)
        assert row["sfuRtpCapabilities"]["codecs"]
        for client, record in zip((ann, bob, guest), await people(), strict=True):
            assert record["id"] == client.pid
            assert record["sfuSendTransportId"] == house.transport(client, "send").id
            producers = house.transport(client, "send").open_producers
            assert record["sfuAudioProducerId"] == producers["microphone"].id
            assert record["sfuVideoProducerId"] == producers["camera"].id
        assert record["userId"] is None
        assert record["anonymousUserId"] is not None
        [metrics] = await rows.all("call_metrics", "id")
        [transition] = metrics["modeTransitions"]
        assert (transition["from"], transition["to"], transition["reason"]) == (
            "p2p", "sfu", "participant_joined",
        )  # fmt: skip
        assert (transition["maxVideoGapMs"], transition["maxAudioGapMs"]) == (134.0, 12.5)

        # And back.
        await guest.ask("call.leave")
        await ann.until("epoch.prepare", 3)
        await ann.swap(bob)
        await bob.swap(ann)
        await ann.until("epoch.release", 2)
        row = await call()
        assert (row["mode"], row["sfuRoomId"], row["modeChangeCount"]) == ("p2p", None, 2)
        assert all(one["sfuRecvTransportId"] is None for one in await people())

        # Muted once, stays so; a user who comes back keeps the row.
        await ann.ask("participant.update", m.ParticipantUpdate(audio_enabled=False))
        await ann.ask("participant.update", m.ParticipantUpdate(audio_enabled=True))
        await ann.ask("stats", m.ClientStats(packet_loss=0.02, rtt_ms=30, bytes_sent=1000, path="p2p"))
        await bob.ask("call.leave")
        await bob.enter()
        first = (await people())[0]
        assert (first["wasMuted"], first["audioEnabled"], first["hadVideo"]) == (True, True, True)
        assert first["qualityMetrics"]["rttMs"] == 30
        assert len(await people()) == 3

        await ann.ask("call.end")
        row = await call()
        assert (row["status"], row["endReason"], row["endedBy"]) == ("ENDED", "ended", "ann")
        assert row["duration"] is not None
        assert all(one["leftAt"] is not None for one in await people())
        [metrics] = await rows.all("call_metrics", "id")
        assert (metrics["peakParticipants"], metrics["totalParticipants"]) == (3, 3)
        assert metrics["avgPacketLoss"] == pytest.approx(0.02)
        assert metrics["totalDataSent"] == 1000
        assert storage.recorder.stats().pending == 0
        nursery.cancel_scope.cancel()
