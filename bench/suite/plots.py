"""A question's rows as lines, drawn as SVG."""

from __future__ import annotations

import io
from collections.abc import Iterator

from matplotlib import rc_context
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator

from bench.suite.questions import Bars, Plot, Question
from bench.suite.results import Row, Run, label

_COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a", "#bf3989", "#0a7ea4")
_DASHES = ("-", "--", ":", "-.")
_INK, _GRID = "#24292f", "#d0d7de"


def drawings(question: Question, run: Run) -> Iterator[tuple[str, str]]:
    """(title, SVG) of each plot in which a line has at least two points, and of what has two bars."""
    for plot in question.plots:
        lines = series(plot, run.rows(question.name))
        if any(len(points) > 1 for points in lines.values()):
            yield plot.title, _draw(plot, lines)
    for bars in question.bars:
        rows = [row for row in run.rows(question.name) if isinstance(row.get(bars.y), int | float)]
        if len(rows) > 1:
            yield bars.title, _draw_bars(bars, sorted(rows, key=lambda row: str(row.get(bars.by[0]))))


def series(plot: Plot, rows: list[Row]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """{(who, figure): [(x, y), …] by rising x}; rows without the x, or without a figure, are left out."""
    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        if plot.x not in row or any(row.get(key) != value for key, value in plot.where):
            continue
        who = label(plot.by, row)
        for figure in plot.y:
            if isinstance(row.get(figure), int | float):
                lines.setdefault((who, figure), []).append((float(row[plot.x]), float(row[figure])))
    return {key: sorted(points) for key, points in lines.items()}


def _draw(plot: Plot, lines: dict[tuple[str, str], list[tuple[float, float]]]) -> str:
    canvas = Canvas(figsize=(8, 4.2), layout="constrained")
    axes = canvas.subplots()
    whose = list(dict.fromkeys(who for who, _ in lines))
    for (who, figure), points in lines.items():
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=_COLOURS[whose.index(who) % len(_COLOURS)],
            linestyle=_DASHES[plot.y.index(figure) % len(_DASHES)],
            marker="o",
            markersize=4,
            label=f"{who} {figure}".strip() if len(plot.y) > 1 else who or figure,
        )
    if plot.x_log:
        axes.set_xscale("log")
    ticks = sorted({x for points in lines.values() for x, _ in points})
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.minorticks_off()
    if plot.y_log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel(plot.x_unit, color=_INK)
    axes.set_ylabel(plot.unit, color=_INK)
    axes.grid(True, color=_GRID, linewidth=0.6)
    axes.tick_params(colors=_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    # Outside, so that no line is hidden whatever it does.
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return _svg(canvas, plot.title)


def _draw_bars(bars: Bars, rows: list[Row]) -> str:
    canvas = Canvas(figsize=(8, 0.6 + 0.32 * len(rows)), layout="constrained")
    axes = canvas.subplots()
    names = [label(bars.by, row) for row in rows]
    whose = list(dict.fromkeys(row.get("what") for row in rows))
    drawn = axes.barh(
        names,
        [row[bars.y] for row in rows],
        color=[_COLOURS[whose.index(row.get("what")) % len(_COLOURS)] for row in rows],
    )
    axes.bar_label(drawn, [f"{row[bars.y]:,.0f}" for row in rows], padding=3, color=_INK, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(bars.unit, color=_INK)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.tick_params(colors=_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _svg(canvas, bars.title)


def _svg(canvas: Canvas, salt: str) -> str:
    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):  # letters stay letters
        canvas.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
