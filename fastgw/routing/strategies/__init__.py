"""Which of the backends that may be asked? One strategy a file, one class with one method.

To add one: its file, its line in STRATEGIES, and its name in settings.model.RouterStrategy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from fastgw.routing.strategies.least_connections import LeastConnections
from fastgw.routing.strategies.region_affinity import RegionAffinity
from fastgw.routing.strategies.round_robin import RoundRobin
from fastgw.routing.strategies.sticky import Sticky
from fastgw.routing.strategies.two_choices import TwoChoices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend
    from fastgw.routing.regions import Regions


class Strategy(Protocol):
    """The choice among candidates."""

    minds_pace: ClassVar[bool]
    """Whether it looks at the loads that pace.py keeps, which cost 0.2 us a request."""

    def choose(self, candidates: Sequence[Backend], x: Exchange) -> Backend:
        """One of the candidates, of which there is at least one, for this request.

        As long as `candidates` is the same object, it holds the same backends with the same weights.
        """


@dataclass(frozen=True, slots=True)
class Means:
    """What strategies are made of."""

    regions: Regions
    sticky_header: str


STRATEGIES: Final[dict[str, Callable[[Means], Strategy]]] = {
    "round-robin": lambda _: RoundRobin(),
    "least-connections": lambda _: LeastConnections(),
    "two-choices": lambda _: TwoChoices(),
    "region-affinity": lambda means: RegionAffinity(means.regions),
    "sticky": lambda means: Sticky(means.sticky_header),
}
"""The names that ROUTER_STRATEGY knows."""
