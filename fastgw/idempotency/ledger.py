"""The claims that this process holds, and the outcomes that Redis has not confirmed yet.

A claim is a lease: it is renewed while its request is under way, so that a process that dies leaves claims which are
soon known to have lost their holder. Its outcome is written once, at the end, and on the wire before the end of the
response is. If Redis does not confirm it, it is written again until it does: settle.lua does nothing the second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from fastgw.idempotency.record import running_start
from fastgw.store.errors import StoreDown
from fastgw.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastgw.store.hot import Store

SETTLE: Final = load("fastgw.idempotency", "settle.lua")

LEASE_MS: Final = 20_000
"""How long a claim whose holder is silent counts as under way: as long as Redis may be away without running requests
being taken for lost, and as long as those of a killed process are told to be running."""

RENEW_S: Final = 5.0
"""Between renewals: three may fail."""

LAST_LOOK_S: Final = 0.02
"""Between two looks, at the end, whether requests are still under way."""

MAX_RENEWALS: Final = 256
"""Claims renewed at a time: 4 ms of Redis's time, well within the time bound of a call."""

MAX_AGAIN_BYTES: Final = 256 * 1024
"""Outcomes written again at a time, unless one alone is longer: likewise, with what the network takes."""

MAX_UNCONFIRMED: Final = 4096
"""Outcomes that wait for Redis; beyond it, claims end by themselves, as unknown."""

MAX_UNCONFIRMED_BYTES: Final = 16 * 1024 * 1024
"""Memory for them; beyond it their bodies are not kept."""

log = logging.getLogger("fastgw.idempotency")


@dataclass(slots=True, eq=False)
class Held:
    """A claim of this process. key: of its record in Redis. since_ms: Redis's clock when it was claimed."""

    key: bytes
    fingerprint: bytes
    holder: bytes
    since_ms: int = 0


@dataclass(slots=True, eq=False)
class Outcome:
    """What is to be put there. record: b"" to give the claim back. short: the same without the body."""

    claim: Held
    record: bytes
    short: bytes


class Ledger:
    """`renew` is to be run every RENEW_S, `close` at the end."""

    def __init__(self, store: Store, ttl_s: int) -> None:
        """ttl_s: how long outcomes are kept."""
        self._store = store
        self.ttl_ms = ttl_s * 1000
        self._held: dict[bytes, Held] = {}
        self._unconfirmed: dict[bytes, Outcome] = {}
        self._unconfirmed_bytes = 0

    def __repr__(self) -> str:
        return f"<Ledger {len(self._held)} held, {len(self._unconfirmed)} unconfirmed>"

    @property
    def held(self) -> int:
        """Requests under way."""
        return len(self._held)

    @property
    def unconfirmed(self) -> int:
        """Outcomes that Redis has not confirmed."""
        return len(self._unconfirmed)

    def hold(self, claim: Held) -> None:
        """Renew it from now on."""
        self._held[claim.holder] = claim

    def settle(self, claim: Held, record: bytes, short: bytes | None = None) -> None:
        """Write the outcome of a claim: on the wire when this returns, if Redis is there. short: without the body."""
        self._held.pop(claim.holder, None)
        self._write(Outcome(claim, record, record if short is None else short))

    async def renew(self) -> None:
        """Say that the requests under way are; write again what was not confirmed. Raises nothing."""
        claims = [*self._held.values()]
        is_up = True
        for start in range(0, len(claims), MAX_RENEWALS):
            batch = [claim for claim in claims[start : start + MAX_RENEWALS] if claim.holder in self._held]
            is_up = is_up and await self._renew(batch)
        if is_up:
            await self._write_again()

    async def close(self) -> None:
        """Wait for the requests under way: the server does not for those whose clients have left.

        It is the server that bounds this wait, as it ends the process when its grace is over. What is not confirmed
        then is written once more.
        """
        due = monotonic() + RENEW_S
        while self._held:
            await asyncio.sleep(LAST_LOOK_S)
            if monotonic() >= due:
                await self.renew()
                due = monotonic() + RENEW_S
        await self._write_again()

    # -- inside ---------------------------------------------------------------------------------------

    async def _renew(self, claims: Iterable[Held]) -> bool:
        """Renew some. False: Redis is away, and all lasts until the next time, or to the end of the leases."""
        store = self._store
        calls: list[tuple[Held, asyncio.Future[Any]]] = []
        try:
            for claim in claims:
                record = running_start(claim.holder, claim.fingerprint, claim.since_ms)
                args = (store.not_after(claim.key), claim.holder, record, self.ttl_ms, LEASE_MS)
                calls.append((claim, store.run(SETTLE, (claim.key,), *args)))
        except StoreDown:
            return False
        finally:
            replies = await asyncio.gather(*[call for _, call in calls], return_exceptions=True)
        for (claim, _), reply in zip(calls, replies, strict=True):
            if reply == 0 and self._held.pop(claim.holder, None) is not None:
                log.warning("a claim under way has lost its key in Redis to another")
        return True

    def _send(self, outcome: Outcome) -> asyncio.Future[Any]:
        """With the script's text: a server that must be taught it first would take later claims before this outcome."""
        key, holder = outcome.claim.key, outcome.claim.holder
        return self._store.command(key, b"EVAL", SETTLE.text, 1, key, 0, holder, outcome.record, self.ttl_ms, 0)

    def _write(self, outcome: Outcome) -> None:
        try:
            future = self._send(outcome)
        except StoreDown:
            self._keep(outcome)
            return
        future.add_done_callback(partial(self._written, outcome))
        with contextlib.suppress(StoreDown):
            self._store.flush_now(outcome.claim.key)

    def _written(self, outcome: Outcome, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            self._keep(outcome)

    async def _write_again(self) -> None:
        """Write what was not confirmed, until Redis is away again. A few at a time: it must be done in time."""
        waiting = deque(self._unconfirmed.values())
        is_up = True
        while waiting and is_up:
            calls: list[tuple[Outcome, asyncio.Future[Any]]] = []
            size = 0
            while waiting and is_up and (not calls or size + len(waiting[0].record) <= MAX_AGAIN_BYTES):
                outcome = waiting.popleft()
                size += len(outcome.record) + len(SETTLE.text)
                try:
                    calls.append((outcome, self._send(outcome)))
                except StoreDown:
                    is_up = False
            replies = await asyncio.gather(*[call for _, call in calls], return_exceptions=True)
            for (outcome, _), reply in zip(calls, replies, strict=True):
                self._unconfirmed_bytes -= len(outcome.record)
                if isinstance(reply, BaseException):
                    is_up = False
                    outcome.record = outcome.short  # the body may be what it can't take, or not in time
                    self._unconfirmed_bytes += len(outcome.record)
                else:
                    del self._unconfirmed[outcome.claim.holder]

    def _keep(self, outcome: Outcome) -> None:
        if len(self._unconfirmed) >= MAX_UNCONFIRMED:
            log.warning("too many outcomes wait for Redis: that of a request with an Idempotency-Key is given up")
            return
        if self._unconfirmed_bytes + len(outcome.record) > MAX_UNCONFIRMED_BYTES:
            outcome.record = outcome.short
        self._unconfirmed[outcome.claim.holder] = outcome
        self._unconfirmed_bytes += len(outcome.record)
