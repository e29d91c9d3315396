"""Getting the answer: choose a backend, send the request, pass the response back.

`Deliver` is the door. It tries, and asks `retry.may_retry` what a failure allows; `_exchange` is one try: a
connection from the backend's pool, the request on it, the response back, and the connection returned or closed.
The common case, no body and a small response that arrives in one piece, takes the short way: one write, one wait,
one answer.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final

from fastgw.exchange import End
from fastgw.forwarding.body import Upload, cut_short, frame, stream_response
from fastgw.forwarding.failures import GivenUp, to_gateway_error
from fastgw.forwarding.heads import CHUNKED, length_line, request_head, response_fields
from fastgw.forwarding.retry import may_retry
from fastgw.forwarding.timeouts import first_byte_timeout
from fastgw.protocol.framing import NO_BODY, UNKNOWN_LENGTH
from fastgw.upstream.errors import Aborted, UpstreamError

if TYPE_CHECKING:
    from fastgw.exchange import Exchange
    from fastgw.forwarding.disconnect import Watch
    from fastgw.respond import Answer
    from fastgw.routing.backend import Backend
    from fastgw.routing.choose import Choose
    from fastgw.upstream.connection import Connection

HAS_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods that say Content-Length: 0 when there is no body (RFC 9110 8.6)."""

EMPTY: Final = length_line(0)


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one delivery."""

    timeout_s: float
    """To the first byte of the response, and between pieces of its body."""
    pool_timeout_s: float
    """For a connection to come free."""
    max_body_bytes: int


class Deliver:
    """Forwards exchanges to backends."""

    def __init__(self, choose: Choose, watch: Watch, limits: Limits) -> None:
        """choose: picks a backend. watch: learns of clients that leave. limits: see there."""
        self._choose = choose
        self._watch = watch
        self._limits = limits

    def use(self, limits: Limits) -> None:
        """The bounds in force from now on."""
        self._limits = limits

    async def __call__(self, x: Exchange) -> Answer | None:
        """Have the request answered by a backend. An Answer is what x.fetch wants to be given instead (a 304's entry).

        Raises GatewayError while the client has not been answered; afterwards a failure breaks its connection off.
        """
        upload = None
        tried: set[Backend] = set()
        try:
            if x.body_length == NO_BODY:
                x.body_read = True
            else:
                upload = Upload(x, self._limits.max_body_bytes)
                self._watch.add(x)
                await upload.begin()
                if x.fetch is not None and (upload.first or not upload.is_whole):
                    x.fetch = x.fetch.without_storing()  # the response may be to the body, which no name holds
            while True:
                backend = self._choose(x, tried)
                x.attempts += 1
                try:
                    return await self._exchange(x, backend, upload)
                except UpstreamError as error:
                    if not self._may_go_on(x, backend, error, tried):
                        raise
        except UpstreamError as error:
            if x.client_gone and (x.head_sent or not isinstance(error, GivenUp)):
                x.end = End.CLIENT_GONE
                return None
            if x.head_sent:
                x.end = End.CLIENT_STALLED if x.client_stalled else End.BROKE_IN_BODY
                cut_short(x)
                return None
            x.end = End.BROKE_BEFORE_HEAD
            raise to_gateway_error(error) from error
        finally:
            self._watch.discard(x)

    def _may_go_on(self, x: Exchange, backend: Backend, error: UpstreamError, tried: set[Backend]) -> bool:
        """Whether a failed try may be followed by another; notes in `tried` which backend not to ask again."""
        tried.add(backend)
        if not may_retry(x, error, self._choose.left(tried)):
            return False
        if error.reused:  # the connection was at fault, not the backend; its idle sisters are suspect
            tried.discard(backend)
            backend.pool.retire()
        return True

    async def _exchange(self, x: Exchange, backend: Backend, upload: Upload | None) -> Answer | None:
        """One try: everything between taking a connection and giving it back."""
        pool = backend.pool
        timeout_s = first_byte_timeout(x, self._limits.timeout_s)
        framing = _framing(x, upload)
        head = request_head(x, backend.authority, framing)
        connection = pool.take_idle()
        if connection is None:
            self._watch.add(x)  # who leaves while waiting is never forwarded
            connection = await pool.acquire(self._limits.pool_timeout_s)
        x.connection = connection
        begun = perf_counter()
        sending = None
        try:
            if x.client_gone:
                raise Aborted("the client left before its request was sent")
            if upload is None:
                self._watch.add(x)
                connection.send_request(x.method, head)
            else:
                first = frame(upload.first) if framing is CHUNKED else upload.first
                connection.send_request(x.method, head + first)
                if not upload.is_whole:
                    sending = asyncio.create_task(upload.send_rest(connection, timeout_s))
            if x.watch is not None:
                connection.nudge()
            await connection.head(timeout_s if sending is None else math.inf)
            x.upstream_s += perf_counter() - begun
            return await self._pass_on(x, connection)
        finally:
            x.connection = None
            if sending is not None and not sending.done():
                sending.cancel()  # answered before the request ended: what is left of it has no taker
                connection.abort()
            pool.release(connection)

    async def _pass_on(self, x: Exchange, connection: Connection) -> Answer | None:
        """The response to the client, and to x.fetch; or what that gives instead."""
        reader, fetch = connection.reader, x.fetch
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
        x.end = End.COMPLETE
        return None


def _framing(x: Exchange, upload: Upload | None) -> bytes:
    """The line that frames the request's body: its length wherever it is known, else chunked; b"" for none.

    An empty body is framed for methods that usually have one, and for no others (RFC 9110 8.6).
    """
    if upload is None:
        return EMPTY if x.method in HAS_BODY else b""
    if upload.is_whole:
        return length_line(len(upload.first)) if upload.first or x.method in HAS_BODY else b""
    return CHUNKED if x.body_length == UNKNOWN_LENGTH else length_line(x.body_length)
