"""The two bodies of an exchange, each with backpressure; and the ways in which they end.

Memory is bounded by construction: a piece is taken from one side only when the other has taken the last one.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from fastgw.errors import BAD_REQUEST, PAYLOAD_TOO_LARGE, GatewayError
from fastgw.forwarding.cutoff import cut_off
from fastgw.forwarding.failures import GivenUp
from fastgw.protocol.framing import UNKNOWN_LENGTH
from fastgw.upstream.errors import UpstreamError

if TYPE_CHECKING:
    from fastgw.exchange import Exchange
    from fastgw.protocol.fields import Fields
    from fastgw.upstream.connection import Connection

PIECE_BYTES: Final = 64 * 1024
"""Largest piece given to the server at a time: granian queues four of them per response, 256 KiB in all."""

CLIENT_STALL_SECONDS: Final = 60.0
"""How long a client may neither give nor take a byte: nginx's client_body_timeout and send_timeout."""

_LAST_CHUNK: Final = b"0\r\n\r\n"


class Upload:
    """A request's body on its way to the backend."""

    __slots__ = ("_loop", "_max_bytes", "_received", "_x", "first", "is_whole")

    def __init__(self, x: Exchange, max_bytes: int) -> None:
        """max_bytes: the limit for bodies that do not announce their length."""
        self._x = x
        self._max_bytes = max_bytes
        self._received = 0
        self._loop = asyncio.get_running_loop()
        self.first = b""
        self.is_whole = False

    async def begin(self) -> None:
        """Receive the first piece. If it is the `whole` body, the request can be sent in one write, and again.

        Raises GatewayError (413) or UpstreamError if the client left.
        """
        self.first, more = await self._receive()
        self.is_whole = not more
        self._x.body_read = not more

    async def send_rest(self, connection: Connection, timeout_s: float) -> None:
        """Pass the pieces after the first on; to run beside the wait for the response.

        timeout_s: seconds in which the backend has to take a piece, and from the end on, to answer.
        A failure ends the connection, so that who waits for the response learns of it.
        """
        chunked = self._x.body_length == UNKNOWN_LENGTH
        try:
            more = True
            while more:
                data, more = await self._receive()
                if chunked:
                    data = frame(data) + (b"" if more else _LAST_CHUNK)
                await connection.send_body(data, timeout_s)
            self._x.body_read = True
            connection.expect_by(timeout_s)
        except GatewayError as error:
            connection.abort(GivenUp(error))
        except UpstreamError as error:
            connection.abort(error)
        except Exception:
            connection.abort()
            raise

    async def _receive(self) -> tuple[bytes, bool]:
        """The next piece, and whether more follow."""
        x = self._x
        x.client_deadline = self._loop.time() + CLIENT_STALL_SECONDS
        message = await x.receive()
        x.client_deadline = math.inf
        if message["type"] == "http.disconnect":
            raise _incomplete(x)
        data: bytes = message.get("body", b"")
        self._received += len(data)
        if x.body_length == UNKNOWN_LENGTH:
            if self._received > self._max_bytes:
                raise GatewayError(PAYLOAD_TOO_LARGE, f"at most {self._max_bytes} bytes are allowed")
            return data, message.get("more_body", False)
        # granian says more_body after the last bytes too; the length tells, and saves a turn through its threads
        more = self._received < x.body_length
        if more and not message.get("more_body", False):
            raise _incomplete(x)
        return data, more


def _incomplete(x: Exchange) -> GivenUp:
    """The body will not be completed: the client left, or sent what is no chunk, which the server tells alike.

    So it is answered, in case that somebody still listens.
    """
    x.client_gone = True
    return GivenUp(GatewayError(BAD_REQUEST, "the body is incomplete or malformed"))


def frame(data: bytes) -> bytes:
    """One chunk of chunked coding (RFC 9112 7.1); none for no data, as an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


async def stream_response(x: Exchange, connection: Connection, fields: Fields, timeout_s: float) -> None:
    """Pass a response on piece by piece, as it comes; x.fetch, if there is one, is handed each piece too.

    timeout_s: seconds of silence between pieces; math.inf for an event stream.
    Raises UpstreamError if the backend failed or the client left; then the client's connection is cut off by
    the caller (`cut_short`), never ended as if complete.
    """
    send, reader, loop, fetch = x.send, connection.reader, asyncio.get_running_loop(), x.fetch
    await send({"type": "http.response.start", "status": reader.status, "headers": fields})
    if not reader.buffered:
        # the head alone: granian holds it back until a body message, which may be empty
        await send({"type": "http.response.body", "body": b"", "more_body": True})
    more = True
    while more:
        data = await connection.read(timeout_s)
        if fetch is not None:
            fetch.piece(data)
        more = not reader.complete or reader.buffered > 0
        if fetch is not None and not more:
            fetch.end(x)  # before the last piece goes out: whoever has read all of it finds it stored
        x.client_deadline = loop.time() + CLIENT_STALL_SECONDS
        for start in range(0, len(data), PIECE_BYTES):
            piece: Any = data if len(data) <= PIECE_BYTES else data[start : start + PIECE_BYTES]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        x.client_deadline = math.inf
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def cut_short(x: Exchange) -> None:
    """The response can't be completed: make sure that nobody takes it for complete."""
    if not x.client_gone:
        cut_off(x.scope)
