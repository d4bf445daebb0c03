"""One HTML file that holds all of a run: the targets, each question's plots and rows, and the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.suite.compare import table
from bench.suite.plots import drawings
from bench.suite.questions import QUESTIONS, Question
from bench.suite.results import Row, Run
from bench.suite.targets import verdicts


def page(run: Run, older: Run | None = None) -> str:
    """Self-contained: no script, no font and no picture from elsewhere."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    questions = [
        {
            "question": QUESTIONS[name],
            "answer": answer,
            "plots": [(title, Markup(svg)) for title, svg in drawings(QUESTIONS[name], run)],
            "columns": (columns := _columns(QUESTIONS[name], answer.rows)),
            "units": {figure.name: figure.unit for figure in QUESTIONS[name].figures},
            "rows": [[cell(row.get(column)) for column in columns] for row in answer.rows],
        }
        for name, answer in run.answers.items()
        if name in QUESTIONS
    ]
    return environment.get_template("page.html.j2").render(
        run=run,
        verdicts=verdicts(run),
        questions=questions,
        comparison=table(older, run) if older is not None else [],
    )


def _columns(question: Question, rows: list[Row]) -> list[str]:
    """What tells the rows apart, what was measured, then the rest: structures only if faults."""
    known = [*question.keys, *(figure.name for figure in question.figures)]
    seen = dict.fromkeys(key for row in rows for key, value in row.items() if _plain(value))
    return [key for key in known if key in seen] + [key for key in seen if key not in known]


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float) or _is_faults(value)


def _is_faults(value: Any) -> bool:
    """Such as {"missing": 12}; where a row is clean there is nothing to show."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(one, int | float) for one in value.values())
    )


def cell(value: Any) -> str:
    """A figure as a person reads it: four digits that matter, thousands apart."""
    if value is None or value is False or value == {}:
        return ""
    if _is_faults(value):
        return "NOT CLEAN: " + ", ".join(f"{name} {cell(one)}" for name, one in value.items())
    if value is True:
        return "yes"
    if isinstance(value, float):
        if value == 0 or abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
