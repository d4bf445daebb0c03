from __future__ import annotations

import random

import pytest

from rtp_core.reception import StreamReception

EDGES = (0, 1, 127, 32767, 32768, 65535)
MS = 1000


def stream(start: int, seqs: list[int], clock_rate: int = 90000) -> StreamReception:
    """Packets `start + n` for each n, 20 ms apart by clock and by timestamp."""
    reception = StreamReception(clock_rate)
    for n in seqs:
        reception.packet((start + n) % 65536, n * clock_rate // 50, 100, n * 20 * MS)
    return reception


def test_nothing_received_tells_nothing() -> None:
    assert StreamReception(48000).report(1, 0) is None


@pytest.mark.parametrize("start", EDGES)
def test_loss(start: int) -> None:
    reception = stream(start, [0, 1, 2, 5, 6, 7, 8, 9])
    report = reception.report(7, 0)
    assert report is not None
    assert report[:4] == (7, 2 * 256 // 10, 2, start + 9)
    assert reception.lost == 2
    assert reception.totals == (8, 800)


@pytest.mark.parametrize("start", EDGES)
def test_fraction_covers_the_interval_since_the_last_report(start: int) -> None:
    reception = stream(start, [0, 1, 3])
    first = reception.report(7, 0)
    assert first is not None
    assert first[1:3] == (64, 1)
    for n in (4, 5, 6, 7):
        reception.packet((start + n) % 65536, n * 1800, 100, n * 20 * MS)
    second = reception.report(7, 0)
    assert second is not None
    assert second[1:3] == (0, 1)
    assert reception.report(7, 0) == second, "an empty interval has lost nothing"


def test_late_packets_mend_the_loss_and_duplicates_go_below() -> None:
    reception = stream(0, [0, 1, 3, 2])
    assert reception.lost == 0
    reception.packet(3, 0, 100, 0)
    report = reception.report(1, 0)
    assert report is not None
    assert report[1:4] == (0, -1, 3)


def test_many_turns_of_the_circle() -> None:
    reception = StreamReception(90000)
    for n in range(0, 200_000, 1000):
        reception.packet(n % 65536, 0, 1, 0)
    report = reception.report(1, 0)
    assert report is not None
    assert report[3] == 199_000
    assert report[2] == 199_001 - 200
    assert report[1] == (199_001 - 200) * 256 // 199_001


@pytest.mark.parametrize("jump", [3000, 30000, 60000])
def test_a_jump_needs_two_in_a_row(jump: int) -> None:
    reception = stream(0, list(range(10)))
    assert not reception.packet((9 + jump) % 65536, 0, 100, 0)
    assert reception.packet(10, 0, 100, 0), "one stray packet changes nothing"
    assert not reception.packet((20 + jump) % 65536, 0, 100, 0)
    assert reception.packet((21 + jump) % 65536, 0, 100, 0)
    report = reception.report(1, 0)
    assert report is not None
    assert report[1:4] == (0, 0, (21 + jump) % 65536)
    assert reception.totals[0] == 14


def test_cumulative_loss_is_clamped() -> None:
    reception = StreamReception(90000)
    for n in range(0, 9_000_000, 2999):
        reception.packet(n % 65536, 0, 1, 0)
    report = reception.report(1, 0)
    assert report is not None
    assert report[2] == 2**23 - 1


def test_steady_stream_has_no_jitter() -> None:
    assert stream(0, list(range(100))).jitter_ms == 0


@pytest.mark.parametrize("clock_rate", [8000, 48000, 90000])
def test_jitter_follows_the_rfc(clock_rate: int) -> None:
    """Against A.8 in floating point: J += (|D| - J) / 16."""
    rng = random.Random(clock_rate)
    reception = StreamReception(clock_rate)
    expected = 0.0
    before = None
    for n in range(500):
        now = 1_700_000_000_000_000 + n * 20 * MS + rng.randrange(30 * MS)
        timestamp = (2**32 - 5000 + n * clock_rate // 50) % 2**32
        reception.packet(n, timestamp, 100, now)
        transit = now * clock_rate / 1e6 - n * clock_rate / 50
        if before is not None:
            expected += (abs(transit - before) - expected) / 16
        before = transit
    report = reception.report(1, 0)
    assert report is not None
    assert report[4] == pytest.approx(expected, rel=0.02, abs=1.5)
    assert reception.jitter_ms == pytest.approx(report[4] * 1000 / clock_rate)


def test_a_jump_of_the_senders_clock_is_no_jitter() -> None:
    reception = stream(0, list(range(10)))
    reception.packet(10, 3_000_000_000, 100, 200 * MS)
    reception.packet(11, 3_000_001_800, 100, 220 * MS)
    assert reception.jitter_ms == 0


def test_last_sender_report() -> None:
    reception = stream(0, [0])
    report = reception.report(1, 5_000 * MS)
    assert report is not None
    assert report[5:] == (0, 0)
    reception.sender_report(0x11112222_33334444, 6_000 * MS)
    report = reception.report(1, 6_500 * MS)
    assert report is not None
    assert report[5:] == (0x22223333, 0x8000)
