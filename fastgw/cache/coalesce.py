"""One flight per missing entry: concurrent requests for it reach the backend once.

In the process, a `Flight` is what the others wait for. Across processes a lease in Redis says who fetches
(admission.lua claims it in the round trip that found the entry missing); the others look again until the entry is
there, or the lease is free, or it carries the mark `!`: what came is not storable, nobody need wait.

A flight ends in one of four ways:

    an entry    those who wait are answered with it, if it is for them (same Vary values; the identity is in the key)
    PASS        it may not be stored: each of them goes to the backend by itself, all at once
    RETRY       whoever fetched has failed or left: one of them takes its place
    FAILED      the backend failed, and a stale entry may stand in for it: for all who wait

What turned out not to be storable is remembered for PASS_S seconds, in which nobody waits for anybody (the "hit for
miss" of Varnish). Nobody waits for longer than WAIT_S.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fastgw.cache.local import Copy

LEASE_S: Final = 10.0
"""How long one fetch may keep others from fetching. A killed process frees it by then."""

WAIT_S: Final = 10.0
PASS_S: Final = 5.0
"""How long a URI is taken for not storable: a finished job is cached that much later."""

MARK: Final = b"!"
MARK_MS: Final = 1000
"""How long the mark stands: for those who look every POLL_S."""

POLL_S: Final = (0.005, 0.010, 0.020, 0.040, 0.050)
"""Pauses between looks for what another process fetches; the last one repeats."""


Match = tuple[tuple[bytes, ...], bytes]
"""Which fields a response differs by, and a digest of their values in the request that it answers."""

NO_VARY: Final[Match] = ((), b"")


class Verdict(Enum):
    """How a flight ends that brings no entry."""

    PASS = "pass"  # noqa: S105 - no password
    RETRY = "retry"
    FAILED = "failed"


class Flight:
    """One fetch under way in this process."""

    __slots__ = ("future", "match")

    def __init__(self) -> None:
        self.future: asyncio.Future[Copy | Verdict] = asyncio.get_running_loop().create_future()
        self.match: Match = ((), b"")

    def land(self, outcome: Copy | Verdict, match: Match = NO_VARY) -> None:
        """Let those who wait go on. The first outcome counts."""
        if not self.future.done():
            self.match = match
            self.future.set_result(outcome)

    async def wait(self, timeout_s: float) -> Copy | Verdict:
        """The outcome; PASS if it takes longer than `timeout_s` seconds."""
        try:
            return await asyncio.wait_for(asyncio.shield(self.future), timeout_s)
        except TimeoutError:
            return Verdict.PASS


class Flights:
    """The fetches under way in this process."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, name: bytes) -> Flight | None:
        """The flight for a name, if there is one."""
        return self._flights.get(name)

    def begin(self, name: bytes) -> Flight:
        """Fetch it: others will wait. There must be no flight for the name."""
        flight = self._flights[name] = Flight()
        return flight

    def forget(self, base: bytes) -> None:
        """What the URI stands for has changed: who comes from now on does not wait for what was asked before."""
        for name in [name for name in self._flights if name.startswith(base)]:
            del self._flights[name]

    def end(self, name: bytes, flight: Flight, outcome: Copy | Verdict, match: Match = NO_VARY) -> None:
        """The fetch is over. Safe to call twice."""
        if self._flights.get(name) is flight:
            del self._flights[name]
        flight.land(outcome, match)
