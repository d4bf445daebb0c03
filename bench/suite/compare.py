"""Two runs side by side: each figure of today divided by that of the older run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.suite.questions import QUESTIONS, Figure, Question
from bench.suite.results import Row, Run, label

NOISE = 0.15  # a shared machine's figures repeat to about so much


@dataclass(frozen=True, slots=True)
class Change:
    question: str
    row: str  # what tells this row from the others
    figure: Figure
    old: float
    new: float

    @property
    def ratio(self) -> float:
        """Above 1: more than it was."""
        return self.new / self.old

    @property
    def verdict(self) -> str:
        """better, worse, or the same within the noise."""
        if abs(self.ratio - 1) <= NOISE:
            return "same"
        return "better" if (self.ratio < 1) == self.figure.less_is_better else "worse"


def changes(old: Run, new: Run) -> Iterator[Change]:
    """The figures that both runs have, question by question and row by row."""
    for name, answer in new.answers.items():
        question = QUESTIONS.get(name)
        if question is None or name not in old.answers:
            continue
        before = {_key(question, row): row for row in old.answers[name].rows}
        for row in answer.rows:
            known = before.get(_key(question, row))
            if known is None:
                continue
            for figure in question.figures:
                was, now = known.get(figure.name), row.get(figure.name)
                if isinstance(was, int | float) and isinstance(now, int | float) and was > 0:
                    yield Change(name, label(question.keys, row), figure, float(was), float(now))


def _key(question: Question, row: Row) -> tuple[str, ...]:
    return tuple(str(row.get(key)) for key in question.keys)


def table(old: Run, new: Run) -> list[str]:
    """As lines to print: what changed by more than the noise first, and how many did not."""
    found = list(changes(old, new))
    moved = sorted((one for one in found if one.verdict != "same"), key=lambda one: one.ratio)
    lines = [f"against {old.machine.get('commit')} of {old.machine.get('time')} on {old.machine.get('cpu')}:"]
    differs = [key for key in ("cpu", "cores", "kernel") if old.machine.get(key) != new.machine.get(key)]
    if differs:
        lines.append(f"  not the same {' and '.join(differs)}: only ratios, as to the bare loop, compare")
    for one in moved:
        place = f"{one.question}: {one.row}"
        lines.append(
            f"  {one.verdict:>6}  {one.ratio:5.2f} x  {one.figure.name:<14} "
            f"{one.old:12,.1f} -> {one.new:12,.1f} {one.figure.unit:<10} {place}"
        )
    lines.append(f"  {len(found) - len(moved)} of {len(found)} figures are the same within {NOISE:.0%}")
    return lines
