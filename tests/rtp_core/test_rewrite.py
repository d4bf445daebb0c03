from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core.rewrite import Rewriter

EDGES = (0, 1, 127, 32767, 32768, 65535)
BASE_TS = 0xFFFF0000
MS = 1000


def rewriter(base_seq: int = 1000) -> Rewriter:
    return Rewriter(ssrc=7, clock_rate=90000, base_seq=base_seq, base_ts=BASE_TS)


def out_seqs(rewrite: Rewriter, start: int, steps: list[int]) -> list[int | None]:
    out = []
    for n in steps:
        sent = rewrite.packet((start + n) % 65536, 0, 0)
        out.append(sent[1] if sent else None)
    return out


@pytest.mark.parametrize("base", EDGES)
@pytest.mark.parametrize("start", EDGES)
class TestFromEveryEdge:
    def test_begins_at_the_base_and_keeps_gaps(self, start: int, base: int) -> None:
        out = out_seqs(rewriter(base), start, [0, 1, 2, 5, 6])
        assert out == [(base + n) % 65536 for n in (0, 1, 2, 5, 6)]

    def test_late_and_twice(self, start: int, base: int) -> None:
        rewrite = rewriter(base)
        for n, verdict in [(0, "new"), (3, "new"), (1, "late"), (3, "late"), (1, "late"), (4, "new")]:
            sent = rewrite.packet((start + n) % 65536, 50 * n, 0)
            assert sent == (verdict, (base + n) % 65536, (BASE_TS + 50 * n) % 2**32)

    def test_what_came_before_the_start_is_not_sent(self, start: int, base: int) -> None:
        assert out_seqs(rewriter(base), start, [0, -1, -300, 1]) == [base, None, None, (base + 1) % 65536]

    def test_dropped_packets_close_up(self, start: int, base: int) -> None:
        rewrite = rewriter(base)
        assert out_seqs(rewrite, start, [0, 1]) == [base, (base + 1) % 65536]
        rewrite.drop((start + 2) % 65536)
        rewrite.drop((start + 3) % 65536)
        assert out_seqs(rewrite, start, [4, 1, 2, 3, 5]) == [
            (base + 2) % 65536,
            (base + 1) % 65536,
            None,
            None,
            (base + 3) % 65536,
        ]

    def test_network_loss_before_a_dropped_packet_stays_visible(self, start: int, base: int) -> None:
        rewrite = rewriter(base)
        out_seqs(rewrite, start, [0])
        rewrite.drop((start + 3) % 65536)  # 1 and 2 are on their way
        assert out_seqs(rewrite, start, [4, 2, 1]) == [(base + n) % 65536 for n in (3, 2, 1)]

    def test_a_packet_behind_a_dropped_one_may_still_be_the_newest_sent(self, start: int, base: int) -> None:
        rewrite = rewriter(base)
        out_seqs(rewrite, start, [0])
        rewrite.drop((start + 3) % 65536)
        assert rewrite.inverse((base + 2) % 65536) is None
        assert out_seqs(rewrite, start, [2]) == [(base + 2) % 65536]
        assert rewrite.inverse((base + 2) % 65536) == ((start + 2) % 65536, BASE_TS)
        assert rewrite.inverse((base + 1) % 65536) == ((start + 1) % 65536, BASE_TS)

    def test_inverse(self, start: int, base: int) -> None:
        rewrite = rewriter(base)
        out_seqs(rewrite, start, [0, 1])
        rewrite.drop((start + 2) % 65536)
        out_seqs(rewrite, start, [3, 6])
        ins = [rewrite.inverse((base + n) % 65536) for n in range(-1, 7)]
        assert [found and (found[0] - start) % 65536 for found in ins] == [None, 0, 1, 3, 4, 5, 6, None]

    def test_resume(self, start: int, base: int) -> None:
        rewrite = rewriter(base)
        rewrite.packet(start, 500, 0)
        rewrite.resume()
        assert rewrite.packet(start, 500, 0) is None, "a straggler from before the pause"
        assert rewrite.packet((start - 100) % 65536, 500, 0) is None
        sent = rewrite.packet((start + 900) % 65536, 90500, 0)
        assert sent == ("new", (base + 1) % 65536, (BASE_TS + 90000) % 2**32)
        assert out_seqs(rewrite, start, [899, 1, 901]) == [None, None, (base + 2) % 65536]
        assert rewrite.inverse(base) == (start, (BASE_TS - 500) % 2**32)
        assert rewrite.inverse((base + 1) % 65536) == ((start + 900) % 65536, (BASE_TS - 500) % 2**32)

    def test_switch(self, start: int, base: int) -> None:
        rewrite = rewriter(base)
        rewrite.packet(start, 500, 1000 * MS)
        rewrite.switch()
        assert rewrite.inverse(base) is None
        sent = rewrite.packet(start, 77, 1100 * MS)
        assert sent == ("new", (base + 1) % 65536, (BASE_TS + 9000) % 2**32)
        assert rewrite.packet((start - 1) % 65536, 77, 1100 * MS) is None, "before its own start"
        assert rewrite.inverse(base) is None, "the former source's"
        assert rewrite.inverse((base + 1) % 65536) == (start, (BASE_TS + 9000 - 77) % 2**32)
        assert rewrite.timestamp(77 + 90) == (BASE_TS + 9090) % 2**32


def test_timestamp_moves_on_even_when_no_time_has_passed() -> None:
    rewrite = rewriter()
    rewrite.packet(1, 500, 1000)
    rewrite.switch()
    sent = rewrite.packet(1, 400, 900)  # and the clock went back
    assert sent is not None
    assert sent[2] == BASE_TS + 1


def test_long_pause() -> None:
    """The producer's numbers went more than half round; what comes must not look like late packets."""
    rewrite = rewriter()
    rewrite.packet(100, 0, 0)
    rewrite.resume()
    assert rewrite.packet(60000, 0, 0) == ("new", 1001, BASE_TS)
    assert rewrite.packet(60001, 0, 0) == ("new", 1002, BASE_TS)


def test_resume_and_switch_before_the_first_packet_are_nothing() -> None:
    rewrite = rewriter()
    rewrite.drop(5)
    rewrite.resume()
    rewrite.switch()
    assert rewrite.packet(6, 1, 1) == ("new", 1000, BASE_TS)
    assert rewrite.packet(5, 0, 1) is None


def test_memory_is_bounded_and_the_oldest_mapping_goes_first() -> None:
    rewrite = rewriter()
    sent = {}
    for n in range(0, 400, 2):  # every second one is left out
        out = rewrite.packet(n, 0, 0)
        assert out is not None
        sent[n] = out[1]
        rewrite.drop(n + 1)
    recent = {n: out for n, out in sent.items() if n >= 400 - 2 * 62}
    assert {n: rewrite.packet(n, 0, 0) for n in recent} == {
        n: ("late", out, BASE_TS) for n, out in recent.items()
    }
    assert [rewrite.inverse(out) for out in recent.values()] == [(n, BASE_TS) for n in recent]
    assert rewrite.packet(0, 0, 0) is None
    assert rewrite.inverse(sent[0]) is None


def test_many_turns_of_the_circle() -> None:
    rewrite = rewriter(65530)
    for n in range(0, 300_000, 7):
        sent = rewrite.packet(n % 65536, n, 0)
        assert sent == ("new", (65530 + n) % 65536, (BASE_TS + n) % 2**32)


class Model:
    """The same in few words: a list of all producer packets not left out on purpose; a packet's place
    in it is its outgoing number."""

    def __init__(self, bits: int, base: int) -> None:
        self.size = 1 << bits
        self.half = self.size // 2
        self.base = base
        self.line: list[tuple[int, int]] = []  # (source, extended number)
        self.newest = -1  # place of the newest one sent
        self.highest = -1
        self.source = 0
        self.pending = ""

    def nearest(self, seq: int, to: int) -> int:
        ahead = (seq - to) % self.size
        return to + (ahead if ahead < self.half else ahead - self.size)

    def packet(self, seq: int) -> tuple[str, int] | None:
        index = self.nearest(seq, self.highest)
        if self.pending == "resume" and index == self.highest:
            return None
        if self.newest < 0 or self.pending:
            index = self.highest + 1
            while index % self.size != seq:
                index += 1
            self.source += self.pending == "switch"
            self.pending = ""
            del self.line[self.newest + 1 :]
            self.line.append((self.source, index))
        else:
            self.line += [(self.source, n) for n in range(self.highest + 1, index + 1)]
        self.highest = max(self.highest, index)
        if (self.source, index) not in self.line:
            return None
        place = self.line.index((self.source, index))
        verdict = "new" if place > self.newest else "late"
        self.newest = max(self.newest, place)
        return verdict, (self.base + place) % self.size

    def drop(self, seq: int) -> None:
        if self.newest < 0 or self.pending:
            return
        index = self.nearest(seq, self.highest)
        self.line += [(self.source, n) for n in range(self.highest + 1, index)]
        self.highest = max(self.highest, index)

    def inverse(self, out: int) -> int | None:
        if self.newest < 0 or self.pending == "switch":
            return None
        place = self.nearest(out, self.base + self.newest) - self.base
        if not 0 <= place <= self.newest or self.line[place][0] != self.source:
            return None
        return self.line[place][1] % self.size


def compare(bits: int, base: int, actions: tuple[tuple[str, int], ...]) -> None:
    model = Model(bits, base)
    rewrite = Rewriter(ssrc=7, clock_rate=1, base_seq=base, base_ts=0, bits=bits)
    for action, seq in actions:
        match action:
            case "packet":
                sent = rewrite.packet(seq, 0, 0)
                assert (sent and sent[:2]) == model.packet(seq), actions
            case "drop":
                rewrite.drop(seq)
                model.drop(seq)
            case "resume":
                rewrite.resume()
                if model.newest >= 0 and not model.pending:
                    model.pending = "resume"
            case "switch":
                rewrite.switch()
                if model.newest >= 0:
                    model.pending = "switch"
    found = [rewrite.inverse(out) for out in range(1 << bits)]
    assert [one and one[0] for one in found] == [model.inverse(out) for out in range(1 << bits)], actions


def everything(bits: int) -> list[tuple[str, int]]:
    seqs = range(1 << bits)
    return [(action, s) for action in ("packet", "drop") for s in seqs] + [("resume", 0), ("switch", 0)]


@pytest.mark.parametrize(("bits", "depth"), [(2, 4), (3, 4)])
def test_narrow_models_tried_out_whole(bits: int, depth: int) -> None:
    """Everything that can happen within a few steps after the first packet, across the wrap."""
    first = ("packet", (1 << bits) - 2)
    for actions in itertools.product(everything(bits), repeat=depth):
        compare(bits, 3, (first, *actions))


@given(
    base=st.integers(0, 15),
    actions=st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["packet", "packet", "drop"]), st.integers(0, 15)),
            st.sampled_from([("resume", 0), ("switch", 0)]),
        ),
        max_size=40,
    ),
)
def test_four_bit_model(base: int, actions: list[tuple[str, int]]) -> None:
    compare(4, base, tuple(actions))


@given(
    start=st.integers(0, 65535),
    steps=st.lists(st.tuples(st.sampled_from(["packet", "packet", "drop"]), st.integers(-3, 5)), max_size=50),
)
def test_full_width_near_the_newest(start: int, steps: list[tuple[str, int]]) -> None:
    """A real stream: small steps forward and back, at full width."""
    model = Model(16, 1000)
    model.highest = start - 1
    rewrite = rewriter()
    at = start
    for action, step in steps:
        at += step
        seq = at % 65536
        if model.newest < 0 or action == "packet":
            sent = rewrite.packet(seq, 0, 0)
            if model.newest < 0:
                model.highest = at - 1
            assert (sent and sent[:2]) == model.packet(seq)
        else:
            rewrite.drop(seq)
            model.drop(seq)
