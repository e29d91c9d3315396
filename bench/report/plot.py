"""Draws plots with matplotlib: one as SVG for a page, several beside each other as SVG, a whole run as one PNG.

Dots are on a logarithmic axis unless told otherwise, as peers differ by orders of magnitude; so there are no bars,
whose length would say nothing. Text is never read as mathematics, and stays text in SVG.
"""

from __future__ import annotations

import io
import re
from itertools import cycle
from math import ceil, isfinite, nan
from statistics import median
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("svg")  # before pyplot: no screen is needed, and none is asked for

from matplotlib import pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from bench.report.answer import Dots, Lines, Plot, number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

OURS, PEER, INK, GRID, LIMIT, PAPER = "#c2410c", "#5b6b78", "#24292f", "#d7dce1", "#a40e26", "#fefefe"
SERIES = (OURS, "#0b6bcb", "#4d7c0f", "#8250df", "#946200", PEER)
ROLES = {
    OURS: "--ours",
    PEER: "--peer",
    INK: "--ink",
    GRID: "--grid",
    LIMIT: "--bad",
    PAPER: "--paper",
    "#0b6bcb": "--series-2",
    "#4d7c0f": "--series-3",
    "#8250df": "--series-4",
    "#946200": "--series-5",
}
"""Colour in a file -> the custom property that a page gives another value to, where it is dark."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fastgw",  # the same plot is the same file
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": PEER,
    "axes.titlesize": 10,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
}
WIDTH_IN = 4.4
PNG_COLUMNS = 3
PNG_DPI = 110
NARROW = 5  # of a logarithmic axis: largest through smallest, below which 1, 2, 5, 10 may all lie outside
TICKS_SHOWN = 8
MARKED = 40  # points of a line, up to which each has a mark
NAMES_SHOWN = 6
"""Of the names under an axis: more would lie on each other."""


def inline(plot: Plot, prefix: str) -> str:
    """An <svg> for a page: colours are the custom properties of ROLES, ids begin with `prefix`. Not of an empty one."""
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH_IN, height(plot)), layout="constrained")
        draw(axes, plot)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    drawn = written.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{prefix}-", drawn)
    drawn = re.sub(
        r'<svg ([^>]*?)width="[^"]*"\s*', r"<svg \1", re.sub(r'(<svg [^>]*?)height="[^"]*"\s*', r"\1", drawn)
    )
    return re.sub("|".join(ROLES), lambda found: f"var({ROLES[found[0]]})", drawn)


def save_svg(path: Path, plots: Sequence[Plot], caption: str) -> None:
    """Beside each other. plots: at least one, none empty."""
    with mpl.rc_context(STYLE):
        size = (WIDTH_IN * len(plots), max(map(height, plots)) + 0.3)
        figure, axes = plt.subplots(1, len(plots), figsize=size, squeeze=False, layout="constrained")
        for one, plot in zip(axes[0], plots, strict=True):
            draw(one, plot)
        figure.supxlabel(caption, fontsize=7, color=PEER, x=0.01, ha="left")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def save_png(path: Path, plots: Sequence[Plot], heading: str, lines: Sequence[tuple[str, bool]]) -> None:
    """A whole run. lines: below the heading, each with whether it is good news. plots: in a grid; none is empty."""
    columns = min(PNG_COLUMNS, max(1, len(plots)))
    rows = ceil(len(plots) / columns)
    by_row = [max(map(height, plots[row * columns : (row + 1) * columns])) for row in range(rows)]
    top, total = 0.55 + 0.2 * len(lines), sum(by_row)
    width = max(WIDTH_IN * columns, 9.0)
    with mpl.rc_context(STYLE):
        figure = plt.figure(figsize=(width, top + total), layout="constrained")
        panes: Any = figure.subfigures(2, 1, height_ratios=[top, max(total, 0.01)])
        above, below = panes
        above.text(0.01, 1 - 0.2 / top, heading, fontsize=10, weight="bold", va="center")
        for place, (line, is_good) in enumerate(lines):
            color = INK if is_good else LIMIT
            above.text(0.01, 1 - (0.5 + 0.2 * place) / top, line, fontsize=9, va="center", color=color)
        if plots:
            axes = list(below.subplots(rows, columns, squeeze=False, height_ratios=by_row).flat)
            for one, plot in zip(axes, plots, strict=False):
                draw(one, plot)
            for one in axes[len(plots) :]:
                one.set_visible(False)
        figure.savefig(path, dpi=PNG_DPI, metadata={"Software": None})
        plt.close(figure)


def height(plot: Plot) -> float:
    """Inches that it needs."""
    return 1.0 + 0.42 * max(2, len(plot.values)) if isinstance(plot, Dots) else 2.7


def draw(axes: Axes, plot: Plot) -> None:
    """Into axes that hold nothing yet."""
    axes.set_title("\n".join(wrap(plot.title, 52)), loc="left")
    axes.grid(visible=True, axis="x" if isinstance(plot, Dots) else "both", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if isinstance(plot, Dots):
        _draw_dots(axes, plot)
    else:
        _draw_lines(axes, plot)


def _draw_dots(axes: Axes, plot: Dots) -> None:
    found = {peer: [value for value in values if isfinite(value)] for peer, values in plot.values.items()}
    shown = {peer: values for peer, values in found.items() if values}
    for place, (peer, values) in enumerate(shown.items()):
        color, middle = OURS if peer.startswith("fastgw") else PEER, median(values)
        axes.plot([min(values), max(values)], [place, place], "-", color=color, linewidth=1)
        axes.plot(values, [place] * len(values), "o", color=color, markersize=3)
        axes.plot([middle], [place], "D", color=color, markersize=7)
        axes.annotate(
            number(middle), (middle, place), (0, 7), textcoords="offset points", ha="center", fontsize=8, color=color
        )
    every = [value for values in shown.values() for value in values]
    _scale(axes, "x", [*every, *_limit(plot)], is_log=plot.is_log)
    if plot.limit is not None:
        axes.axvline(plot.limit, color=LIMIT, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(shown)), list(shown))
    axes.set_ylim(len(shown) - 0.5, -0.7)
    axes.margins(x=0.15)


def _draw_lines(axes: Axes, plot: Lines) -> None:
    for (name, points), color in zip(plot.series.items(), cycle(SERIES), strict=False):
        held = sorted((one for one in points if isfinite(one.x) and isfinite(one.y)), key=lambda one: one.x)
        x, y = [one.x for one in held], [one.y for one in held]
        marker = "o" if len(held) <= MARKED else ""
        axes.plot(x, y, "-", marker=marker, color=color, markersize=4, linewidth=1.5, label=name)
        low = [nan if one.low is None else one.low for one in held]
        high = [nan if one.high is None else one.high for one in held]
        axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)  # nothing where an end is not known
        if marker:
            axes.vlines(x, low, high, color=color, alpha=0.5, linewidth=1)  # a band of one point has no area
    every = [point for points in plot.series.values() for point in points]
    _scale(axes, "x", [point.x for point in every], is_log=plot.x_log)
    tall = [value for one in every for value in (one.y, one.low, one.high) if value is not None]
    _scale(axes, "y", [*tall, *_limit(plot)], is_log=plot.y_log)
    if plot.limit is not None:
        axes.axhline(plot.limit, color=LIMIT, linestyle="--", linewidth=1, label=f"limit {plot.limit:,g}")
    if axes.get_yscale() == "linear" and min(one for one in tall if isfinite(one)) >= 0:
        axes.set_ylim(bottom=0)  # else a difference of a hundredth fills the picture
    if plot.x_names:
        step = ceil(len(plot.x_names) / NAMES_SHOWN)
        axes.set_xticks(range(0, len(plot.x_names), step), plot.x_names[::step], fontsize=8)
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    axes.legend()


def _limit(plot: Plot) -> list[float]:
    return [] if plot.limit is None else [plot.limit]


def _scale(axes: Axes, which: str, values: list[float], *, is_log: bool) -> None:
    """Logarithmic where all can be shown so; with ticks that people read (1, 2, 5, 10; not powers)."""
    held = [value for value in values if isfinite(value)]
    axis: Any = axes.xaxis if which == "x" else axes.yaxis
    if not (is_log and held and min(held) > 0):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        return
    axes.set(**{f"{which}scale": "log"})
    is_narrow = max(held) / min(held) < NARROW
    axis.set_major_locator(MaxNLocator(4) if is_narrow else FixedLocator(ticks(min(held), max(held))))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from about `low` (above 0) to about `high`; of many the powers, or some."""
    for steps, every in (((1.0, 2.0, 5.0), 1), ((1.0,), 1), ((1.0,), 2), ((1.0,), 3)):
        found = [step * 10.0**power for power in range(-12, 16, every) for step in steps]
        shown = [one for one in found if low / 1.5 <= one <= high * 1.5]
        if 2 <= len(shown) <= TICKS_SHOWN:
            return shown
    return [low, high]
