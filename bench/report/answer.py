"""What a question answers with: tables for people, budgets with their verdict, figures for machines. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
    """A limit that spec 11 or an issue set, and what came out. at_most: else at least."""

    promise: str
    value: float
    limit: float
    at_most: bool = True

    @property
    def is_met(self) -> bool:
        """The limit itself is within."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def as_json(self) -> dict[str, Any]:
        """With the verdict."""
        return {"promise": self.promise, "value": round(self.value, 4), "limit": self.limit, "met": self.is_met}


@dataclass(frozen=True)
class Answer:
    """method: the question's docstring, printed before the figures. data: JSON-ready, by peer."""

    question: str
    method: str
    tables: tuple[Table, ...]
    budgets: tuple[Budget, ...]
    data: dict[str, Any] = field(default_factory=dict)


def show(value: Spread | None, digits: int) -> str:
    """The median, and the extremes in brackets where they differ from it in print."""
    if value is None:
        return ABSENT
    shown, low, high = (f"{number:,.{digits}f}" for number in (value.median, value.low, value.high))
    return shown if shown == low == high else f"{shown} [{low}..{high}]"
