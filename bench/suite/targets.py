"""What the figures ought to be, and whether a run's are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from bench.suite.results import Run


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    wanted: str
    limit: float
    unit: str
    measure: Callable[[Run], float | None]  # None: the run did not ask
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    target: Target
    value: float | None

    @property
    def word(self) -> Literal["met", "missed", "unknown"]:
        if self.value is None:
            return "unknown"
        limit = self.target.limit
        return "met" if (self.value >= limit if self.target.at_least else self.value <= limit) else "missed"

    @property
    def shown(self) -> str:
        if self.value is None:
            return "not asked"
        figure = f"{self.value:,.0f}" if abs(self.value) >= 100 else f"{self.value:.3g}"
        return f"{figure} {self.target.unit}".strip()


def verdicts(run: Run) -> list[Verdict]:
    return [Verdict(one, one.measure(run)) for one in TARGETS]


def table(run: Run) -> list[str]:
    """As lines to print."""
    found = verdicts(run)
    name = max(len(one.target.name) for one in found)
    wanted = max(len(one.target.wanted) for one in found)
    return [
        f"{one.target.name:<{name}}  {one.target.wanted:<{wanted}}  {one.shown:>16}  {one.word}"
        for one in found
    ]


def worst(values: Iterable[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return max(known) if known else None


def most(question: str, column: str, **wanted: object) -> Callable[[Run], float | None]:
    """The greatest of that column's figures among the rows that have these values."""
    return lambda run: worst(row.get(column) for row in run.rows(question, **wanted))


def least(question: str, column: str, **wanted: object) -> Callable[[Run], float | None]:
    def smallest(run: Run) -> float | None:
        known = [row[column] for row in run.rows(question, **wanted) if row.get(column) is not None]
        return min(known) if known else None

    return smallest


def latency_against_bare(run: Run) -> float | None:
    """The worst p50 and p99 of the server over those of the bare loop at the same N, burst and load."""
    ratios: list[float | None] = []
    for row in run.rows("forward_latency", what="tandem"):
        same = {key: row[key] for key in ("consumers", "packets", "load")}
        for bare in run.rows("forward_latency", what="bare", **same):
            ratios += [row[point] / bare[point] for point in ("p50", "p99") if bare[point] > 0]
    return worst(ratios)


def blocked_against_free(run: Run) -> float | None:
    """p50 with the Trio thread blocked over p50 without, the worst of the sizes."""
    ratios: list[float | None] = []
    for row in run.rows("forward_latency", what="tandem, blocked"):
        same = {key: row[key] for key in ("consumers", "packets", "load")}
        for free in run.rows("forward_latency", what="tandem", **same):
            ratios.append(row["p50"] / free["p50"] if free["p50"] > 0 else None)
    return worst(ratios)


def pattern_against_target(run: Run) -> float | None:
    """The worst median on PostgreSQL's side over what is asked of that access pattern."""
    return worst(row["server_p50_ms"] / row["target"] for row in run.rows("data_access") if row.get("target"))


_SINGLES = {"what": "tandem", "consumers": 10, "packets": 1, "load": 0.3}
_FIFTY = {"what": "tandem", "consumers": 50, "packets": 8}

TARGETS = (
    Target(
        "1→50, frames of 8: cost against the bare loop with GSO", "≤ 1.35 x", 1.35, "x",
        most("forward_cost", "ratio", **_FIFTY),
    ),
    Target(
        "… without UDP_SEGMENT, against the bare loop without", "≤ 1.25 x", 1.25, "x",
        most("forward_cost_plain", "ratio", **_FIFTY),
    ),
    Target(
        "… Janus on the same work", "≥ 8 x as much", 8, "x",
        most("peer_cost", "times_tandem", what="janus", consumers=50), at_least=True,
    ),
    Target(
        "one core, 1→200, into a sink", "≥ 1,000,000 packets/s", 1e6, "packets/s",
        least("forward_cost", "rate", what="tandem", consumers=200, packets=8), at_least=True,
    ),
    Target("1→10 singles, 30 % load: p50", "≤ 60 µs", 60, "µs", most("forward_latency", "p50", **_SINGLES)),
    Target("… p99", "≤ 300 µs", 300, "µs", most("forward_latency", "p99", **_SINGLES)),
    Target("… p99.9", "≤ 1,000 µs", 1000, "µs", most("forward_latency", "p99.9", **_SINGLES)),
    Target("latency at every N and burst, against the bare loop", "≤ 1.3 x", 1.3, "x", latency_against_bare),
    Target("… with Trio blocked: p50 against not blocked", "≤ 1.15 x", 1.15, "x", blocked_against_free),
    Target(
        "joins: full handshakes a second of one core", "≥ 300 /s", 300, "/s",
        least("joins", "handshakes_per_core_second", asked_rate=0.0), at_least=True,
    ),
    Target(
        "one core, 1→50 over a veth pair, receiving included", "≤ 2.2 µs", 2.2, "µs",
        most("veth", "us", what="tandem", gso=True, consumers=50, load="saturated"),
    ),
    Target(
        "memory of a participant, without the retransmission cache", "≤ 200 kB", 200, "kB",
        most("memory", "kb", what="participant with media"),
    ),
    Target("a packet's cost as consumers and rooms grow", "≤ 1.15 x", 1.15, "x", most("flatness", "growth")),
    Target(
        "join and mute: p99 with the database at 500 ms against 1 ms", "≤ 1.1 x", 1.1, "x",
        most("signaling_latency", "ratio"),
    ),
    Target("the database: the slowest pattern against its target", "≤ 1 x", 1, "x", pattern_against_target),
)  # fmt: skip
