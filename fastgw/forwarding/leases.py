"""Limits on requests in flight, for the whole fleet: per identity and per backend, as leases in Redis.

Each request in flight holds a place in the sorted set `gateway:lease:<name>` (store/lease.lua): exact across processes
and nodes. A place expires by itself HOLD_S after its last renewal, so what a killed process held comes free; one job
per process renews what is still in use.

Who finds no place waits in this process's queue for that name, WAIT_S at most: a place that this process gives up goes
straight to the first in it, without Redis; places that other processes give up are found by asking again. After that
the answer is 429 (identity) or 503 (backend), with Retry-After by the rate at which places have come free.

Without Redis nothing is limited: requests go on, the log says so once, and health is degraded as it is anyway.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from hashlib import sha256
from itertools import count
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from fastgw.errors import RATE_LIMIT_EXCEEDED, SERVICE_UNAVAILABLE, GatewayError
from fastgw.store.errors import StoreError
from fastgw.store.leader import LEASE, RENEW

if TYPE_CHECKING:
    from fastgw.errors import ErrorKind
    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend
    from fastgw.store.hot import Store

HOLD_S: Final = 10.0
"""After which the places of a killed process come free. A process that is stopped for longer loses its places too."""

RENEW_EVERY_S: Final = 3.0
"""Three tries before a place is lost."""

RENEWED_AT_ONCE: Final = 500
"""Holders in one call, which takes Redis half a millisecond."""

WAIT_S: Final = 0.5
"""For a place. Longer than most requests take, shorter than a client's patience."""

ASK_EVERY_S: Final = 0.025
"""How often the first in the queue asks for what other processes have given up; half of it is up to chance."""

HAND_OVER_S: Final = 1.0
"""For so long a place is handed on within the process; then Redis decides, so that other processes get their share."""

MAX_WAITING: Final = 256
"""In one queue. They are woken one by one, and would hold as many requests as a backend's pool has connections."""

MAX_NAMES: Final = 10_000
"""Identities and backends that are known at a time, at some 500 bytes each. Those beyond are forgotten when they have
nothing in flight, and then told less exactly when to come again; the limit itself is Redis's."""

FORGET_S: Final = 60.0
"""A name that nobody uses is forgotten after that."""

FIRST_RETRY_S: Final = 1.0
MAX_RETRY_S: Final = 60.0

log = logging.getLogger("fastgw.leases")


class Outflow:
    """How fast places come free, fading over HALF_S seconds. Pure: told the time."""

    __slots__ = ("_at", "_weight")

    HALF_S: Final = 10.0

    def __init__(self) -> None:
        self._at = -math.inf
        self._weight = 0.0

    def note(self, now: float) -> None:
        """A place came free."""
        self._weight = self._faded(now) + 1
        self._at = now

    def retry_after_s(self, ahead: int, now: float) -> float:
        """When somebody behind `ahead` others may find a place. FIRST_RETRY_S if none has come free lately."""
        weight = self._faded(now)
        if weight < 0.01:
            return FIRST_RETRY_S
        rate = weight * math.log(2) / self.HALF_S
        return min(max((ahead + 1) / rate, FIRST_RETRY_S), MAX_RETRY_S)

    def _faded(self, now: float) -> float:
        return self._weight * 0.5 ** ((now - self._at) / self.HALF_S) if self._weight else 0.0


class Name:
    """One limit of one identity or backend, as this process knows it."""

    __slots__ = ("held", "key", "kind", "limit", "name", "outflow", "used_at", "waiting")

    def __init__(self, name: bytes, key: bytes, limit: int, kind: ErrorKind) -> None:
        """key: in Redis. kind: of the error when there is no place."""
        self.name = name
        self.key = key
        self.limit = limit
        self.kind = kind
        self.held: set[Lease] = set()
        self.waiting: deque[Waiter] = deque()
        self.outflow = Outflow()
        self.used_at = monotonic()

    def __repr__(self) -> str:
        return f"<Name {self.key.decode(errors='replace')} {len(self.held)}/{self.limit} waiting={len(self.waiting)}>"


class Lease:
    """A place in use. taken_at: when Redis gave it."""

    __slots__ = ("holder", "name", "taken_at")

    def __init__(self, name: Name, holder: bytes, taken_at: float) -> None:
        self.name = name
        self.holder = holder
        self.taken_at = taken_at


class Waiter:
    """Somebody in a queue. lease: what was handed over. turn: done when it is to look."""

    __slots__ = ("lease", "turn")

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Leases:
    """Both limits of one process. For a limit of 0 nothing is done."""

    def __init__(self, store: Store, holder: bytes, per_identity: int, per_backend: int) -> None:
        """holder: this process, unlike any other of the fleet."""
        self._store = store
        self._holder = holder + b":"
        self._numbers = count(1)
        self._per_identity = per_identity
        self._per_backend = per_backend
        self._names: dict[bytes, Name] = {}
        self._spread = Random().uniform  # noqa: S311 - spreads load, hides nothing
        self._is_enforced = True
        self.refused = 0
        self.unlimited = 0
        """Requests that went on without a place, as Redis did not answer."""

    def __repr__(self) -> str:
        return f"<Leases identity={self._per_identity} backend={self._per_backend} names={len(self._names)}>"

    @property
    def is_on(self) -> bool:
        """Whether there is any limit."""
        return bool(self._per_identity or self._per_backend)

    async def for_identity(self, x: Exchange) -> Lease | None:
        """A place among the requests of its identity, or address. Raises GatewayError (429).

        None: not limited, or Redis is away. To be released when the request has ended.
        """
        if not self._per_identity:
            return None
        who = x.identity or x.client
        name = b"identity:" + sha256(who.encode()).hexdigest()[:32].encode()
        return await self._acquire(x, self._name(name, self._per_identity, RATE_LIMIT_EXCEEDED), WAIT_S)

    async def for_backend(self, x: Exchange, backend: Backend, *, may_wait: bool = True) -> Lease | None:
        """A place at a backend. Raises GatewayError (503). None: not limited, or Redis is away.

        To be released when this try has ended. may_wait: no, while there are others that could be asked.
        """
        if not self._per_backend:
            return None
        name = b"backend:" + backend.authority
        limit = self._name(name, self._per_backend, SERVICE_UNAVAILABLE)
        return await self._acquire(x, limit, WAIT_S if may_wait else 0.0)

    def release(self, lease: Lease | None) -> None:
        """Give a place up: to who waits for it here, else to all. Nothing is waited for. None: nothing."""
        if lease is None:
            return
        name, now = lease.name, monotonic()
        name.outflow.note(now)
        name.used_at = now
        if name.waiting and now - lease.taken_at < HAND_OVER_S:
            first = name.waiting.popleft()
            first.lease = lease
            _wake(first)
            _wake_first(name)
            return
        name.held.discard(lease)
        self._store.fire(name.key, b"ZREM", name.key, lease.holder)
        _wake_first(name)
        if len(self._names) > MAX_NAMES:
            self._forget(name)

    async def renew(self) -> None:
        """Renew what is in use; forget names that are not. The job of a process, every RENEW_EVERY_S seconds."""
        now = monotonic()
        for name in [*self._names.values()]:
            if name.held:
                await self._renew(name)
            elif now - name.used_at > FORGET_S:
                self._forget(name)

    def told(self) -> dict[str, Any]:
        """For /gateway/plugins and the detailed health page."""
        state = "off" if not self.is_on else "active" if self._store.is_up else "degraded"
        return {
            "name": "concurrency-limit",
            "enabled": self.is_on,
            "state": state,
            "in_flight": sum(len(name.held) for name in self._names.values()),
            "waiting": sum(len(name.waiting) for name in self._names.values()),
            "refused": self.refused,
            "decided_without_redis": self.unlimited,
        }

    # -- inside ---------------------------------------------------------------------------------------

    def _name(self, name: bytes, limit: int, kind: ErrorKind) -> Name:
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = Name(name, self._store.keys.lease(name), limit, kind)
        return known

    def _forget(self, name: Name) -> None:
        if not name.held and not name.waiting and self._names.get(name.name) is name:
            del self._names[name.name]

    async def _acquire(self, x: Exchange, name: Name, wait_s: float) -> Lease | None:
        try:
            if not name.waiting and (lease := await self._ask(name)) is not None:
                return lease
            lease = await self._wait(x, name, wait_s)
        except StoreError as error:
            self._note(str(error))
            self.unlimited += 1
            return None
        if lease is None:
            self.refused += 1
            after_s = name.outflow.retry_after_s(len(name.waiting), monotonic())
            raise GatewayError(name.kind, f"{name.limit} requests are in flight already", retry_after_s=after_s)
        return lease

    async def _ask(self, name: Name) -> Lease | None:
        """A place from Redis, or None if all are taken. Raises StoreError."""
        lease = Lease(name, self._holder + b"%d" % next(self._numbers), monotonic())
        name.held.add(lease)  # from now on it is renewed, and counted
        try:
            got = await self._store.run(LEASE, (name.key,), lease.holder, int(HOLD_S * 1e6), name.limit)
        except BaseException:
            name.held.discard(lease)
            self._store.fire(name.key, b"ZREM", name.key, lease.holder)  # it may have been given
            raise
        if not self._is_enforced:
            self._note("")
        if got == 1:
            return lease
        name.held.discard(lease)
        return None

    async def _wait(self, x: Exchange, name: Name, wait_s: float) -> Lease | None:
        """A place that comes free within `wait_s` seconds, in the order of asking, or None. Raises StoreError."""
        if wait_s <= 0 or len(name.waiting) >= MAX_WAITING:
            return None
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        waiter = Waiter()
        name.waiting.append(waiter)
        lease = None
        try:
            while (left_s := until - loop.time()) > 0 and not x.client_gone:
                pause_s = ASK_EVERY_S * self._spread(0.75, 1.25) if _is_first(name, waiter) else left_s
                await asyncio.wait({waiter.turn}, timeout=min(pause_s, left_s))
                if waiter.lease is not None:
                    break
                if waiter.turn.done():
                    waiter.turn = loop.create_future()
                if _is_first(name, waiter) and (lease := await self._ask(name)) is not None:
                    break
        except BaseException:
            self.release(waiter.lease)
            raise
        finally:
            if waiter in name.waiting:
                name.waiting.remove(waiter)
                _wake_first(name)
        if waiter.lease is None:
            return lease
        self.release(lease)  # there is one too many: it was handed over while Redis was asked
        return waiter.lease

    async def _renew(self, name: Name) -> None:
        """In calls of bounded size. What was released before a call went out is not in it."""
        due = list(name.held)
        for start in range(0, len(due), RENEWED_AT_ONCE):
            holders = [lease.holder for lease in due[start : start + RENEWED_AT_ONCE] if lease in name.held]
            if not holders:
                continue
            try:
                missing = await self._store.run(RENEW, (name.key,), int(HOLD_S * 1e6), *holders)
            except StoreError as error:
                self._note(str(error))
                return
            if missing:
                log.debug("%d places of %r were lost, and are held again", missing, name)
            for lease in due[start : start + RENEWED_AT_ONCE]:
                if lease.holder in holders and lease not in name.held:
                    self._store.fire(name.key, b"ZREM", name.key, lease.holder)

    def _note(self, problem: str) -> None:
        """Say it once when limits can't be kept, and once when they can again."""
        if bool(problem) is self._is_enforced:
            self._is_enforced = not problem
            if problem:
                log.warning("concurrency is not limited while Redis can't be asked: %s", problem)
            else:
                log.info("concurrency is limited again")


def _is_first(name: Name, waiter: Waiter) -> bool:
    return bool(name.waiting) and name.waiting[0] is waiter


def _wake(waiter: Waiter) -> None:
    if not waiter.turn.done():
        waiter.turn.set_result(None)


def _wake_first(name: Name) -> None:
    """Whoever is first in the queue is to ask."""
    if name.waiting:
        _wake(name.waiting[0])
