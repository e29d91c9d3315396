"""DOOR: how often may this client ask? Brings along what the cache holds, in the same round trip.

refused already (refused.py)  ->  429 without asking
one EVALSHA (admission.lua)   ->  counted, or 429; x.found has the cache's part of the reply
Redis away (fallback.py)      ->  counted here, let through, or 503, as RATE_LIMIT_ON_REDIS_FAILURE says
"""

from __future__ import annotations

from asyncio import CancelledError
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from fastgw.admission.call import SCRIPT, TOO_LATE, Parts, joint_call, limit_call, lookup_call
from fastgw.admission.fallback import LocalWindows
from fastgw.admission.refused import Refused
from fastgw.admission.window import limit_fields, seconds_of
from fastgw.errors import RATE_LIMIT_EXCEEDED, SERVICE_UNAVAILABLE, GatewayError
from fastgw.respond import Answer, error_answer
from fastgw.store.errors import StoreDown, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastgw.admission.rules import Limit, Rules
    from fastgw.exchange import Exchange
    from fastgw.store.hot import Store


class Ask(Protocol):
    """What the cache wants looked up, and where it takes the reply."""

    parts: Parts

    @property
    def key(self) -> bytes:
        """The first of its keys: where it goes in a Cluster."""

    def take(self, base: bytes | int, variant: bytes | int, lead: int) -> None:
        """The reply's last three parts: see admission.lua."""

    def lost(self) -> None:
        """There is no reply, and Redis may have run the call all the same."""


class Admit:
    """Counts requests and looks cached responses up."""

    def __init__(self, store: Store, share: int) -> None:
        """share: processes among which a limit is divided without Redis."""
        self._store = store
        self._ask: Callable[[Exchange], Ask | None] = _nothing
        self._rules: Rules | None = None
        self._on_failure = "local"
        self._local = LocalWindows(share)
        self._refused = Refused()
        self.rejected = 0
        self.without_redis = 0

    def use(self, rules: Rules | None, on_failure: str, ask: Callable[[Exchange], Ask | None] | None) -> None:
        """What is in force from now on.

        rules: None: no limits. on_failure: local, open or closed. ask: the cache's wish for a request; None: no cache.
        """
        self._rules = rules
        self._ask = ask or _nothing
        self._on_failure = on_failure
        self._refused.clear()

    @property
    def is_limiting(self) -> bool:
        """Whether there are limits."""
        return self._rules is not None

    async def __call__(self, x: Exchange) -> Answer | None:  # noqa: C901, PLR0912 - one round trip, told in one place
        """Admit a request (None), or refuse it (429, or 503 without Redis if it is to be closed).

        Sets x.limit_fields and x.found. Waits for Redis once, 50 ms at most.
        """
        begun = perf_counter() if x.trace.is_sampled else 0.0
        ask = self._ask(x)
        rules = self._rules
        if rules is None:
            if ask is not None:
                await self.look_up(x, ask)
            return None
        limit, name = rules.limit_of(x)
        sent = monotonic()
        wait_s = self._refused.wait_s(name, sent)
        if wait_s:
            return self._refuse(x, limit, int(wait_s * 1e6))
        store = self._store
        window = store.keys.ratelimit(name)
        try:
            link = store.link_of(window)
            not_after = link.not_after()
            if ask is None or store.is_cluster:
                call = link.send(limit_call(window, not_after, limit.tail), SCRIPT)
                if ask is not None:  # lies in another slot
                    await self.look_up(x, ask)
                reply = await call
            else:
                reply = await link.send(joint_call(window, not_after, limit.counted, ask.parts), SCRIPT)
            if reply[0] == TOO_LATE:
                raise StoreDown("Redis ran the call too late")
        except StoreError:
            if ask is not None and x.found is None:
                ask.lost()
            return self._without_redis(x, limit, name)
        except CancelledError:
            if ask is not None:
                ask.lost()  # what the call claims, nobody fetches
            raise
        if begun:
            x.stage("redis", begun, **{"db.system.name": "redis"})
        self._counts_again(name)
        if not reply[0]:
            self._refused.note(name, sent + reply[2] / 1e6)
            return self._refuse(x, limit, reply[2])
        x.limit_fields = limit_fields(limit, reply[1], reply[2], link.tick_us)
        if ask is not None and not store.is_cluster:
            ask.take(reply[3], reply[4], reply[5])
            x.found = ask
        return None

    async def look_up(self, x: Exchange, ask: Ask) -> bool:
        """The cache's part alone; sets x.found. False: Redis is away."""
        try:
            link = self._store.link_of(ask.key)
            reply: list[Any] = await link.send(lookup_call(link.not_after(), ask.parts), SCRIPT)
        except StoreError:
            ask.lost()
            return False
        except CancelledError:
            ask.lost()
            raise
        ask.take(reply[3], reply[4], reply[5])
        x.found = ask
        return True

    def _counts_again(self, name: bytes) -> None:
        """Redis has counted a client. In a Cluster the nodes of other clients may still be away."""
        if self._store.is_cluster:
            self._local.forget(name)
        else:
            self._local.clear()

    def _refuse(self, x: Exchange, limit: Limit, wait_us: int) -> Answer:
        self.rejected += 1
        _give_back(x)
        x.limited = True
        x.limit_fields = limit_fields(limit, limit.requests, wait_us, self._store.now_us())
        seconds = seconds_of(wait_us)
        detail = f"the limit is {limit.requests} in {limit.window_s:g} s"
        return error_answer(GatewayError(RATE_LIMIT_EXCEEDED, detail, retry_after_s=seconds), x.request_id)

    def _without_redis(self, x: Exchange, limit: Limit, name: bytes) -> Answer | None:
        self.without_redis += 1
        if self._on_failure == "open":
            return None
        if self._on_failure == "closed":
            _give_back(x)
            return error_answer(GatewayError(SERVICE_UNAVAILABLE, "rate limits can't be checked now"), x.request_id)
        admitted, count, wait_s = self._local.admit(name, limit.requests, limit.window_s, monotonic())
        wait_us = int(wait_s * 1e6)
        if not admitted:
            return self._refuse(x, limit, wait_us)
        x.limit_fields = limit_fields(limit, count, wait_us, self._store.now_us())
        return None


def _give_back(x: Exchange) -> None:
    """In a Cluster the lookup runs beside the limit, and may have claimed a fetch that a refused request won't make."""
    if x.found is not None:
        x.found.lost()


def _nothing(_x: Exchange) -> None:
    """What is looked up when the cache is off."""
