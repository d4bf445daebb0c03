"""Asks the questions one after another, each a program of its own, and shows how far it is."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from bench.report import machine
from bench.suite.questions import QUESTIONS, Question
from bench.suite.results import Answer, Row, Run

_LAST_LINES = 15
_PATIENCE_S = 20.0


def ask(names: Sequence[str], *, full: bool, extra: Sequence[str] = ()) -> Run:
    """A question that fails is told of and does not stop the others; Ctrl-C ends with what is answered."""
    run = Run(machine(), "full" if full else "quick")
    began = time.monotonic()
    expected = sum(QUESTIONS[name].expected_s(full) for name in names)
    layout = "{desc:<20} {percentage:3.0f}%|{bar}| {elapsed} of about {postfix}"
    with tqdm(total=expected, bar_format=layout, disable=None, file=sys.stderr, leave=False) as bar:
        bar.set_postfix_str(f"{expected // 60:.0f}:{expected % 60:02.0f}")
        for name in names:
            bar.set_description_str(name)
            tqdm.write(f"\n{name}: {QUESTIONS[name].asks}", file=sys.stdout)
            try:
                run.answers[name] = _one(QUESTIONS[name], full, extra, bar)
            except KeyboardInterrupt:
                run.stopped = True
                tqdm.write(f"stopped; {len(run.answers)} of {len(names)} questions are answered")
                break
            finally:
                run.seconds = time.monotonic() - began
    return run


def _one(question: Question, full: bool, extra: Sequence[str], bar: tqdm) -> Answer:  # type: ignore[type-arg]
    arguments = [*question.arguments(full), *extra]
    began, shown = time.monotonic(), 0.0
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "rows.json"
        command = [sys.executable, "-m", f"bench.{question.module}", *arguments, "--json", str(found)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    lines.append(line.rstrip())
                    tqdm.write(line.rstrip(), file=sys.stdout)
                    spent = min(time.monotonic() - began, question.expected_s(full))
                    bar.update(spent - shown)
                    shown = spent
            except KeyboardInterrupt:
                _end(process)
                raise
        bar.update(question.expected_s(full) - shown)
        rows = _rows(found)
    failed = process.returncode != 0
    if failed:
        tqdm.write(f"{question.name} ended with status {process.returncode}", file=sys.stdout)
    said = "\n".join(lines[-_LAST_LINES:]) if failed else ""
    return Answer(arguments, time.monotonic() - began, process.returncode, rows, said)


def _rows(found: Path) -> list[Row]:
    """None where it failed before it had any, or while it wrote them."""
    try:
        rows: list[Row] = json.loads(found.read_text())["rows"]
    except (OSError, ValueError):
        return []
    return rows


def _end(process: subprocess.Popen[str]) -> None:
    """Ctrl-C went to the question too, which stops its servers; what it says meanwhile is of no use."""
    tqdm.write("stopping the question's servers", file=sys.stdout)
    try:
        process.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
