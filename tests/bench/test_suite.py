"""What the suite makes of rows: verdicts, comparisons, lines of a plot, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import keep
from bench.suite import compare, results, targets
from bench.suite.page import cell, page
from bench.suite.plots import drawings, series
from bench.suite.questions import QUESTIONS, Plot
from bench.suite.results import Answer, Run

MACHINE = {
    "cpu": "a <fast> one", "cores": 2, "kernel": "6", "python": "3.11", "commit": "abc",
    "time": "2026-11-21T00:00:00Z", "load_average": 0.1,
}  # fmt: skip


def cost(consumers: int, ns: float, **more: Any) -> dict[str, Any]:
    row = {
        "what": "tandem",
        "consumers": consumers,
        "packets": 8,
        "ns": ns,
        "ratio": ns / 300,
        "rate": 1e9 / ns,
    }
    return {**row, "faults": {}, **more}


def run_of(**rows: list[dict[str, Any]]) -> Run:
    return Run(MACHINE, "quick", 12.0, {name: Answer([], 1.0, 0, found) for name, found in rows.items()})


def verdict(run: Run, name: str) -> targets.Verdict:
    return next(one for one in targets.verdicts(run) if one.target.name.startswith(name))


@pytest.mark.parametrize(("ns", "word"), [(405.0, "met"), (406.0, "missed")])
def test_a_target_is_met_up_to_its_limit(ns: float, word: str) -> None:
    assert verdict(run_of(forward_cost=[cost(50, ns)]), "1→50, frames of 8").word == word


@pytest.mark.parametrize(("ns", "word"), [(1000.0, "met"), (1001.0, "missed")])
def test_a_target_from_below(ns: float, word: str) -> None:
    assert verdict(run_of(forward_cost=[cost(200, ns)]), "one core, 1→200").word == word


def test_what_was_not_asked_is_not_met() -> None:
    found = targets.verdicts(run_of())
    assert {one.word for one in found} == {"unknown"}
    assert len(targets.table(run_of())) == 1


def test_the_table_has_what_was_asked_and_names_the_rest() -> None:
    *lines, last = targets.table(run_of(forward_cost=[cost(50, 300)], joins=[]))
    assert len(lines) == sum(one.question in ("forward_cost", "joins") for one in targets.TARGETS)
    assert last.startswith("not asked: ")
    assert "forward_latency" in last
    assert "joins" not in last


def test_asked_but_without_the_row_that_tells() -> None:
    """As where Janus is not installed, or the question failed."""
    janus = verdict(run_of(peer_cost=[]), "Janus")
    assert (janus.word, janus.shown) == ("unknown", "no figure")


def test_the_worst_row_counts() -> None:
    rows = [cost(50, 300), cost(50, 600)]
    assert verdict(run_of(forward_cost=rows), "1→50, frames of 8").value == pytest.approx(2.0)


def test_latency_is_held_against_the_bare_loop_of_its_own_size() -> None:
    rows = [
        {"what": "bare", "p50": 40, "p99": 100},
        {"what": "tandem", "p50_ratio": 1.1, "p99_ratio": 1.5},
        {"what": "tandem", "p50_ratio": 1.4, "p99_ratio": 1.1},
        {"what": "tandem, blocked", "p50_ratio": 9.0},
    ]
    assert targets.latency_against_bare(rows) == pytest.approx(1.5)
    assert targets.latency_against_bare([]) is None


def test_two_runs_compared() -> None:
    old = run_of(forward_cost=[cost(50, 400), cost(200, 300), cost(10, 500)])
    new = run_of(forward_cost=[cost(50, 300), cost(200, 310)])
    found = {(one.row, one.figure.name): one for one in compare.changes(old, new)}
    better = found["tandem, consumers 50, packets 8", "ns"]
    assert (better.ratio, better.verdict) == (0.75, "better")
    # More packets a second is better, more ns is worse.
    assert found["tandem, consumers 50, packets 8", "rate"].verdict == "better"
    assert found["tandem, consumers 200, packets 8", "ns"].verdict == "same"
    assert not any("consumers 10" in row for row, _ in found)
    assert "against abc" in compare.table(old, new)[0]


@pytest.mark.parametrize(("other", "told"), [({}, False), ({"cpu": "slow"}, True), ({"kernel": "5"}, True)])
def test_another_machine_is_pointed_out(other: dict[str, Any], told: bool) -> None:
    old, new = run_of(forward_cost=[cost(50, 400)]), run_of(forward_cost=[cost(50, 300)])
    old.machine = {**MACHINE, **other}
    assert ("only ratios" in "\n".join(compare.table(old, new))) == told


def test_a_run_is_kept_and_read_again(tmp_path: Path) -> None:
    run = run_of(forward_cost=[cost(50, 300)])
    run.stopped = True
    results.save(run, tmp_path / "run.json")
    assert results.load(tmp_path / "run.json") == run


def test_a_run_is_kept_elsewhere_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    blocked = tmp_path / "a file"
    blocked.touch()
    run = run_of(forward_cost=[cost(50, 300)])
    report = keep(run, None, blocked / "run.json", drawn_only=False)
    assert report == tmp_path / "run.html"
    assert results.load(tmp_path / "run.json") == run
    assert "cannot be kept in" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "answers": {"a": {}}}'])
def test_what_is_no_run_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json"):
        results.load(tmp_path / "run.json")


def test_lines_of_a_plot() -> None:
    plot = Plot("t", "x", ("p50", "p99"), ("what", "gso"), "µs", "load", where=(("consumers", 10),))
    rows = [
        {"x": 2, "what": "bare", "gso": True, "p50": 5, "consumers": 10},
        {"x": 1, "what": "bare", "gso": True, "p50": 4, "p99": 9, "consumers": 10},
        {"x": 1, "what": "bare", "gso": True, "p50": 4, "consumers": 50},
        {"what": "bare", "p50": 4, "consumers": 10},
    ]
    assert series(plot, rows) == {("bare, gso", "p50"): [(1, 4), (2, 5)], ("bare, gso", "p99"): [(1, 9)]}


def test_one_point_is_no_line() -> None:
    question = QUESTIONS["forward_cost"]
    assert not list(drawings(question, run_of(forward_cost=[cost(50, 300)])))
    found = list(drawings(question, run_of(forward_cost=[cost(50, 300), cost(200, 280)])))
    assert [title for title, _ in found] == [question.plots[0].title]
    assert found[0][1].startswith("<svg")


def test_bars_are_of_the_rows_that_have_the_figure() -> None:
    def row(what: str, **more: Any) -> dict[str, Any]:
        return {"what": what, "consumers": 50, "load": "saturated", **more}

    question = QUESTIONS["peer_cost"]
    absent = row("mediasoup", not_compared="it is not installed")
    assert not list(drawings(question, run_of(peer_cost=[row("tandem", ns=600.0), absent])))
    found = list(
        drawings(question, run_of(peer_cost=[row("tandem", ns=600.0), row("janus", ns=9876.5), absent]))
    )
    assert len(found) == 1
    assert "9,876" in found[0][1]
    assert "mediasoup" not in found[0][1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (False, ""), (True, "yes"), (1234567, "1,234,567"), (1234.5, "1,234"), (0.01234, "0.0123"),
     (12.3456, "12.35"), ("bare", "bare"), (0.0, "0"), ({}, ""),
     ({"missing": 12, "twice": 1.0}, "NOT CLEAN: missing 12, twice 1")],
)  # fmt: skip
def test_figures_for_people(value: Any, shown: str) -> None:
    assert cell(value) == shown


def test_the_page_holds_it_all_and_nothing_from_elsewhere() -> None:
    run = run_of(forward_cost=[cost(50, 300), cost(200, 290)], gone=[{"a": 1}])
    run.answers["forward_latency"] = Answer(["--x"], 1.0, 3, [], said="Traceback <b>")
    text = page(run, older=run_of(forward_cost=[cost(50, 600)]))
    assert "a &lt;fast&gt; one" in text
    assert "Traceback &lt;b&gt;" in text
    assert "status 3" in text
    assert "stopped by hand" not in text
    assert "NOT CLEAN" not in text
    run.answers["forward_cost"].rows[0]["faults"] = {"missing": 3}
    assert "NOT CLEAN: missing 3" in page(run)
    assert "<small>x bare</small>" in text
    assert "0.50 x" in text
    assert text.count("<svg") == 1
    for outside in ("<script", "<link", "@import", 'src="'):
        assert outside not in text


def test_every_question_is_a_program_of_the_suite() -> None:
    for one in QUESTIONS.values():
        assert (Path(targets.__file__).parents[1] / (one.module.replace(".", "/") + ".py")).exists(), one.name
        json.dumps(one.arguments(full=True))
