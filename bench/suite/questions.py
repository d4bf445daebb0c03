"""The suite's questions: what each asks, how it is run, and how its rows are read.

A question is a program of its own, `python -m bench.<module>`, that takes `--json FILE`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A column that is measured."""

    name: str
    unit: str
    less_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines of `y` over `x`, one for each combination of the `by` columns and each `y`."""

    title: str
    x: str
    y: tuple[str, ...]
    by: tuple[str, ...]
    unit: str
    x_unit: str
    x_log: bool = False
    y_log: bool = False
    where: tuple[tuple[str, object], ...] = ()  # only rows with these values


@dataclass(frozen=True, slots=True)
class Question:
    name: str
    asks: str
    module: str
    quick: str | None  # its arguments; None: not in the quick set
    full: str
    quick_s: float  # about how long it takes, for the progress bar
    full_s: float
    keys: tuple[str, ...]  # the columns that tell its rows apart
    figures: tuple[Figure, ...]
    plots: tuple[Plot, ...] = ()

    def arguments(self, full: bool) -> list[str]:
        return (self.full if full or self.quick is None else self.quick).split()

    def expected_s(self, full: bool) -> float:
        return self.full_s if full or self.quick is None else self.quick_s


_NS = Figure("ns", "ns")
_RATIO = Figure("ratio", "x bare")
_POINTS = tuple(Figure(name, "µs") for name in ("p50", "p90", "p99", "p99.9"))

_ALL = (
    Question(
        "forward_cost",
        "what does a forwarded packet cost, from one sender to N receivers?",
        "forward_cost",
        quick="--consumers 50,200 --packets 8 --seconds 1",
        full="--consumers 1,10,50,200,1000 --packets 1,8",
        quick_s=20,
        full_s=120,
        keys=("what", "gso", "consumers", "packets"),
        figures=(_NS, Figure("rate", "packets/s", less_is_better=False), _RATIO),
        plots=(
            Plot(
                "CPU of the server per forwarded packet", "consumers", ("ns",), ("what", "gso", "packets"),
                "ns", "receivers", x_log=True, y_log=True,
            ),
        ),
    ),
    Question(
        "forward_latency",
        "how long does a packet take through the server?",
        "forward_latency",
        quick="--consumers 10 --packets 1 --loads 0.3 --seconds 1.5",
        full="--consumers 1,10,50 --loads 0.1,0.3,0.6",
        quick_s=12,
        full_s=130,
        keys=("what", "consumers", "packets", "load"),
        figures=_POINTS,
        plots=tuple(
            Plot(
                f"Latency against load, one sender to {count}, frames of {packets}", "load",
                ("p50", "p99", "p99.9"), ("what",), "µs", "load of one core", y_log=True,
                where=(("consumers", count), ("packets", packets)),
            )
            for count in (10, 50)
            for packets in (1, 8)
        ),
    ),
    Question(
        "peer_cost",
        "what does the same work cost other servers?",
        "peer_cost",
        quick=None,
        full="--consumers 10,50 --fps 30,90 --seconds 3",
        quick_s=60,
        full_s=90,
        keys=("what", "consumers", "fps"),
        figures=(_NS, Figure("times_tandem", "x Tandem"), *_POINTS),
    ),
)  # fmt: skip

QUESTIONS = {one.name: one for one in _ALL}
