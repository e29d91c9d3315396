"""Who has the fewest requests in flight, divided by its weight; among equals, who was chosen the longest ago.

As with HAProxy's leastconn, weights count under load only: among idle backends it is a rotation. "Fewest" are those of
this process. A request on a backend that is known to be slow counts several times: see pace.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend


class LeastConnections:
    """Weighted least connections."""

    minds_pace: ClassVar[bool] = True

    def __init__(self) -> None:
        self._choices = 0

    def choose(self, candidates: Sequence[Backend], x: Exchange) -> Backend:  # noqa: ARG002 - others look at it
        """See strategies.Strategy."""
        best = candidates[0]
        least = math.inf
        for backend in candidates:
            load = backend.idle_load + backend.in_flight * backend.request_load
            if load < least or (load == least and backend.chosen_at < best.chosen_at):
                best = backend
                least = load
        self._choices = best.chosen_at = self._choices + 1
        return best
