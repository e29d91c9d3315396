"""DOOR: known already? x.found is what the admission round trip brought.

fresh                    ->  the entry (or 304)
stale, but usable        ->  the entry, and a fetch in the background renews it
stale                    ->  ask the backend whether it is still good; one request does, the others wait
missing                  ->  one request fetches it, the others wait; across processes too (coalesce.py)
not storable of late     ->  go on, nobody waits
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final

from fastgw.cache.coalesce import POLL_S, WAIT_S, Verdict
from fastgw.cache.fetch import Fetch, match_of
from fastgw.cache.lookup import BY_REQUEST, BYPASS, MISS
from fastgw.cache.serve import STALE, STALE_ON_ERROR, entry_answer, hit_answer
from fastgw.cache.status import cache_fields
from fastgw.errors import GATEWAY_TIMEOUT, GatewayError
from fastgw.exchange import Exchange
from fastgw.respond import Answer, error_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from fastgw.cache.fetch import Shelf
    from fastgw.cache.local import Copy
    from fastgw.cache.lookup import Ask, Lookup

    Look = Callable[[Exchange, Ask], Awaitable[bool]]

EXPIRED: Final = cache_fields(b"MISS", fwd=b"stale")

OWN_CONDITIONS: Final = frozenset({b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since"})

NOBODY_WAITS: Final = 2
"""The lead of admission.lua for what is not storable."""

MAX_RENEWALS: Final = 64
"""Background fetches of a process at a time; beyond them a stale entry stays stale a little longer."""

log = logging.getLogger("fastgw.cache")


class Turn(Enum):
    """What one look while waiting has led to, if not to an answer."""

    GO = "go"  # on to the backend
    WAIT = "wait"


class AnswerFromCache:
    """Answers what is known, and decides who fetches what is not."""

    def __init__(self, shelf: Shelf, lookup: Lookup, look: Look, fetch: Callable[[Exchange], Awaitable[Any]]) -> None:
        """look: puts an ask to Redis; False if it is away. fetch: sends a request to a backend, the response to x."""
        self._look = look
        self._shelf = shelf
        self._lookup = lookup
        self._fetch = fetch
        self._renewals: set[asyncio.Task[None]] = set()
        self.hits = self.misses = self.stale = 0

    def __call__(self, x: Exchange) -> Answer | Coroutine[Any, Any, Answer | None] | None:
        """The answer; None: ask the backend, and hand the response to x.fetch. Or the wait for one of them."""
        ask: Ask | None = x.found
        if ask is None:
            if self._lookup.is_on and not x.cache_fields:
                x.cache_fields = BYPASS  # Redis is away
            return None
        if not self._lookup.read(ask):
            return self._again(x, ask)
        return self._decide(x, ask)

    def _decide(self, x: Exchange, ask: Ask) -> Answer | Coroutine[Any, Any, Answer | None] | None:
        copy, wanted = ask.copy, ask.wishes
        if wanted.no_cache or wanted.no_store:
            x.cache_fields = BY_REQUEST
            return None
        if copy is None:
            return self._missing(x, ask)
        now_ms = self._shelf.now_ms()
        if copy.entry.is_fresh(now_ms, wanted):
            self.hits += 1
            if ask.is_plain:
                x.is_plain_hit = True
                return hit_answer(copy, now_ms)
            return entry_answer(x, copy, now_ms)
        if copy.entry.may_be_stale(now_ms, wanted):
            self.stale += 1
            self._renew(x, ask, copy)
            return entry_answer(x, copy, now_ms, STALE)
        x.cache_fields = EXPIRED
        if wanted.only_if_cached:
            return _not_cached(x)
        return self._revalidate(x, ask, copy) if self._lookup.enlist(x, ask) else None

    async def _again(self, x: Exchange, ask: Ask) -> Answer | None:
        """The base held a marker that was new to this process: look the variant up."""
        self._lookup.aim(x, ask)
        if not await self._look(x, ask) or not self._lookup.read(ask):
            x.cache_fields = BYPASS
            return None
        outcome = self._decide(x, ask)
        return await outcome if asyncio.iscoroutine(outcome) else outcome

    def _missing(self, x: Exchange, ask: Ask) -> Answer | Coroutine[Any, Any, Answer | None] | None:
        self.misses += 1
        x.cache_fields = MISS
        if ask.wishes.only_if_cached:
            return _not_cached(x)
        if not self._lookup.enlist(x, ask):
            return None  # what comes is for this request alone
        if self._shelf.flights.get(ask.flight_name) is None and ask.lead == 1:
            self._lead(x, ask, None)
            return None
        return self._wait(x, ask, None)

    def _lead(self, x: Exchange, ask: Ask, stale: Copy | None) -> None:
        """This request fetches, for all who wait."""
        flight = self._shelf.flights.begin(ask.flight_name)
        x.fetch = Fetch(self._shelf, ask, flight, stale)
        if stale is not None:
            _make_conditional(x, stale)

    async def _revalidate(self, x: Exchange, ask: Ask, stale: Copy) -> Answer | None:
        """A stale entry: claim its renewal, which the script did not try, as an entry was there."""
        ask.is_claim = False  # what came says nothing of the lease
        return await self._wait(x, ask, stale)

    async def _wait(self, x: Exchange, ask: Ask, stale: Copy | None) -> Answer | None:
        """Until the entry is there, or this request is the one to fetch it, or waiting is pointless."""
        begun = perf_counter()
        try:
            return await self._wait_for_it(x, ask, stale)
        except asyncio.CancelledError:
            if x.fetch is None:
                ask.lost()  # it may have become the one to fetch, and does not
            raise
        finally:
            x.upstream_s += perf_counter() - begun  # another's wait for the backend is this one's too

    async def _wait_for_it(self, x: Exchange, ask: Ask, stale: Copy | None) -> Answer | None:
        flights, deadline, looks = self._shelf.flights, monotonic() + WAIT_S, 0
        while monotonic() < deadline:
            flight = flights.get(ask.flight_name)
            if flight is not None:
                outcome = await flight.wait(deadline - monotonic())
                if outcome is Verdict.PASS:
                    break
                if outcome is Verdict.FAILED and stale is not None:
                    self._shelf.keep.release(ask, mark=False)
                    return entry_answer(x, stale, self._shelf.now_ms(), STALE_ON_ERROR)
                if not isinstance(outcome, Verdict) and _is_for(x, ask, flight.match):
                    self._shelf.keep.release(ask, mark=False)
                    self.hits += 1
                    return entry_answer(x, outcome, self._shelf.now_ms(), collapsed=True)
            elif ask.lead == NOBODY_WAITS:
                ask.names.note_pass(ask.scope)
                break
            elif ask.was_claimed:
                await asyncio.sleep(POLL_S[min(looks, len(POLL_S) - 1)])
                looks += 1
            if flights.get(ask.flight_name) is None and (turn := await self._turn(x, ask, stale)) is not Turn.WAIT:
                return turn if isinstance(turn, Answer) else None
        self._shelf.keep.release(ask, mark=False)
        return None

    async def _turn(self, x: Exchange, ask: Ask, stale: Copy | None) -> Answer | Turn:
        """Look again, and fetch it if nobody else does."""
        if not await self._claim(x, ask):
            return Turn.GO
        if (fresh := self._fresh_by_now(x, ask)) is not None:
            return fresh
        if ask.lead == 1 and self._shelf.flights.get(ask.flight_name) is None:
            self._lead(x, ask, ask.copy or stale)
            return Turn.GO
        return Turn.WAIT

    def _fresh_by_now(self, x: Exchange, ask: Ask) -> Answer | None:
        """The entry, if another process has stored it meanwhile; then the lease is given back."""
        now_ms = self._shelf.now_ms()
        if ask.copy is None or not ask.copy.entry.is_fresh(now_ms, ask.wishes):
            return None
        self._shelf.keep.release(ask, mark=False)
        self.hits += 1
        return entry_answer(x, ask.copy, now_ms, collapsed=True)

    async def _claim(self, x: Exchange, ask: Ask) -> bool:
        """Look again, and claim the lease also if a stale entry is there. False: Redis is away."""
        for _ in range(2):  # a marker may be new to this process
            self._lookup.aim(x, ask, anyway=True)
            if not await self._look(x, ask):
                return False
            if self._lookup.read(ask):
                return True
        return False

    # -- stale-while-revalidate -----------------------------------------------------------------------

    def _renew(self, x: Exchange, ask: Ask, copy: Copy) -> None:
        """Fetch in the background, unless somebody does."""
        busy = self._shelf.flights.get(ask.flight_name) is not None
        if busy or not self._lookup.enlist(x, ask) or len(self._renewals) >= MAX_RENEWALS:
            return
        task = asyncio.get_running_loop().create_task(self._renewal(_silent(x), ask, copy))
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)

    async def _renewal(self, x: Exchange, ask: Ask, stale: Copy) -> None:
        if not await self._claim(x, ask) or ask.lead != 1:
            return
        if self._shelf.flights.get(ask.flight_name) is not None:
            self._shelf.keep.release(ask, mark=False)
            return
        if self._fresh_by_now(x, ask) is not None:
            return
        self._lead(x, ask, ask.copy or stale)
        try:
            await self._fetch(x)
        except GatewayError as error:
            log.info("a stale entry could not be renewed: %s", error.message)
        except Exception:
            log.exception("renewing a stale entry failed")
        finally:
            x.fetch.broken()

    async def close(self) -> None:
        """End the fetches in the background."""
        for task in list(self._renewals):
            task.cancel()
        await asyncio.gather(*self._renewals, return_exceptions=True)


def _is_for(x: Exchange, ask: Ask, match: tuple[tuple[bytes, ...], bytes]) -> bool:
    return match_of(ask, match[0], x.headers) == match


def _make_conditional(x: Exchange, stale: Copy) -> None:
    """Ask the backend whether the entry is still good (RFC 9111 4.3.1), in place of what the client asks."""
    entry = stale.entry
    x.headers = [field for field in x.headers if field[0] not in OWN_CONDITIONS]
    if entry.etag is not None:
        x.headers.append((b"if-none-match", entry.etag))
    if entry.last_modified is not None:
        x.headers.append((b"if-modified-since", entry.last_modified))


def _not_cached(x: Exchange) -> Answer:
    """RFC 9111 5.2.1.7."""
    return error_answer(GatewayError(GATEWAY_TIMEOUT, "only-if-cached, and it is not"), x.request_id)


def _silent(x: Exchange) -> Exchange:
    """The same request without its client."""

    async def receive() -> Any:
        await asyncio.get_running_loop().create_future()

    async def send(_message: Any) -> None:
        return

    twin = Exchange(x.scope, receive, send)
    for name in ("special", "noted", "request_id", "host", "forwarded_for", "is_peer_trusted", "client", "identity"):
        setattr(twin, name, getattr(x, name))
    twin.method = b"GET"
    return twin
