"""Each in turn, the heavier ones more often, and never in bursts: nginx's smooth weighted round-robin.

At each choice every candidate's current weight grows by its weight; the greatest is chosen, and pays the sum of all
weights. With weights 5, 1, 1 the order is a a b a c a a. Cost: one pass over the candidates.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend


class RoundRobin:
    """Smooth weighted round-robin. The turns are the backends' own, so any of them may be candidates at any time."""

    minds_pace: ClassVar[bool] = False

    def choose(self, candidates: Sequence[Backend], x: Exchange) -> Backend:  # noqa: ARG002 - others look at it
        """See strategies.Strategy."""
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


next_in_turn: Final = RoundRobin().choose
"""For the strategies that let some of the candidates take turns."""
