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
class Bars:
    """One bar of `y` for each row that has it, named by the `by` columns."""

    title: str
    y: str
    by: tuple[str, ...]
    unit: str


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
    bars: tuple[Bars, ...] = ()

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
        full="--consumers 1,10,50,200 --packets 1,8 --seconds 1",
        quick_s=16,
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
        quick="--consumers 10 --packets 1 --loads 0.3",
        full="--consumers 10,50 --loads 0.1,0.3,0.6",
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
        "forward_cost_plain",
        "… and without UDP_SEGMENT and UDP_GRO?",
        "forward_cost",
        quick="--no-offload --consumers 50 --packets 8 --seconds 1",
        full="--no-offload --consumers 1,50,200 --packets 1,8 --seconds 1.5",
        quick_s=7,
        full_s=40,
        keys=("what", "consumers", "packets"),
        figures=(_NS, Figure("rate", "packets/s", less_is_better=False), _RATIO),
    ),
    Question(
        "flatness",
        "does a packet cost the same whatever else is there?",
        "flatness",
        quick="--consumers 10,50,120 --idle 0,50 --busy none --turns 5 --seconds 1",
        full="--consumers 10,50,200,1000 --idle 0,1000",
        quick_s=27,
        full_s=190,
        keys=("what", "question", "consumers", "idle", "rooms"),
        figures=(_NS, Figure("growth", "x the first")),
    ),
    Question(
        "capacity",
        "how far does one core go before the first packet is lost?",
        "capacity",
        quick=None,
        full="--consumers 50",
        quick_s=40,
        full_s=35,
        keys=("what", "consumers", "packets"),
        figures=(Figure("rate", "packets/s", less_is_better=False),),
    ),
    Question(
        "meshes",
        "what does a packet cost in a room where everybody sends to everybody?",
        "meshes",
        quick=None,
        full="--sizes 3,6,12,25 --seconds 2",
        quick_s=25,
        full_s=45,
        keys=("what", "gso", "senders"),
        figures=(_NS, _RATIO),
        plots=(
            Plot("Rooms of N×N: CPU per packet", "senders", ("ns",), ("what", "gso"), "ns", "people"),
        ),
    ),
    Question(
        "small_rooms",
        "what does a packet cost in many small calls?",
        "small_rooms",
        quick=None,
        full="--rooms 1,10,100 --seconds 2",
        quick_s=25,
        full_s=50,
        keys=("what", "gso", "rooms"),
        figures=(_NS, _RATIO),
        plots=(
            Plot(
                "Rooms of three: CPU per packet", "rooms", ("ns",), ("what", "gso"), "ns", "rooms",
                x_log=True,
            ),
        ),
    ),
    Question(
        "audio_only",
        "what does a packet cost where nobody shows a picture?",
        "audio_only",
        quick=None,
        full="--seconds 2",
        quick_s=25,
        full_s=40,
        keys=("what", "gso", "rooms", "senders"),
        figures=(_NS, _RATIO),
    ),
    Question(
        "joins",
        "how many a second can join, and does a running call notice?",
        "joins",
        quick="--kinds viewer --rates 0 --seconds 2.5",
        full="--seconds 4",
        quick_s=14,
        full_s=40,
        keys=("kind", "asked_rate"),
        figures=(
            Figure("handshakes_per_core_second", "/s", less_is_better=False),
            Figure("rate", "/s", less_is_better=False),
            Figure("cpu_ms", "ms"),
            Figure("first_packet_p50_ms", "ms"),
            Figure("first_packet_p99_ms", "ms"),
        ),
    ),
    Question(
        "large_room",
        "how do hundreds get into one room, and out of it?",
        "large_room",
        quick=None,
        full="--people 300,1000",
        quick_s=40,
        full_s=40,
        keys=("people",),
        figures=(
            Figure("seconds", "s"),
            Figure("cpu_ms", "ms a join"),
            Figure("kb", "kB a person"),
            Figure("told_kb", "kB told a person"),
            Figure("gone_s", "s until told of all who left"),
            Figure("stop_s", "s"),
        ),
    ),
    Question(
        "memory",
        "what memory does each participant take?",
        "memory",
        quick="--people 40 --large 5",
        full="--people 100 --large 10",
        quick_s=10,
        full_s=35,
        keys=("what",),
        figures=(Figure("kb", "kB"),),
    ),
    Question(
        "retransmission",
        "how well is repaired what gets lost?",
        "retransmission",
        quick=None,
        full="--seconds 3",
        quick_s=20,
        full_s=25,
        keys=("what", "loss", "loss_up"),
        figures=(
            Figure("residual", "of all packets"),
            Figure("delay_ms_p50", "ms"),
            Figure("delay_ms_p99", "ms"),
            Figure("cpu_ratio", "x without loss"),
        ),
        plots=(
            Plot(
                "Time to repair a loss", "loss", ("delay_ms_p50", "delay_ms_p99"), ("what",), "ms",
                "share of packets lost",
            ),
        ),
    ),
    Question(
        "latency_while",
        "do packets take longer while Trio stands still, people join or calls switch?",
        "latency_while",
        quick=None,
        full="--joins 1000",
        quick_s=40,
        full_s=45,
        keys=("while",),
        figures=(*_POINTS, Figure("p50_ratio", "x quiet"), Figure("p99_ratio", "x quiet")),
    ),
    Question(
        "floods",
        "does a call notice hostile floods?",
        "floods",
        quick=None,
        full="--seconds 1",
        quick_s=60,
        full_s=75,
        keys=("attack", "asked_rate"),
        figures=(
            Figure("cpu_ns", "ns each"),
            Figure("lost", "packets of the call"),
            Figure("p50", "µs"),
            Figure("p99", "µs"),
            Figure("http_ms", "ms"),
            Figure("memory_kb", "kB"),
        ),
    ),
    Question(
        "veth",
        "what does a packet cost with the kernel's work of receiving it?",
        "veth",
        quick="--gso on --seconds 1",
        full="--seconds 2",
        quick_s=10,
        full_s=30,
        keys=("what", "gso", "consumers", "load"),
        figures=(Figure("us", "µs"), Figure("engine_us", "µs"), _RATIO),
    ),
    Question(
        "startup",
        "how long does a server take to its first answer?",
        "startup",
        quick=None,
        full="--warm 3",
        quick_s=12,
        full_s=20,
        keys=("what",),
        figures=(Figure("seconds", "s"),),
    ),
    Question(
        "peer_cost",
        "what does the same work cost other servers?",
        "peer_cost",
        quick="--only tandem,mediasoup,janus --consumers 50 --loads saturated --seconds 1",
        full="--consumers 50 --loads 30,90,saturated --seconds 2",
        quick_s=15,
        full_s=55,
        keys=("what", "consumers", "load"),
        figures=(
            _NS,
            Figure("times_tandem", "x Tandem", less_is_better=False),
            Figure("rate", "packets/s", less_is_better=False),
            *_POINTS,
        ),
        bars=(Bars("CPU per forwarded packet", "ns", ("load", "consumers", "what"), "ns"),),
    ),
    Question(
        "signaling_latency",
        "does a join or a mute wait for the database?",
        "signaling_latency",
        quick=None,
        full="--rounds 8",
        quick_s=40,
        full_s=55,
        keys=("what", "database_ms"),
        figures=(Figure("p50", "ms"), Figure("p99", "ms"), Figure("ratio", "x")),
    ),
    Question(
        "data_access",
        "what does each access pattern of the database cost?",
        "data.access",
        quick=None,
        full="--calls 100000 --runs 60",
        quick_s=60,
        full_s=75,
        keys=("pattern",),
        figures=(Figure("server_p50_ms", "ms"), Figure("called_p50_ms", "ms")),
    ),
)  # fmt: skip

QUESTIONS = {one.name: one for one in _ALL}
