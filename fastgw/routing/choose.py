"""The choice between backends. deliver and the tunnel ask, and tell what came of it.

    backend = choose(x, tried)              which backend for this request?
    choose.left(x, tried)                   how many others could be asked?
    choose.report(backend, outcome, s)      what came of it, and after how many seconds the head
    choose.check(backend, is_healthy)       what an active check found

Who may be asked is the panel's word (panel.py); who of those is asked, the strategy's (strategies/). While all serve
and are well, a choice is one look at a list that stays as it is: no clock is read. Otherwise the list is made anew when
a state changes, and a few times a second while a backend's share grows.
"""

from __future__ import annotations

import logging
import math
from time import monotonic
from typing import TYPE_CHECKING, Final

from fastgw.errors import SERVICE_UNAVAILABLE, GatewayError
from fastgw.routing.ejection import State
from fastgw.routing.pace import Paces
from fastgw.routing.panel import Panel
from fastgw.routing.strategies.round_robin import RoundRobin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend
    from fastgw.routing.ejection import Outcome
    from fastgw.routing.strategies import Strategy
    from fastgw.settings.values import BackendAddress

    Make = Callable[[BackendAddress], Backend]

SHARE_STEP_S: Final = 0.25
"""How often the weight of a backend that returns is made anew: forty steps in its slow start."""

PROBES = frozenset({b"GET", b"HEAD"})
"""What may try a backend that has just failed: what else is lost there can't be sent again."""

log = logging.getLogger("fastgw.routing")


class Choose:
    """The backends of a process, and the choice between them."""

    def __init__(
        self,
        backends: Sequence[Backend],
        strategy: Strategy | None = None,
        make: Make | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """strategy: default round-robin. make: a Backend of an address, for `replace`. clock: in seconds."""
        self._make = make
        self._clock = clock
        self._gone: list[Backend] = []
        self._panel = Panel()
        self._paces: Paces | None = None
        self._candidates: tuple[Backend, ...] = ()
        self._look_at = math.inf
        self.use(strategy or RoundRobin())
        self._take(tuple(backends))

    def __repr__(self) -> str:
        return f"<Choose {type(self._strategy).__name__} {len(self._candidates)} of {len(self.backends)} backends>"

    # -- for a request --------------------------------------------------------------------------------

    def __call__(self, x: Exchange, tried: set[Backend]) -> Backend:
        """A backend for this request: one that was not tried, if there is one that may be asked.

        Raises GatewayError (SERVICE_UNAVAILABLE) if no backend may be asked.
        """
        if self._only is not None:
            return self._only
        if self._is_calm and not tried:
            return self._pick(self._candidates, x)
        return self._pick_carefully(x, tried)

    def left(self, _x: Exchange | None, tried: set[Backend]) -> int:
        """How many backends that may be asked have not been tried."""
        candidates = self._candidates
        return len([one for one in candidates if one not in tried]) if tried else len(candidates)

    def report(self, backend: Backend, outcome: Outcome, head_s: float = 0.0) -> None:
        """What came of a try. head_s: seconds from sending to the response's head, 0.0 if none came."""
        if head_s and self._paces is not None:
            self._paces.note(backend, head_s)
        record = backend.record
        if (record.is_quiet and not outcome) or backend not in self.backends:
            return
        now = self._clock()
        if self._panel.note(record, outcome, now):
            self._look(now)

    def check(self, backend: Backend, is_healthy: bool, asked_at: float = math.inf) -> None:
        """What an active check found that was begun at `asked_at`, by the clock."""
        if backend not in self.backends:
            return
        now = self._clock()
        if self._panel.check(backend.record, is_healthy, now, asked_at):
            self._look(now)

    # -- changes at run time --------------------------------------------------------------------------

    def use(self, strategy: Strategy) -> None:
        """The strategy from now on."""
        self._strategy = strategy
        self._pick = strategy.choose
        if not strategy.minds_pace:
            self._paces = None
        elif self._paces is None:
            self._paces = Paces()

    def replace(self, addresses: Sequence[BackendAddress]) -> None:
        """The backends from now on. Those that stay keep their connections and what is known of them.

        Those that go are not chosen any more; what is under way on them goes on to its end.
        """
        if self._make is None:
            raise RuntimeError("no way to make backends was given")
        known = {backend.url: backend for backend in (*self._gone, *self.backends)}
        wanted = [known.pop(address.url) if address.url in known else self._make(address) for address in addresses]
        for backend, address in zip(wanted, addresses, strict=True):
            backend.region, backend.weight = address.region, address.weight
        for backend in self.backends:
            if backend not in wanted:
                backend.pool.retire()
                log.info("backend %s is not used any more", backend.url)
        for backend in wanted:
            if backend not in self.backends:
                log.info("backend %s is used from now on", backend.url)
        self._gone = list(known.values())
        self._take(tuple(wanted))

    async def tidy(self) -> None:
        """To be called every pace.FADE_EVERY_S: close what has gone and is not needed any more, let paces fade."""
        if self._paces is not None:
            self._paces.fade(self.backends)
        idle = [backend for backend in self._gone if not backend.in_flight and not backend.pool.active]
        self._gone = [backend for backend in self._gone if backend not in idle]
        for backend in idle:
            await backend.pool.close()

    async def refresh_names(self) -> None:
        """Leave the addresses that backends' names do not have any more: see Pool.look_up."""
        for backend in self.backends:
            await backend.pool.look_up()

    async def close(self) -> None:
        """Close all connections; requests under way fail."""
        for backend in (*self.backends, *self._gone):
            await backend.pool.close()

    # -- inside ---------------------------------------------------------------------------------------

    def _take(self, backends: tuple[Backend, ...]) -> None:
        self.backends = backends
        self._only = backends[0] if len(backends) == 1 else None
        now = self._clock()
        self._panel.replace([backend.record for backend in backends], now)
        self._look(now)

    def _pick_carefully(self, x: Exchange, tried: set[Backend]) -> Backend:
        """While something is amiss, or for a request that was tried already."""
        now = 0.0
        if not self._is_calm:
            now = self._clock()
            if now >= self._look_at:
                self._panel.turn(now)
                self._look(now)
        candidates = self._candidates
        if tried:
            candidates = tuple([backend for backend in candidates if backend not in tried]) or candidates
        if not candidates:
            raise GatewayError(SERVICE_UNAVAILABLE, "no backend can be asked")
        if not self._is_calm and x.method not in PROBES:
            candidates = tuple([b for b in candidates if b.record.may_risk(now)]) or candidates
        backend = self._pick(candidates, x)
        if backend.record.is_half_open and self._panel.picked(backend.record, now or self._clock()):
            self._look(now)
        return backend

    def _look(self, now: float) -> None:
        """Make the list of who may be asked anew, and tell what has changed."""
        panel = self._panel
        for level, line in panel.take_changes():
            log.log(level, "%s", line)
        is_growing = False
        is_changed = False
        for backend in self.backends:
            record = backend.record
            is_growing = is_growing or record.state is State.RETURNING
            weight = backend.weight * record.share(now)
            if weight != backend.effective_weight:
                backend.effective_weight = weight
                is_changed = True
        candidates = tuple([backend for backend in self.backends if backend.record.is_in_use])
        if is_changed or candidates != self._candidates:  # else the strategy may keep what it knows of them
            self._candidates = candidates
            (self._paces or Paces()).renew(self.backends)
        self._is_calm = panel.is_calm and bool(candidates)
        self._look_at = min(panel.due, now + SHARE_STEP_S if is_growing else math.inf)
