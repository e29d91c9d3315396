"""DOOR: submitted before? For a POST with Idempotency-Key; all else passes.

claimed    ->  on to a backend; what it answers is kept (settle.py). The client may leave meanwhile: it will ask again
running    ->  409 with Retry-After: the first is under way, here or in another process
done       ->  the first's answer, with Idempotency-Replayed: true
reused     ->  422: the key stands for another request
unknown    ->  409: the first was sent, and nobody knows whether it ran; it is never sent again by guess
no Redis   ->  503: without it the promise can't be kept
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from fastgw.errors import (
    BAD_REQUEST,
    IDEMPOTENCY_ANSWER_NOT_KEPT,
    IDEMPOTENCY_IN_PROGRESS,
    IDEMPOTENCY_KEY_REUSED,
    IDEMPOTENCY_OUTCOME_UNKNOWN,
    PAYLOAD_TOO_LARGE,
    REQUEST_TIMEOUT,
    SERVICE_UNAVAILABLE,
    ErrorKind,
    GatewayError,
)
from fastgw.exchange import End
from fastgw.idempotency.fingerprint import HEADER, BadKey, fingerprint, idempotency_key, record_name
from fastgw.idempotency.ledger import LEASE_MS, RENEW_S, Held, Ledger
from fastgw.idempotency.record import MAX_RECORD_BYTES, decode
from fastgw.idempotency.settle import Settle
from fastgw.protocol.framing import NO_BODY, UNKNOWN_LENGTH
from fastgw.respond import Answer, error_answer
from fastgw.store.errors import StoreDown, StoreError
from fastgw.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastgw.exchange import Exchange
    from fastgw.protocol.fields import Fields
    from fastgw.store.hot import Store

CLAIM: Final = load("fastgw.idempotency", "claim.lua")

MAX_KEYED_BODY: Final = 1024 * 1024
"""Bytes: the body is held whole, as its fingerprint must be known before a byte of it is sent. A job has a few KB."""

CLIENT_STALL_SECONDS: Final = 60.0
"""Between two pieces of the body: as forwarding/body.py has it, after nginx's client_body_timeout."""

MAX_RETRY_AFTER_S: Final = 10
"""A request under way for n seconds is asked about again in as many, up to this: often enough for whoever waits for
a long job, and no load."""


class Claim:
    """The door. `renew` is to be run every `renew_every_s`, `close` at the end."""

    renew_every_s = RENEW_S

    def __init__(self, store: Store, holder: bytes, scope_of: Callable[[Fields], bytes], ttl_s: int) -> None:
        """holder: this process's name in the fleet. scope_of: whose key it is, by x.noted. ttl_s: of outcomes."""
        self._store = store
        self._holder = holder
        self._scope_of = scope_of
        self._ledger = Ledger(store, ttl_s)
        self._count = 0
        self.claimed = self.replayed = self.in_progress = self.reused = self.unknown = self.without_redis = 0

    def __call__(self, x: Exchange) -> Coroutine[Any, Any, Answer | None] | None:
        """None: go on. Or the wait for an Answer, or for the claim, which x.fetch will settle. 0.1 us for others.

        Raises GatewayError: 400, 408, 413, 503.
        """
        if x.method != b"POST":
            return None
        lines = [value for name, value in x.noted if name == HEADER]
        return self._claim(x, lines) if lines else None

    async def renew(self) -> None:
        """See Ledger.renew."""
        await self._ledger.renew()

    async def close(self) -> None:
        """See Ledger.close."""
        await self._ledger.close()

    def told(self) -> dict[str, Any]:
        """For the page of the plugins."""
        return {
            "name": "idempotency",
            "enabled": True,
            "state": "active" if self._store.is_up else "degraded",
            "claimed": self.claimed,
            "replayed": self.replayed,
            "in_progress": self.in_progress,
            "reused": self.reused,
            "unknown": self.unknown,
            "refused_without_redis": self.without_redis,
            "under_way": self._ledger.held,
            "unconfirmed": self._ledger.unconfirmed,
        }

    # -- inside ---------------------------------------------------------------------------------------

    async def _claim(self, x: Exchange, lines: list[bytes]) -> Answer | None:
        try:
            key = idempotency_key(lines)
        except BadKey as error:
            raise GatewayError(BAD_REQUEST, str(error)) from None
        body = x.body = await _whole_body(x)
        content_type = b",".join([value for name, value in x.headers if name == b"content-type"])
        self._count += 1
        claim = Held(
            self._store.keys.idempotency(record_name(self._scope_of(x.noted), key)),
            fingerprint(x.method, x.target, content_type, body),
            b"%b.%x" % (self._holder, self._count),
        )
        verdict, what = await self._ask(claim)
        if verdict != b"claimed":
            return self._answer(x, claim, verdict, what)
        self.claimed += 1
        claim.since_ms = what
        self._ledger.hold(claim)
        x.fetch = Settle(self._ledger, claim, x)
        x.receive = _stays  # whoever leaves now comes back and asks with the same key
        return None

    async def _ask(self, claim: Held) -> tuple[bytes, Any]:
        """The verdict of claim.lua, and what comes with it. Raises GatewayError (503)."""
        store, where = self._store, claim.key
        try:
            args = (claim.fingerprint, claim.holder, LEASE_MS, self._ledger.ttl_ms, MAX_RECORD_BYTES)
            call = store.run(CLAIM, (where,), store.not_after(where), *args)
        except StoreDown as error:
            raise self._away() from error
        try:
            reply: list[Any] = await call
        except (StoreDown, asyncio.CancelledError) as error:
            self._ledger.settle(claim, b"")  # if it was claimed all the same: nothing was sent
            if isinstance(error, StoreDown):
                raise self._away() from error
            raise
        except StoreError as error:
            raise self._away() from error
        if reply[0] == b"late":
            raise self._away()
        return reply[0], reply[-1]

    def _away(self) -> GatewayError:
        self.without_redis += 1
        return GatewayError(SERVICE_UNAVAILABLE, "Idempotency-Key can't be honoured without Redis; nothing was run")

    def _answer(self, x: Exchange, claim: Held, verdict: bytes, what: Any) -> Answer:
        """What a client that does not hold the claim is told."""
        if verdict == b"reused":
            self.reused += 1
            return _refusal(x, IDEMPOTENCY_KEY_REUSED)
        if verdict == b"running":
            self.in_progress += 1
            return _refusal(x, IDEMPOTENCY_IN_PROGRESS, retry_after_s=min(1 + what // 1000, MAX_RETRY_AFTER_S))
        kept = decode(what, claim.fingerprint) if verdict == b"done" else None
        if kept is None:
            self.unknown += 1
            return _refusal(x, IDEMPOTENCY_OUTCOME_UNKNOWN)
        self.replayed += 1
        if kept.body is None:
            return _refusal(x, IDEMPOTENCY_ANSWER_NOT_KEPT, f"its status was {kept.status}")
        return Answer(kept.status, kept.body, kept.replay_fields(), End.CACHED)


def _refusal(x: Exchange, kind: ErrorKind, detail: str = "", retry_after_s: float | None = None) -> Answer:
    return error_answer(GatewayError(kind, detail, retry_after_s=retry_after_s), x.request_id)


async def _whole_body(x: Exchange) -> bytes:
    """The request's body. Raises GatewayError: 400 if it is not completed, 408, 413 for more than MAX_KEYED_BODY."""
    if x.body_length > MAX_KEYED_BODY:
        raise _too_large()
    pieces: list[bytes] = []
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            more, received = x.body_length != NO_BODY, 0
            while more:
                limit.reschedule(loop.time() + CLIENT_STALL_SECONDS)
                data, more = await _piece(x, received)
                received += len(data)
                if received > MAX_KEYED_BODY:
                    raise _too_large()
                pieces.append(data)
    except TimeoutError:
        raise GatewayError(REQUEST_TIMEOUT) from None
    x.body_read = True
    return b"".join(pieces)


async def _piece(x: Exchange, received: int) -> tuple[bytes, bool]:
    """The next piece of the body, of which so many bytes are here, and whether more follow."""
    message = await x.receive()
    if message["type"] != "http.disconnect":
        data: bytes = message.get("body", b"")
        goes_on: bool = message.get("more_body", False)
        if x.body_length == UNKNOWN_LENGTH:
            return data, goes_on
        # granian says more_body after the last bytes too; the length tells
        more = received + len(data) < x.body_length
        if goes_on or not more:
            return data, more
    x.client_gone = True
    raise GatewayError(BAD_REQUEST, "the body is incomplete or malformed")


def _too_large() -> GatewayError:
    return GatewayError(PAYLOAD_TOO_LARGE, f"at most {MAX_KEYED_BODY} bytes are allowed with an Idempotency-Key")


async def _stays() -> Any:
    """The client's messages from now on: none, not even that it has left."""
    await asyncio.get_running_loop().create_future()
