"""Medians, spreads and ratios over rounds. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Spread:
    """The median over rounds, and the extremes."""

    median: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """Rounded to six digits after the point."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


def spread(values: Sequence[float]) -> Spread:
    """values: at least one."""
    return Spread(median(values), min(values), max(values))


def ratios(values: Sequence[float], references: Sequence[float]) -> Spread | None:
    """Median of the per-round ratios; both lists are in the order of rounds. None if a reference is 0."""
    if not references or not all(references):
        return None
    return spread([value / reference for value, reference in zip(values, references, strict=True)])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank. ordered: ascending, at least one value."""
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]
