"""What becomes of the backend's response: deliver hands it over piece by piece, while it goes out to the client.

on_head    may it be stored? Or is there something better to answer with (304: our entry; 5xx: a stale one)?
piece      a part of the body, kept up to CACHE_MAX_BODY
end        the body is complete: store it, and let those who wait go on
rescue     there is no response: a stale entry, if that is allowed (RFC 5861 4)
broken     in any case at the end: whoever still waits tries for itself
"""

from __future__ import annotations

from dataclasses import replace
from time import time
from typing import TYPE_CHECKING, Final

from fastgw.cache.coalesce import Flight, Flights, Verdict
from fastgw.cache.entry import make_entry, new_version, updated_fields
from fastgw.cache.key import is_job_status, variant_name
from fastgw.cache.policy import MAX_VARY, invalidates, is_finished_job, lifetime
from fastgw.cache.serve import STALE_ON_ERROR, VALIDATED, entry_answer
from fastgw.protocol.fields import first

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastgw.cache.coalesce import Match
    from fastgw.cache.keep import Keep, Policy
    from fastgw.cache.local import Copy
    from fastgw.cache.lookup import Ask
    from fastgw.cache.policy import Lifetime
    from fastgw.exchange import Exchange
    from fastgw.protocol.fields import Fields
    from fastgw.respond import Answer
    from fastgw.store.hot import Store

RESCUED: Final = frozenset({500, 502, 503, 504})
"""The errors for which stale-if-error speaks (RFC 5861 4)."""


class Shelf:
    """What all fetches of a process share."""

    __slots__ = ("flights", "is_by_origin", "keep", "policy", "store")

    def __init__(self, store: Store, keep: Keep, flights: Flights, policy: Policy) -> None:
        self.store = store
        self.keep = keep
        self.flights = flights
        self.policy = policy
        self.is_by_origin: Callable[[], bool] = lambda: False
        """Whether responses differ by Origin though they may not say so: the backend has a CORS policy (cors.py)."""

    def now_ms(self) -> int:
        """Redis's clock: the same for all nodes."""
        return self.store.now_us() // 1000


class Invalidation:
    """What becomes of the response to a request that may change something: nothing is stored, something is forgotten.

    The same methods as Fetch; one object serves all requests of a process.
    """

    __slots__ = ("_keep",)

    def __init__(self, keep: Keep) -> None:
        self._keep = keep

    def on_head(self, x: Exchange, status: int, _fields: Fields) -> Answer | None:
        """Forget what the URI stood for, if the request succeeded (RFC 9111 4.4)."""
        if invalidates(x.method, status):
            self._keep.invalidate(x)
        return None

    def piece(self, data: bytes) -> None:
        """Of no interest."""

    def end(self, x: Exchange) -> None:
        """Of no interest."""

    def rescue(self, _x: Exchange) -> Answer | None:
        """There is nothing to answer with."""
        return None

    def without_storing(self) -> Invalidation:
        """Nothing is stored."""
        return self

    def broken(self) -> None:
        """Nobody waits."""


class Fetch:
    """The way of one response into the cache."""

    __slots__ = ("_ask", "_flight", "_is_job", "_life", "_pieces", "_shelf", "_size", "_stale", "_status", "fields")

    def __init__(self, shelf: Shelf, ask: Ask, flight: Flight, stale: Copy | None = None) -> None:
        """flight: who waits for it. stale: the entry that is being revalidated."""
        self._shelf = shelf
        self._ask = ask
        self._flight: Flight | None = flight
        self._stale = stale
        self._life: Lifetime | None = None
        self._is_job = False
        self._pieces: list[bytes] = []
        self._size = 0
        self._status = 0
        self.fields: Fields = []

    def on_head(self, x: Exchange, status: int, fields: Fields) -> Answer | None:
        """The response's head. An Answer is to be given instead of it; then nothing of it is handed over."""
        stale = self._stale
        self._is_job = is_job_status(x.raw_path)
        if stale is not None:
            if status == 304:
                return self._refreshed(x, stale, fields)
            if status in RESCUED and (answer := self.rescue(x)) is not None:
                return answer
        shelf = self._shelf
        life = self._lifetime(x, status, fields)
        length = first(fields, b"content-length")
        too_long = length is not None and length.isdigit() and int(length) > shelf.policy.max_body
        self._status = status
        if life is None or too_long:
            self._give_up()
        else:
            self._life, self.fields = life, fields
        return None

    def piece(self, data: bytes) -> None:
        """A part of the body."""
        if self._life is None:
            return
        self._size += len(data)
        if self._size > self._shelf.policy.max_body:
            self._give_up()
        else:
            self._pieces.append(data)

    def end(self, x: Exchange) -> None:
        """The body is complete."""
        life, flight = self._life, self._flight
        if life is None or flight is None:
            return
        body = b"".join(self._pieces)
        if self._is_job and not is_finished_job(body):
            self._give_up()
            return
        shelf, ask = self._shelf, self._ask
        entry = make_entry(self._status, self.fields, body, life, (shelf.now_ms(), new_version()))
        copy = shelf.keep.store(ask, entry, life.vary, x.headers)
        shelf.flights.end(ask.flight_name, flight, copy, match_of(ask, life.vary, x.headers))
        self._life = self._flight = None

    def rescue(self, x: Exchange) -> Answer | None:
        """A stale entry instead of an error, where that is allowed."""
        stale = self._stale
        if stale is None or not stale.entry.may_be_stale_on_error(self._shelf.now_ms()):
            return None
        self._land(Verdict.FAILED)
        return entry_answer(x, stale, self._shelf.now_ms(), STALE_ON_ERROR)

    def without_storing(self) -> None:
        """The request has a body after all (HTTP/2 tells late): its response is for nobody else."""
        self._land(Verdict.RETRY)

    def broken(self) -> None:
        """The end, whatever happened; nothing to do if `end` was reached."""
        self._land(Verdict.RETRY)

    # -- inside ---------------------------------------------------------------------------------------

    def _lifetime(self, x: Exchange, status: int, fields: Fields) -> Lifetime | None:
        life = lifetime(status, fields, has_credentials=True, default_ttl_s=self._default_ttl(x), now_wall_s=time())
        if life is None or not self._shelf.is_by_origin() or b"origin" in life.vary:
            return life
        if len(life.vary) >= MAX_VARY:
            return None
        # what is said to no origin lets none read it, and what is said to one is for no other
        return replace(life, vary=tuple(sorted((*life.vary, b"origin"))))

    def _default_ttl(self, x: Exchange) -> int | None:
        policy = self._shelf.policy
        if self._is_job:
            return policy.ttl_s
        return policy.routes.get(x.raw_path)

    def _give_up(self) -> None:
        """Not to be stored: those who wait go on by themselves."""
        self._life = None
        self._pieces = []
        flights, name = self._shelf.flights, self._ask.flight_name
        if self._flight is not None:
            # an error may be over with the next request, and be this one's alone
            is_usual = 200 <= self._status < 300
            if is_usual:
                self._ask.names.note_pass(self._ask.scope)
            flights.end(name, self._flight, Verdict.PASS)
            self._flight = None
            self._shelf.keep.release(self._ask, mark=is_usual)

    def _land(self, verdict: Verdict) -> None:
        if self._flight is not None:
            self._shelf.flights.end(self._ask.flight_name, self._flight, verdict)
            self._shelf.keep.release(self._ask, mark=False)
            self._flight = None
        self._life = None

    def _refreshed(self, x: Exchange, stale: Copy, fields: Fields) -> Answer:
        """The backend confirms the entry (RFC 9111 4.3.4)."""
        shelf, ask, old = self._shelf, self._ask, stale.entry
        merged = updated_fields(old.fields, fields)
        life = self._lifetime(x, old.status, merged)
        now_ms = shelf.now_ms()
        if life is None:  # what confirms it says that it is not to be kept
            shelf.keep.forget(ask)
            self._give_up()
            return entry_answer(x, stale, now_ms, VALIDATED)
        copy = stale
        if self._flight is not None:
            copy = shelf.keep.store(ask, old.refreshed(fields, life, now_ms, new_version()), life.vary, x.headers)
            shelf.flights.end(ask.flight_name, self._flight, copy, match_of(ask, life.vary, x.headers))
            self._flight = None
        return entry_answer(x, copy, now_ms, VALIDATED)


def match_of(ask: Ask, vary: tuple[bytes, ...], headers: Fields) -> Match:
    """By which fields a response differs, and which values of them it is for."""
    return vary, variant_name(ask.names.base, b"", vary, headers, b"") if vary else b""
