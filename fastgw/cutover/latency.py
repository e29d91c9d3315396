"""What paired measurements say of the added latency: quantiles of the differences, with their intervals. Pure.

Both sides are asked the same thing right after one another, and the difference is taken of each pair: what slows both,
such as a busy machine, drops out. The intervals are those of the sign test, for any quantile: the number of values
below the true quantile q of n is binomial(n, q), so two order statistics enclose it with a known probability, whatever
the distribution is. Where n is too small for an end, it is open (None): the 99 % of 200 pairs have no upper end.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, lgamma, log
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile and its interval of CONFIDENCE. low, high: None where the values are too few for that end."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Added:
    """What the gateway adds, in the values' unit. differences: as measured, in order. slower: pairs that it lost."""

    differences: tuple[float, ...]
    p50: Quantile
    p99: Quantile
    slower: int


def added(direct: Sequence[float], gateway: Sequence[float]) -> Added:
    """Both: at least one value, in pairs."""
    differences = tuple(b - a for a, b in zip(direct, gateway, strict=True))
    slower = sum(one > 0 for one in differences)
    return Added(differences, quantile(differences, 0.5), quantile(differences, 0.99), slower)


def quantile(values: Sequence[float], q: float) -> Quantile:
    """The quantile by nearest rank, and its interval: each end is passed with (1 - CONFIDENCE) / 2 at most."""
    ordered = sorted(values)
    count = len(ordered)
    low, high = ranks(count, q)
    return Quantile(
        ordered[max(ceil(q * count) - 1, 0)],
        None if low is None else ordered[low],
        None if high is None else ordered[high],
    )


def ranks(count: int, q: float) -> tuple[int | None, int | None]:
    """Which order statistics (from 0) enclose the quantile q of `count` values."""
    tail = (1 - CONFIDENCE) / 2
    low: int | None = None
    high: int | None = None
    below = 0.0  # P(at most k of the values lie below the quantile)
    for k in range(count):
        below += _probability(count, k, q)
        if below <= tail:
            low = k
        if below >= 1 - tail:
            high = k
            break
    return low, high


def _probability(count: int, k: int, q: float) -> float:
    """Binomial, by logarithms: the factors alone would leave the range of a float."""
    ways = lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1)
    return exp(ways + k * log(q) + (count - k) * log(1 - q))
