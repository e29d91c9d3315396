"""The nearest region that has a backend with room, seen from the client; within it, each in turn by weight.

Which backends may be asked at all is not decided here: those of the nearest region that are ejected or fail their
checks are no candidates, so the next region serves, and gives back when they return. Room: fewer requests of this
process in flight than SATURATED of the pool's connections. If nobody has room, the least loaded is asked. Without a
region of the client, or of any backend, all take turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from fastgw.routing.regions import CLAIMS
from fastgw.routing.strategies.round_robin import next_in_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend
    from fastgw.routing.regions import Regions

SATURATED: Final = 0.8
"""Share of FASTAPI_POOL_SIZE in flight from which a backend counts as saturated: before requests have to queue for a
connection, as a distant answer (100 ms more) is better than a second in the queue."""

MAX_REMEMBERED: Final = 1024
"""Different words of clients about their region whose meaning is remembered: saves 1 us. There are 250 countries."""

MAX_REMEMBERED_BYTES: Final = 64
"""Of such a word; a region's code has no more."""

Rings = tuple[tuple["Backend", ...], ...]


class RegionAffinity:
    """By distance from the client."""

    minds_pace: ClassVar[bool] = False

    def __init__(self, regions: Regions) -> None:
        """regions: what is known of places."""
        self._regions = regions
        self._of: Sequence[Backend] = ()  # the candidates for which the rest holds
        self._own: frozenset[str] = frozenset()
        self._of_region: dict[str | None, Rings] = {}  # bounded by the table
        self._of_claims: dict[tuple[tuple[bytes, bytes], ...], Rings] = {}

    def choose(self, candidates: Sequence[Backend], x: Exchange) -> Backend:
        """See strategies.Strategy."""
        if candidates is not self._of:
            self._of = candidates
            self._own = frozenset(backend.region for backend in candidates if backend.region)
            self._of_region = {None: (tuple(candidates),)}
            self._of_claims = {}
        claims = tuple([field for field in x.headers if field[0] in CLAIMS])
        rings = self._of_claims.get(claims) or self._rings(claims, x.client)
        for ring in rings:
            with_room = [backend for backend in ring if backend.in_flight < SATURATED * backend.pool.size]
            if with_room:
                return next_in_turn(with_room, x)
        return min(candidates, key=lambda backend: backend.in_flight / backend.pool.size)

    def _rings(self, claims: tuple[tuple[bytes, bytes], ...], address: str) -> Rings:
        """The candidates of each region together, the nearest to the client first; those of no region last."""
        region = self._regions.of_client(claims, address, self._own) if self._own else None
        rings = self._of_region.get(region)
        if rings is None:
            rings = self._of_region[region] = self._by_distance(region or "")
        depends_on_address = not claims or bool(self._regions.networks)
        if not depends_on_address and all(len(value) <= MAX_REMEMBERED_BYTES for _, value in claims):
            if len(self._of_claims) >= MAX_REMEMBERED:
                self._of_claims.clear()
            self._of_claims[claims] = rings
        return rings

    def _by_distance(self, region: str) -> Rings:
        rings: dict[str, list[Backend]] = {}
        for backend in self._of:
            rings.setdefault(backend.region or "", []).append(backend)
        distance = self._regions.distance
        return tuple(tuple(rings[place]) for place in sorted(rings, key=lambda place: distance(region, place)))
