"""What the figures ought to be, and whether a run's are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from bench.suite.results import Row, Run, those


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    wanted: str
    limit: float
    unit: str
    question: str  # that measures it
    measure: Callable[[list[Row]], float | None]  # of its rows; None: there is none that tells
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    target: Target
    value: float | None
    asked: bool

    @property
    def word(self) -> Literal["met", "missed", "unknown"]:
        if self.value is None:
            return "unknown"
        limit = self.target.limit
        return "met" if (self.value >= limit if self.target.at_least else self.value <= limit) else "missed"

    @property
    def shown(self) -> str:
        if self.value is None:
            return "no figure" if self.asked else "not asked"
        figure = f"{self.value:,.0f}" if abs(self.value) >= 100 else f"{self.value:.3g}"
        return f"{figure} {self.target.unit}".strip()


def verdicts(run: Run) -> list[Verdict]:
    return [Verdict(one, one.measure(run.rows(one.question)), one.question in run.answers) for one in TARGETS]


def table(run: Run) -> list[str]:
    """As lines to print: what was asked, and how many targets were not."""
    every = verdicts(run)
    found = [one for one in every if one.asked]
    name = max((len(one.target.name) for one in found), default=0)
    wanted = max((len(one.target.wanted) for one in found), default=0)
    lines = [
        f"{one.target.name:<{name}}  {one.target.wanted:<{wanted}}  {one.shown:>16}  {one.word}"
        for one in found
    ]
    others = dict.fromkeys(one.target.question for one in every if not one.asked)
    return [*lines, f"not asked: {', '.join(others)}"] if others else lines


def worst(values: Iterable[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return max(known) if known else None


def most(column: str, **wanted: object) -> Callable[[list[Row]], float | None]:
    """The greatest of that column's figures among the rows that have these values."""
    return lambda rows: worst(row.get(column) for row in those(rows, **wanted))


def least(column: str, **wanted: object) -> Callable[[list[Row]], float | None]:
    def smallest(rows: list[Row]) -> float | None:
        known = [row[column] for row in those(rows, **wanted) if row.get(column) is not None]
        return min(known) if known else None

    return smallest


def latency_against_bare(rows: list[Row]) -> float | None:
    """The worst p50 and p99 of the server over those of the bare loop at the same N, burst and load."""
    return worst(row.get(ratio) for row in those(rows, what="tandem") for ratio in ("p50_ratio", "p99_ratio"))


def blocked_against_free(rows: list[Row]) -> float | None:
    """p50 with the Trio thread blocked over p50 without, the worst of the sizes."""
    ratios: list[float | None] = []
    for row in those(rows, what="tandem, blocked"):
        same = {key: row[key] for key in ("consumers", "packets", "load")}
        for free in those(rows, what="tandem", **same):
            ratios.append(row["p50"] / free["p50"] if free["p50"] > 0 else None)
    return worst(ratios)


def pattern_against_target(rows: list[Row]) -> float | None:
    """The worst median on PostgreSQL's side over what is asked of that access pattern."""
    return worst(row["server_p50_ms"] / row["target"] for row in rows if row.get("target"))


_SINGLES = {"what": "tandem", "consumers": 10, "packets": 1, "load": 0.3}
_FIFTY = {"what": "tandem", "consumers": 50, "packets": 8}

TARGETS = (
    Target(
        "1→50, frames of 8: cost against the bare loop with GSO", "≤ 1.35 x", 1.35, "x",
        "forward_cost", most("ratio", **_FIFTY),
    ),
    Target(
        "1→50 without UDP_SEGMENT, against the bare loop without", "≤ 1.25 x", 1.25, "x",
        "forward_cost_plain", most("ratio", **_FIFTY),
    ),
    Target(
        "Janus on the same work, 1→50", "≥ 8 x as much", 8, "x",
        "peer_cost", most("times_tandem", what="janus", consumers=50, load="saturated"), at_least=True,
    ),
    Target(
        "one core, 1→200, into a sink", "≥ 1,000,000 packets/s", 1e6, "packets/s",
        "forward_cost", least("rate", what="tandem", consumers=200, packets=8), at_least=True,
    ),
    Target("1→10 singles, 30 % load: p50", "≤ 60 µs", 60, "µs", "forward_latency", most("p50", **_SINGLES)),
    Target("… p99", "≤ 300 µs", 300, "µs", "forward_latency", most("p99", **_SINGLES)),
    Target("… p99.9", "≤ 1,000 µs", 1000, "µs", "forward_latency", most("p99.9", **_SINGLES)),
    Target(
        "latency at every N and burst, against the bare loop", "≤ 1.3 x", 1.3, "x",
        "forward_latency", latency_against_bare,
    ),
    Target(
        "… with Trio blocked: p50 against not blocked", "≤ 1.15 x", 1.15, "x",
        "forward_latency", blocked_against_free,
    ),
    Target(
        "joins: full handshakes a second of one core", "≥ 300 /s", 300, "/s",
        "joins", least("handshakes_per_core_second", asked_rate=0.0), at_least=True,
    ),
    Target(
        "one core, 1→50 over a veth pair, receiving included", "≤ 2.2 µs", 2.2, "µs",
        "veth", most("us", what="tandem", gso=True, consumers=50, load="saturated"),
    ),
    Target(
        "memory of a participant, without the retransmission cache", "≤ 200 kB", 200, "kB",
        "memory", most("kb", what="participant with media"),
    ),
    Target(
        "… in a room of ten (quick set: five)", "≤ 200 kB", 200, "kB",
        "memory", most("kb", what="with media, larger room"),
    ),
    Target("a packet's cost as consumers and rooms grow", "≤ 1.15 x", 1.15, "x", "flatness", most("growth")),
    Target(
        "join and mute: p99 with the database at 500 ms against 1 ms", "≤ 1.1 x", 1.1, "x",
        "signaling_latency", most("ratio"),
    ),
    Target(
        "the database: the slowest pattern against its target", "≤ 1 x", 1, "x",
        "data_access", pattern_against_target,
    ),
)  # fmt: skip
