"""Each in turn, the heavier ones more often, and never in bursts: nginx's smooth weighted round-robin.

At each choice every candidate's current weight grows by its weight; the greatest is chosen, and pays the sum of all
weights. With weights 5, 1, 1 the order is a a b a c a a. Cost: one pass over the candidates.

Whole weights make an order that repeats after their sum. So candidates that stay the same, as they do while nothing is
amiss, are asked by a list of that order: one step per choice, whatever their number.
"""

from __future__ import annotations

import math
from itertools import cycle
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend

LONGEST_ORDER: Final = 1000
"""Choices until the order repeats; sums of weights that are greater than this, divided by what they have in common, are
not listed."""


class RoundRobin:
    """Smooth weighted round-robin. Off the list the turns are the backends' own: any of them may be candidates."""

    minds_pace: ClassVar[bool] = False

    def __init__(self) -> None:
        self._listed: Sequence[Backend] = ()
        self._seen: Sequence[Backend] = ()
        self._last: Backend
        self._order: Iterator[Backend] = iter(())

    def choose(self, candidates: Sequence[Backend], x: Exchange) -> Backend:
        """See strategies.Strategy."""
        if candidates is self._listed:
            return next(self._order)
        if candidates is self._seen and (order := order_of(candidates)):
            self._listed = candidates
            start = order.index(self._last) + 1
            self._order = cycle(order[start:] + order[:start])
            return next(self._order)
        self._seen = candidates  # a choice among what is left after a failed try comes once; its list would be in vain
        self._last = chosen = next_in_turn(candidates, x)
        return chosen


def next_in_turn(candidates: Sequence[Backend], _x: Exchange) -> Backend:
    """For the strategies that let some of the candidates take turns, too: among others each time."""
    total = 0.0
    best = candidates[0]
    most = -math.inf
    for backend in candidates:
        weight = backend.effective_weight
        total += weight
        backend.current_weight = current = backend.current_weight + weight
        if current > most:
            best = backend
            most = current
    best.current_weight = most - total
    return best


def order_of(candidates: Sequence[Backend]) -> list[Backend]:
    """The choices until they repeat; [] if that is too long, or if the weights are not whole (a slow start)."""
    if not all(backend.effective_weight.is_integer() for backend in candidates):
        return []
    weights = [int(backend.effective_weight) for backend in candidates]
    common = math.gcd(*weights) or 1
    weights = [weight // common for weight in weights]
    total = sum(weights)
    if not 0 < total <= LONGEST_ORDER:
        return []
    current = [0] * len(weights)
    order = []
    for _ in range(total):
        current = [now + weight for now, weight in zip(current, weights, strict=True)]
        best = max(range(len(current)), key=current.__getitem__)
        current[best] -= total
        order.append(candidates[best])
    return order
