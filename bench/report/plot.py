"""One picture of a run: a panel per figure, a line per peer: a dot per round, a diamond at their median.

All axes are logarithmic, as peers differ by orders of magnitude; so there are no bars, whose length would say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("svg")  # before pyplot: no screen is needed, and none is asked for

from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

_PEER = "#5b6b78"
_OURS = "#c2410c"


@dataclass(frozen=True)
class Panel:
    """values: the figure of each round, by peer. A panel without values is left out."""

    title: str
    values: dict[str, list[float]]


def draw(path: Path, panels: list[Panel], caption: str) -> None:
    """Write an SVG. panels: at least one with values."""
    shown = [panel for panel in panels if panel.values]
    tallest = max(len(panel.values) for panel in shown)
    figure, axes = plt.subplots(1, len(shown), figsize=(4.2 * len(shown), 1.4 + 0.5 * tallest), squeeze=False)
    for axis, panel in zip(axes[0], shown, strict=True):
        _panel(axis, panel)
    figure.text(0.01, 0.01, caption, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path)
    plt.close(figure)


def _panel(axis: Axes, panel: Panel) -> None:
    peers = list(panel.values)
    for place, (peer, values) in enumerate(panel.values.items()):
        color, middle = _OURS if peer.startswith("fastgw") else _PEER, median(values)
        axis.plot([min(values), max(values)], [place, place], "-", color=color, linewidth=1)
        axis.plot(values, [place] * len(values), "o", color=color, markersize=3)
        axis.plot([middle], [place], "D", color=color, markersize=7)
        shown = f"{middle:,.3g}" if middle < 1000 else f"{middle:,.0f}"
        axis.annotate(shown, (middle, place), (0, 7), textcoords="offset points", ha="center", fontsize=8, color=color)
    axis.set_yticks(range(len(peers)), peers)
    axis.set_ylim(len(peers) - 0.5, -0.7)
    axis.set_title(panel.title, fontsize=10)
    axis.set_xscale("log")
    axis.margins(x=0.15)
    axis.grid(visible=True, axis="x", color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
