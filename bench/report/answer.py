"""What a question answers with: tables and plots for people, budgets with their verdict, figures for machines. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from bench.harness.stats import Spread

ABSENT = "-"


@dataclass(frozen=True)
class Table:
    """Rows of finished text; the first column is a name, the others are figures. notes: lines below the table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Budget:
    """A limit that spec 11 or an issue set, and what came out. at_most: else at least.

    promise: with its unit; the name under which history compares runs, so other words begin another line there.
    value: the median over rounds where there are rounds. spread: of the same figure, where it was taken in rounds.
    """

    promise: str
    value: float
    limit: float
    at_most: bool = True
    spread: Spread | None = None

    @property
    def is_met(self) -> bool:
        """By the value; the limit itself is within."""
        return self._holds(self.value)

    @property
    def is_clear(self) -> bool:
        """Whether every round says what the median says. True without a spread: there is nothing against it."""
        return self.spread is None or self._holds(self.spread.low) == self._holds(self.spread.high) == self.is_met

    @property
    def sign(self) -> str:
        """'at most' or 'at least'."""
        return "at most" if self.at_most else "at least"

    @property
    def verdict(self) -> str:
        """'met', 'MISSED', or either 'by the median only', where the spread reaches over the limit."""
        if self.is_clear:
            return "met" if self.is_met else "MISSED"
        return f"{'met' if self.is_met else 'missed'}, by the median only"

    def as_json(self) -> dict[str, Any]:
        """With the verdict; what is no number (nothing was measured) is null."""
        return {
            "promise": self.promise,
            "value": round(self.value, 4) if isfinite(self.value) else None,
            "limit": self.limit,
            "met": self.is_met,
            "at_most": self.at_most,
            "spread": None if self.spread is None else self.spread.as_json(),
            "verdict": self.verdict,
        }

    def _holds(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


@dataclass(frozen=True)
class Dots:
    """A plot: a line per peer, on it a dot per round and a diamond at their median. Without values it is left out.

    values: by peer, in the order in which they are drawn; peers named fastgw* are in our colour.
    is_log: turned off where a value is not above 0. limit: a vertical line there.
    """

    title: str
    values: dict[str, list[float]]
    is_log: bool = True
    limit: float | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing to draw."""
        return not any(isfinite(value) for values in self.values.values() for value in values)


@dataclass(frozen=True)
class Point:
    """x -> y, and how far y went over rounds, where that is known."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, x: float, found: Spread) -> Self:
        """The median at x, with the extremes as its band."""
        return cls(x, found.median, found.low, found.high)


@dataclass(frozen=True)
class Lines:
    """A plot: y over x, a line per series, a band between low and high. Without points it is left out.

    x_label, y_label: with units. x_log, y_log: turned off where a value is not above 0.
    limit: a horizontal line there. x_names: what stands at x = 0, 1, 2, ... instead of numbers.
    """

    title: str
    series: dict[str, tuple[Point, ...]]
    x_label: str = ""
    y_label: str = ""
    x_log: bool = False
    y_log: bool = False
    limit: float | None = None
    x_names: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing to draw."""
        return not any(isfinite(point.x) and isfinite(point.y) for points in self.series.values() for point in points)


Plot = Dots | Lines


@dataclass(frozen=True)
class Answer:
    """method: the question's docstring, printed before the figures. data: JSON-ready, by peer."""

    question: str
    method: str
    tables: tuple[Table, ...]
    budgets: tuple[Budget, ...]
    data: dict[str, Any] = field(default_factory=dict)
    plots: tuple[Plot, ...] = ()


def show(value: Spread | None, digits: int) -> str:
    """The median, and the extremes in brackets where they differ from it in print."""
    if value is None:
        return ABSENT
    shown, low, high = (f"{number:,.{digits}f}" for number in (value.median, value.low, value.high))
    return shown if shown == low == high else f"{shown} [{low}..{high}]"


def number(value: float | None) -> str:
    """Three digits that count, without an exponent; `ABSENT` if it is none."""
    if value is None or not isfinite(value):
        return ABSENT
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"
