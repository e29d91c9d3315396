"""The less loaded of two that are drawn at random (Mitzenmacher, 2001).

Almost as even as asking for the least of all, at a cost that does not grow with the number of backends; and many
gateways that know little of each other do not all run to the same idle backend. Loads as in least_connections.py.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend


class TwoChoices:
    """Power of two choices."""

    minds_pace: ClassVar[bool] = True

    def __init__(self, random: Random | None = None) -> None:
        """random: for tests; else one of its own, so that processes draw differently."""
        self._random = (random or Random()).random  # noqa: S311 - spreads load, hides nothing

    def choose(self, candidates: Sequence[Backend], x: Exchange) -> Backend:  # noqa: ARG002 - others look at it
        """See strategies.Strategy."""
        count = len(candidates)
        if count == 1:
            return candidates[0]
        first = int(self._random() * count)
        one = candidates[first]
        other = candidates[first - 1 - int(self._random() * (count - 1))]  # counted from the end when below 0
        one_load = one.idle_load + one.in_flight * one.request_load
        return one if one_load <= other.idle_load + other.in_flight * other.request_load else other
