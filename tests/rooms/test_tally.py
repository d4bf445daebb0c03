from __future__ import annotations

import pytest

from server.db.changes import CallMetricsUpdate
from server.media.api import StreamStats
from server.rooms.tally import Tally
from tests.harness import fake_media
from tests.rooms.conftest import House


def test_flows_add_up() -> None:
    tally = Tally()
    assert tally.figures() is None
    tally.received.add(StreamStats(packets=100, bytes=1000, packets_lost=25, jitter_ms=4.0, rtt_ms=None))
    tally.received.add(StreamStats(packets=300, bytes=2000, packets_lost=75, jitter_ms=8.0, rtt_ms=50.0))
    before = tally.copy()
    tally.sent.add(StreamStats(packets=10, nacks=1, plis=2, retransmitted=3, dropped=4))
    assert before.sent.packets == 0
    figures = tally.figures()
    assert figures is not None
    assert figures["received"] == {
        "packets": 400, "bytes": 3000, "packetsLost": 100, "packetLoss": 0.2, "jitterMs": 7.0, "rttMs": 50.0,
        "nacks": 0, "plis": 0, "retransmitted": 0, "dropped": 0,
    }  # fmt: skip
    sent = figures["sent"]
    assert (sent["nacks"], sent["plis"], sent["retransmitted"], sent["dropped"]) == (1, 2, 3, 4)
    assert (sent["packetLoss"], sent["rttMs"]) == (0.0, None)


async def test_a_call_keeps_what_its_streams_counted_also_of_those_who_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each producer of the fake received ten packets, each consumer sent one."""
    monkeypatch.setattr(fake_media.FakeProducer, "stats", lambda self: StreamStats(packets=10))
    monkeypatch.setattr(fake_media.FakeConsumer, "stats", lambda self: StreamStats(packets=1))
    ann, bob, cem = house.client("ann"), house.client("bob"), house.client("cem")
    for one in (ann, bob, cem):
        await one.enter()
    await ann.ask("call.state")
    room = ann.session.room
    assert room is not None
    made = [len(one.producers) for one in house.router.transports]
    await cem.ask("call.leave")
    await ann.ask("call.end")
    [metrics] = house.recorder.of(CallMetricsUpdate)
    assert metrics.media is not None
    assert sum(made) == 6
    assert metrics.media["received"]["packets"] == 10 * sum(made)
    assert metrics.media["sent"]["packets"] == 12  # two sources of each for two others
