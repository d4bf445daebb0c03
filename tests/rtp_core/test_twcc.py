from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core import rtcp
from rtp_core.twcc import TransportLog, read_feedback

EDGES = (0, 1, 127, 32767, 32768, 65535)
MS = 1000
WINDOW = 2048


def log_of(arrivals: list[tuple[int, int]]) -> TransportLog:
    log = TransportLog()
    for seq, now in arrivals:
        log.arrived(seq % 65536, now)
    return log


def drain(
    log: TransportLog, capacity: int = 1200
) -> list[tuple[int, int, int, list[tuple[int, bool, int, int]]]]:
    """All packets that are due, each read as RTCP and then as feedback."""
    found = []
    while log.pending:
        packet = log.build(10, 11, capacity)
        assert 0 < len(packet) <= capacity
        packets, intact = rtcp.read(packet)
        assert intact
        ((kind, sender, media, fci),) = packets
        assert (kind, sender, media) == ("twcc", 10, 11)
        feedback = read_feedback(fci)
        assert feedback is not None
        found.append(feedback)
    return found


# --- against bytes reckoned by hand ---------------------------------------------------------------------

HEAD = "0000000a 0000000b"
BY_HAND = [
    (
        "one packet: a run of one small delta; 1,280 ms are 20 references",
        [(5, 1_280_250)],
        "8fcd0005" + HEAD + "0005 0001 000014 00" + "2001" + "01" + "00",
    ),
    (
        "loss inside: one bit each for 1 0 1 1, then padding bits and bytes",
        [(1, 0), (3, 1000), (4, 2000)],
        "8fcd0006" + HEAD + "0001 0004 000000 00" + "ac00" + "00 04 04" + "000000",
    ),
    (
        "a large delta (100 ms = 400 ticks) and a negative one (-50 ms): two bits each for 1 2 0 2",
        [(1, 0), (2, 100 * MS), (4, 50 * MS)],
        "8fcd0006" + HEAD + "0001 0004 000000 00" + "d880" + "00 0190 ff38" + "00",
    ),
    (
        "twenty in a row: a run",
        [(n, n * 250) for n in range(20)],
        "8fcd000a" + HEAD + "0000 0014 000000 00" + "2014" + "00" + "01" * 19 + "0000",
    ),
    (
        "a long gap: fourteen bits for the first, a run for the lost ones, a run for the last",
        [(0, 0), (301, 250)],
        "8fcd0006" + HEAD + "0000 012e 000000 00" + "a000 011f 2001" + "00 01",
    ),
]


@pytest.mark.parametrize(("arrivals", "packet"), [pytest.param(a, p, id=n) for n, a, p in BY_HAND])
def test_bytes(arrivals: list[tuple[int, int]], packet: str) -> None:
    assert log_of(arrivals).build(10, 11).hex() == packet.replace(" ", "")


@pytest.mark.parametrize(
    ("fci", "expected"),
    [
        # base 5, four statuses, reference -1 (64 ms before zero): run of 3 small, then vector 0
        ("0005 0004 ffffff 07 2003 8000 01 02 03", (5, -1, 7, [1, 1, 1, 0], [-63750, -63250, -62500])),
        # two bits: small, large -1 tick, none; the rest of the vector is beyond the count
        ("ffff 0003 000001 00 d8ff 04 ffff", (65535, 1, 0, [1, 1, 0], [65000, 64750])),
        # a run of length 0 covers nothing
        ("0000 0001 000000 00 2000 2001 00", (0, 0, 0, [1], [0])),
        ("0000 0000 000000 00", (0, 0, 0, [], [])),
    ],
)
def test_reading_bytes(fci: str, expected: tuple[int, int, int, list[int], list[int]]) -> None:
    feedback = read_feedback(bytes.fromhex(fci))
    assert feedback is not None
    base, reference, count, statuses = feedback
    assert (
        base,
        reference,
        count,
        [int(s[1]) for s in statuses],
        [s[3] for s in statuses if s[1]],
    ) == expected
    assert [s[0] for s in statuses] == [(base + n) % 65536 for n in range(len(statuses))]


@pytest.mark.parametrize(
    "fci",
    [
        "",
        "0005 0004 ffffff",
        "0005 0004 ffffff 07",
        "0005 0004 ffffff 07 20",
        "0005 0004 ffffff 07 2003 01 02 03",  # covers 3 of 4, then deltas are taken for a chunk
        "0005 0003 ffffff 07 2003 01 02",
        "0005 0003 ffffff 07 4003 0001 0002 00",
        "0005 0001 ffffff 07 6001 0000",  # symbol 3 is reserved
        "0005 0001 ffffff 07 f000 0000",
        "0005 ffff ffffff 07" + "1fff" * 9,  # more than anyone will walk
        "0005 0010 ffffff 07" + "2000" * 20,
    ],
)
def test_malformed(fci: str) -> None:
    assert read_feedback(bytes.fromhex(fci)) is None


# --- round trips ----------------------------------------------------------------------------------------


@given(
    start=st.sampled_from(EDGES),
    steps=st.lists(
        st.tuples(
            st.one_of(st.integers(1, 3), st.integers(1, 40)),
            st.one_of(st.integers(0, 3 * MS), st.integers(0, 300 * MS), st.integers(0, 9000 * MS)),
        ),
        min_size=1,
        max_size=60,
    ),
    swaps=st.lists(st.integers(0, 58), max_size=10),
    capacity=st.sampled_from([32, 33, 35, 36, 64, 199, 1200]),
)
def test_everything_logged_comes_out(
    start: int, steps: list[tuple[int, int]], swaps: list[int], capacity: int
) -> None:
    seq, now = start, 5_000_000
    numbers, times = [], []
    for step, wait in steps:
        seq += step
        now += wait
        numbers.append(seq)
        times.append(now)
    for i in swaps:  # reordering on the way
        if i + 1 < len(numbers):
            numbers[i], numbers[i + 1] = numbers[i + 1], numbers[i]
    arrivals = list(zip(numbers, times, strict=True))
    told: dict[int, int | None] = {}
    for number_of_feedback, (base, _, count, statuses) in enumerate(drain(log_of(arrivals), capacity)):
        assert count == number_of_feedback % 256
        assert base == statuses[0][0]
        assert statuses[-1][1], "no feedback ends with a loss that may still be on its way"
        for number, received, _, arrived in statuses:
            assert number not in told
            told[number] = arrived if received else None
    low, high = min(numbers), max(numbers)
    expected: dict[int, int | None] = {n % 65536: None for n in range(low, high + 1)}
    expected.update({n % 65536: t // 250 * 250 for n, t in arrivals})
    assert told == expected


@pytest.mark.parametrize("start", EDGES)
def test_late_packet_is_told_again(start: int) -> None:
    log = log_of([(start, 0), (start + 2, 1000)])
    ((_, _, _, first),) = drain(log)
    assert [received for _, received, _, _ in first] == [True, False, True]
    assert log.arrived((start + 1) % 65536, 2000) == "late"
    ((base, _, count, again),) = drain(log)
    assert (base, count) == ((start + 1) % 65536, 1)
    assert [received for _, received, _, _ in again] == [True, True]
    assert not log.pending


@pytest.mark.parametrize("start", EDGES)
def test_verdicts(start: int) -> None:
    log = TransportLog()
    assert not log.pending
    assert log.build(1, 2) == b""
    for step, verdict in [
        (0, "new"),
        (5, "new"),
        (3, "late"),
        (3, "duplicate"),
        (5, "duplicate"),
        (5 - WINDOW, "old"),
        (6 - WINDOW, "late"),
        (4 + WINDOW, "new"),
        (4 + 2 * WINDOW, "jump"),
        (4 + 2 * WINDOW - 1, "late"),
    ]:
        assert log.arrived((start + step) % 65536, 1000) == verdict, step


def test_slots_of_a_former_turn_are_not_taken_for_arrivals() -> None:
    log = log_of([(n, n) for n in range(WINDOW)])
    drain(log)
    log.arrived(WINDOW + 10, 5000)
    ((_, _, _, statuses),) = drain(log)
    assert [received for _, received, _, _ in statuses] == [False] * 10 + [True]


def test_log_that_nobody_asks_stays_bounded() -> None:
    log = log_of([(n % 65536, n * 100) for n in range(70_000)])
    numbers = [s[0] for f in drain(log) for s in f[3]]
    assert numbers == [n % 65536 for n in range(70_000 - WINDOW, 70_000)]


def test_reference_time_goes_round() -> None:
    day = 64 * MS * 2**24
    ((_, reference, _, statuses),) = drain(log_of([(1, day * 3 + 64 * MS * 5 + 750)]))
    assert reference == 5
    assert statuses == [(1, True, 750, 320_750)]


def test_too_little_room() -> None:
    log = log_of([(1, 0)])
    assert log.build(1, 2, 31) == b""
    assert log.pending


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    feedback = read_feedback(data)
    if feedback is not None:
        assert len(feedback[3]) == int.from_bytes(data[2:4])


@pytest.mark.parametrize("turn", [2**32, 2**33])
def test_clock_beyond_32_bits_of_ticks(turn: int) -> None:
    """The reference wraps there, which the reader of the draft expects: intervals go on."""
    start = (turn - 3) * 250
    log = log_of([(seq, start + seq * 250) for seq in range(6)])
    ((_, reference, _, statuses),) = drain(log)
    assert reference == -1  # 24 bits of 64 ms, signed: the last one before it begins at 0 again
    assert [status[1] for status in statuses] == [True] * 6
    # One tick stands for "missing"; what comes in it is told 250 µs early.
    assert [status[2] for status in statuses[1:]] == [250, 0, 500, 250, 250]
