"""Getting the answer: choose a backend, send the request, pass the response back.

`Deliver` is the door. It tries, tells routing what came of each try, and asks `retry.may_retry` what a failure allows;
`_exchange` is one try: a connection from the backend's pool, the request on it, the response back, and the connection
returned or closed. One deadline stands over all tries; a request that may be sent again gives each but the last half of
what is left of it, so that a backend that hangs is not the end.
The common case, no body and a small response that arrives in one piece, takes the short way: one write, one wait,
one answer.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final

from fastgw.errors import GATEWAY_TIMEOUT, GatewayError
from fastgw.exchange import End
from fastgw.forwarding.body import Upload, cut_short, frame, stream_response
from fastgw.forwarding.budget import Budget
from fastgw.forwarding.failures import REASONS, BackendFull, GivenUp, outcome_of, to_gateway_error
from fastgw.forwarding.heads import CHUNKED, length_line, request_head, response_fields
from fastgw.forwarding.retry import (
    LEAST_TRY_S,
    Chances,
    Verdict,
    is_known_safe,
    may_retry,
    was_kept_alive,
)
from fastgw.forwarding.timeouts import first_byte_timeout
from fastgw.protocol.framing import NO_BODY, UNKNOWN_LENGTH
from fastgw.routing.ejection import Outcome
from fastgw.upstream.errors import Aborted, UpstreamError

if TYPE_CHECKING:
    from fastgw.exchange import Exchange
    from fastgw.forwarding.disconnect import Watch
    from fastgw.forwarding.leases import Leases
    from fastgw.forwarding.shed import Shed
    from fastgw.respond import Answer
    from fastgw.routing.backend import Backend
    from fastgw.routing.choose import Choose
    from fastgw.upstream.connection import Connection

HAS_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods that say Content-Length: 0 when there is no body (RFC 9110 8.6)."""

EMPTY: Final = length_line(0)

# looked up as globals on the path: half the cost of Outcome.ANSWERED
ANSWERED: Final = Outcome.ANSWERED
SERVER_ERROR: Final = Outcome.SERVER_ERROR


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one delivery."""

    timeout_s: float
    """To the first byte of the response, over all tries; and between pieces of its body."""
    pool_timeout_s: float
    """For a connection to come free."""
    max_body_bytes: int


class Deliver:
    """Forwards exchanges to backends."""

    def __init__(
        self, choose: Choose, watch: Watch, limits: Limits, leases: Leases | None = None, shed: Shed | None = None
    ) -> None:
        """choose: picks a backend, and is told what came of it. watch: learns who leaves. limits: see there.

        leases: of places at backends, if those are limited. shed: is told who waits, and what was answered when.
        """
        self._choose = choose
        self._watch = watch
        self._limits = limits
        self._leases = leases
        self._shed = shed
        self._try = self._exchange if leases is None else self._exchange_in_its_place
        self.budget = Budget()

    def use(self, limits: Limits) -> None:
        """The bounds in force from now on."""
        self._limits = limits

    async def __call__(self, x: Exchange) -> Answer | None:
        """Have the request answered by a backend. An Answer is what x.fetch wants to be given instead (a 304's entry).

        Raises GatewayError while the client has not been answered; afterwards a failure breaks its connection off.
        """
        choose, budget, shed = self._choose, self.budget, self._shed
        upload = None
        tried: set[Backend] = set()
        try:
            if x.body_length == NO_BODY:
                x.body_read = True
            else:
                upload = await self._upload(x)
            begun = perf_counter()
            budget.requests += 1
            if begun >= budget.until:
                budget.turn(begun)
            if shed is not None:
                shed.enter(x)
            is_safe = is_known_safe(x)
            left_s = first_byte_timeout(x, self._limits.timeout_s)
            deadline = begun + left_s
            while True:
                backend = choose(x, tried)
                x.attempts += 1
                x.backend = backend.label
                is_half = is_safe and choose.left(x, tried) > 1
                backend.in_flight += 1
                try:
                    return await self._try(x, backend, upload, left_s / 2 if is_half else left_s, careful=not is_safe)
                except UpstreamError as error:
                    before_s, left_s = left_s, deadline - perf_counter()
                    _note_failure(x, backend, error, before_s - left_s)
                    if not self._may_go_on(x, backend, error, tried, upload is None or upload.is_whole, left_s):
                        raise
                finally:
                    backend.in_flight -= 1
        except UpstreamError as error:
            self._give_up(x, error)
            return None
        finally:
            self._watch.discard(x)
            if shed is not None:
                shed.leave(x)

    def _give_up(self, x: Exchange, error: UpstreamError) -> None:
        """How the exchange ends. Raises GatewayError if there is a client to be told; breaks one off in mid-body."""
        if x.client_gone and (x.head_sent or not isinstance(error, GivenUp)):
            x.end = End.CLIENT_GONE
        elif x.head_sent:
            x.end = End.CLIENT_STALLED if x.client_stalled else End.BROKE_IN_BODY
            cut_short(x)
        else:
            x.end = End.BROKE_BEFORE_HEAD
            raise to_gateway_error(error) from error

    async def _upload(self, x: Exchange) -> Upload:
        """The request's body: its first piece received, unless a step before has read it all."""
        upload = Upload(x, self._limits.max_body_bytes)
        self._watch.add(x)
        if x.body is None:
            begun = perf_counter()
            await upload.begin()
            x.client_s = perf_counter() - begun
        else:
            upload.first, upload.is_whole, x.body_read = x.body, True, True
        if x.fetch is not None and (upload.first or not upload.is_whole):
            x.fetch = x.fetch.without_storing()  # the response may be to the body, which no name holds
        return upload

    def _may_go_on(
        self, x: Exchange, backend: Backend, error: UpstreamError, tried: set[Backend], at_hand: bool, left_s: float
    ) -> bool:
        """Tell what came of a try; whether another may follow. Notes in `tried` which backend not to ask again.

        at_hand: whether the whole body is, or there is none. left_s: seconds until the response must have begun.
        """
        self._choose.report(backend, outcome_of(error, head_sent=x.head_sent))
        if was_kept_alive(error):
            backend.pool.retire()  # its idle sisters are suspect
        tried.add(backend)
        chances = Chances(self._choose.left(x, tried), left_s, at_hand)
        verdict = may_retry(x, error, chances, self.budget, perf_counter())
        if verdict is Verdict.AGAIN:
            tried.discard(backend)
        return verdict is not Verdict.NO

    async def _exchange_in_its_place(
        self, x: Exchange, backend: Backend, upload: Upload | None, time_s: float, *, careful: bool
    ) -> Answer | None:
        """One try, where the requests of an identity or at a backend are limited. See _exchange."""
        leases = self._leases
        if leases is None:
            return await self._exchange(x, backend, upload, time_s, careful=careful)
        begun = perf_counter()
        self._watch.add(x)  # who leaves while waiting is never forwarded
        place = await leases.for_identity(x)
        try:
            try:
                lease = await leases.for_backend(x, backend)
            except GatewayError as error:
                raise BackendFull(error) from error
            try:
                time_s -= perf_counter() - begun
                return await self._exchange(x, backend, upload, time_s, careful=careful)
            finally:
                leases.release(lease)
        finally:
            leases.release(place)

    async def _exchange(
        self, x: Exchange, backend: Backend, upload: Upload | None, time_s: float, *, careful: bool
    ) -> Answer | None:
        """One try: everything between taking a connection and giving it back.

        time_s: seconds until the head must be there. careful: not on a connection that may be closing, see Pool.
        """
        pool, waited_s, framing = backend.pool, 0.0, _framing(x, upload)
        head = request_head(x, backend.authority, framing)
        connection = pool.take_idle(careful=careful)
        if connection is None:
            self._watch.add(x)  # who leaves while waiting is never forwarded
            begun = perf_counter()
            connection = await pool.acquire(min(self._limits.pool_timeout_s, time_s), careful=careful)
            waited_s = perf_counter() - begun
            time_s -= waited_s
        x.connection = connection
        begun = perf_counter()
        sending = None
        try:
            if x.client_gone:
                raise Aborted("the client left before its request was sent")
            if time_s < LEAST_TRY_S:
                raise GivenUp(GatewayError(GATEWAY_TIMEOUT, "no time was left to send the request"))
            if upload is None:
                self._watch.add(x)
                connection.send_request(x.method, head)
                x.was_sent = True
            else:
                first = frame(upload.first) if framing is CHUNKED else upload.first
                connection.send_request(x.method, head + first)
                x.was_sent = True
                if not upload.is_whole:
                    sending = asyncio.create_task(upload.send_rest(connection, time_s))
            if x.watch is not None:
                connection.nudge()
            await connection.head(time_s if sending is None else math.inf)
            head_s = perf_counter() - begun
            x.upstream_s += head_s
            if x.trace.is_sampled:
                x.stage("backend", begun, **{"server.address": backend.label})
            if self._shed is not None:
                self._shed.answered(x, backend, connection.reader.status, waited_s + head_s)
            return await self._pass_on(x, connection, backend, head_s)
        finally:
            x.connection = None
            if sending is not None and not sending.done():
                sending.cancel()  # answered before the request ended: what is left of it has no taker
                connection.abort()
            pool.release(connection)

    async def _pass_on(self, x: Exchange, connection: Connection, backend: Backend, head_s: float) -> Answer | None:
        """The response to the client, and to x.fetch; or what that gives instead. head_s: what the head took."""
        reader, fetch = connection.reader, x.fetch
        is_long = not (reader.complete or reader.is_event_stream())  # it may break yet, and soon enough to wait for
        if not is_long:
            self._choose.report(backend, ANSWERED if reader.status < 500 else SERVER_ERROR, head_s)
        if fetch is not None and (instead := fetch.on_head(x, reader.status, reader.headers)) is not None:
            return instead  # type: ignore[no-any-return]  # x.fetch is any room's
        x.status = reader.status
        fields = response_fields(x, reader.headers)
        x.head_sent = True
        if reader.complete:
            await x.send({"type": "http.response.start", "status": reader.status, "headers": fields})
            body = reader.take()
            if fetch is not None:
                fetch.piece(body)
                fetch.end(x)
            await x.send({"type": "http.response.body", "body": body})
        else:
            silence_s = math.inf if reader.is_event_stream() else self._limits.timeout_s
            await stream_response(x, connection, fields, silence_s)
            if is_long:
                self._choose.report(backend, ANSWERED if reader.status < 500 else SERVER_ERROR, head_s)
        x.end = End.COMPLETE
        return None


def _note_failure(x: Exchange, backend: Backend, error: UpstreamError, took_s: float) -> None:
    """For who observes the request: a try has failed."""
    if not x.client_gone and (reason := REASONS.get(type(error))) is not None:
        x.failures = (*x.failures, (backend.label, reason))
    if not x.head_sent:
        x.upstream_s += took_s
        if x.trace.is_sampled:
            x.stage("backend", perf_counter() - took_s, **{"server.address": backend.label, "error": error.reason})


def _framing(x: Exchange, upload: Upload | None) -> bytes:
    """The line that frames the request's body: its length wherever it is known, else chunked; b"" for none.

    An empty body is framed for methods that usually have one, and for no others (RFC 9110 8.6).
    """
    if upload is None:
        return EMPTY if x.method in HAS_BODY else b""
    if upload.is_whole:
        return length_line(len(upload.first)) if upload.first or x.method in HAS_BODY else b""
    return CHUNKED if x.body_length == UNKNOWN_LENGTH else length_line(x.body_length)
