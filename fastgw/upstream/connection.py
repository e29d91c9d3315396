"""One connection to a backend: an asyncio protocol around a ResponseReader.

Life of a connection, the only moves there are:

    CONNECTING -> ACTIVE   opened for a request that waits
    ACTIVE     -> IDLE     the response was read to its end and the connection may be reused
    IDLE       -> ACTIVE   handed out again
    any        -> CLOSED   once, for good

While IDLE the connection is being watched: bytes or an end of file that arrive then move it to CLOSED at
once, so that a connection which the backend has given up is not handed out, and what a backend sends
unasked never becomes the answer to the next request.

A connection does not wait by timers of its own: each wait leaves a `deadline`, and the pool's one sweeper
ends what is overdue.
"""

from __future__ import annotations

import asyncio
import math
import select
from enum import IntEnum
from typing import TYPE_CHECKING, Final, cast

from fastgw.upstream.errors import Aborted, ConnectionLost, ProtocolFault, ReadTimeout, UpstreamError
from fastgw.upstream.flow import HIGH_WATER, LOW_WATER, Flow
from fastgw.upstream.http1 import ResponseReader

if TYPE_CHECKING:
    from collections.abc import Callable


class State(IntEnum):
    """Where a connection stands."""

    CONNECTING = 0
    ACTIVE = 1
    IDLE = 2
    CLOSED = 3


MOVES: Final = {
    State.CONNECTING: frozenset({State.ACTIVE, State.CLOSED}),
    State.ACTIVE: frozenset({State.IDLE, State.CLOSED}),
    State.IDLE: frozenset({State.ACTIVE, State.CLOSED}),
    State.CLOSED: frozenset[State](),
}


# looked up as globals on the path: half the cost of State.ACTIVE
ACTIVE: Final = State.ACTIVE
IDLE: Final = State.IDLE


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection that carries one request at a time."""

    __slots__ = (
        "_awaits_body",
        "_eager",
        "_flow",
        "_is_made",
        "_loop",
        "_lost",
        "_on_close",
        "_poll",
        "_transport",
        "_waiter",
        "deadline",
        "generation",
        "idle_until",
        "reader",
        "requests",
        "sent",
        "state",
    )

    def __init__(self, generation: int, on_close: Callable[[Connection], None]) -> None:
        """generation: the pool's at the time of opening. on_close: told once, when it is CLOSED."""
        # one per connection
        self._loop = asyncio.get_running_loop()
        self._on_close = on_close
        self._is_made = False
        self._poll: select.poll | None = None  # see is_quiet
        self._transport: asyncio.Transport  # set by connection_made, as is _flow
        self._flow: Flow
        self.reader = ResponseReader()
        self.generation = generation
        self.state = State.CONNECTING
        self.requests = 0
        self.idle_until = math.inf
        # one per request
        self.sent = 0
        self.deadline = math.inf
        self._waiter: asyncio.Future[None] | None = None
        self._lost: UpstreamError | None = None
        self._eager = False
        self._awaits_body = False

    def __repr__(self) -> str:
        return f"<Connection {self.state.name} requests={self.requests} sent={self.sent} {self.reader!r}>"

    def _move_to(self, state: State) -> None:
        if state not in MOVES[self.state]:
            raise RuntimeError(f"a connection can't go from {self.state.name} to {state.name}")
        self.state = state

    # -- for the pool ---------------------------------------------------------------------------------

    def activate(self) -> None:
        """Handed out for a request."""
        self._move_to(ACTIVE)

    def rest(self, idle_until: float) -> None:
        """Back in the pool, for reuse until `idle_until` (seconds of the loop's clock)."""
        self._move_to(IDLE)
        self.idle_until = idle_until

    @property
    def address(self) -> str:
        """The address at the other end, without its port; "" if there is none to tell."""
        peer = self._transport.get_extra_info("peername") if self._is_made else None
        return str(peer[0]) if isinstance(peer, tuple) else ""

    @property
    def is_quiet(self) -> bool:
        """Whether the kernel holds nothing of the backend that was not read yet, not even its end. 0.7 us.

        The loop's own knowledge is as old as its last look at the sockets: on a busy machine, a tenth of a second.
        """
        poll = self._poll
        if poll is None:
            if (sock := self._transport.get_extra_info("socket")) is None:
                return True
            poll = self._poll = select.poll()
            poll.register(sock.fileno(), select.POLLIN | select.POLLRDHUP)
        return not poll.poll(0)

    @property
    def is_reusable(self) -> bool:
        """Whether the response was read to its end and both sides keep the connection alive.

        Not after a 5xx: uvicorn closes the connection of a request that raised, without saying so in its answer.
        """
        reader = self.reader
        return self.state is ACTIVE and reader.complete and reader.reusable and reader.status < 500

    def expire(self) -> None:
        """The sweeper found the deadline passed: whoever waits gets a ReadTimeout."""
        self.deadline = math.inf
        self.abort(ReadTimeout("no bytes came from it for the time allowed"))

    # -- for the request ------------------------------------------------------------------------------

    def send_request(self, method: bytes, data: bytes) -> None:
        """Begin a request: its head, and as much of its body as is at hand, in one write.

        Raises ConnectionLost, with nothing sent, if the connection has ended since it was handed out.
        """
        self.requests += 1
        if self.state is not ACTIVE:
            raise ConnectionLost("the connection was closed before the request was sent", reused=True)
        self._lost = None
        self._eager = self._awaits_body = False
        self.reader.begin(method)
        self.sent = len(data)
        self._transport.write(data)

    async def send_body(self, data: bytes, timeout_s: float) -> None:
        """Send more of the request's body, and wait up to `timeout_s` seconds while the backend is slow to take it.

        Raises the UpstreamError that ended the connection: ReadTimeout if the backend took nothing in time.
        """
        if self._lost is not None:
            raise self._lost
        self._transport.write(data)
        self.sent += len(data)
        if self._flow.writing_paused:
            self.deadline = self._loop.time() + timeout_s
            await self._flow.drain()
            self.deadline = math.inf
            if self._lost is not None:
                raise self._lost

    def head(self, timeout_s: float) -> asyncio.Future[None]:
        """The wait for the response's head and, for a moment, for the first bytes of its body: to be awaited.

        Then `reader` holds status and headers; a short response is usually `complete` already. The wait for
        the body ends with the first byte of it, at once for an event stream, and else by `nudge`.
        Raises ReadTimeout after `timeout_s` seconds, ConnectionLost, ProtocolFault or Aborted.
        A future and no coroutine: the common request saves the 0.3 us of two frames.
        """
        return self._next(timeout_s)

    async def read(self, timeout_s: float) -> bytes:
        """The next piece of the response's body; b"" at its end.

        timeout_s: seconds of silence that are borne, math.inf for an event stream.
        Raises ReadTimeout, ConnectionLost if the body was cut short, ProtocolFault or Aborted.
        """
        reader = self.reader
        self._awaits_body = True
        while not reader.buffered:
            if reader.complete:
                return b""
            if self._flow.reading_paused:
                self._flow.resume_reading()
            await self._next(timeout_s)
        data = reader.take()
        if self._flow.reading_paused and reader.buffered < LOW_WATER:
            self._flow.resume_reading()
        return data

    def expect_by(self, timeout_s: float) -> None:
        """The request has been sent to its end: who waits for the response waits `timeout_s` seconds from now on."""
        if self._waiter is not None and not self.reader.head_complete:
            self.deadline = self._loop.time() + timeout_s

    def nudge(self) -> None:
        """The request is a slow one: `head` need not wait for the body any more."""
        self._eager = True
        if self._waiter is not None and self._is_ready():
            self._wake()

    def abort(self, error: UpstreamError | None = None) -> None:
        """Close at once, without a farewell; who waits gets the error. Safe in every state."""
        self._end(error or Aborted("given up"))
        if self._is_made:
            self._transport.abort()

    # -- called by the event loop ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # which uvloop's is, in all but name
        self._flow = Flow(self._transport)
        self._is_made = True

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.state is not ACTIVE:
            self.abort(ProtocolFault("bytes on an idle connection"))
            return
        reader = self.reader
        try:
            reader.feed(data)
        except ProtocolFault as error:
            self.abort(error)
            return
        if self._waiter is not None and (reader.complete or self._is_ready()):
            self._wake()
        if reader.buffered > HIGH_WATER and not reader.complete:
            self._flow.pause_reading()

    def eof_received(self) -> bool:
        """See asyncio.Protocol. Returns False: the transport closes itself."""
        if self.state is ACTIVE and self.reader.eof():
            self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        was_reset = isinstance(exc, ConnectionError)
        if self.state is ACTIVE and self.reader.complete and not was_reset:
            self._end(None)
        else:
            self._end(ConnectionLost("the backend reset the connection" if was_reset else "the backend closed early"))

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._flow.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._flow.resume_writing()

    # -- inside ---------------------------------------------------------------------------------------

    def _next(self, timeout_s: float) -> asyncio.Future[None]:
        """The wait for whatever makes `_is_ready` true, or for the loss of the connection."""
        waiter = self._waiter = self._loop.create_future()
        self.deadline = self._loop.time() + timeout_s
        if self._lost is not None or (self.reader.head_complete and self._is_ready()):
            self._wake()
        return waiter

    def _is_ready(self) -> bool:
        """Whether there is something for the one who waits."""
        reader = self.reader
        return (
            reader.complete
            or reader.buffered > 0
            or (reader.head_complete and not self._awaits_body and (self._eager or reader.is_event_stream()))
        )

    def _wake(self) -> None:
        """Let the one who waits go on: with what has come, which may be the last of a lost connection, or the loss."""
        waiter = self._waiter
        self._waiter = None
        self.deadline = math.inf
        if waiter is None or waiter.done():
            return
        if self._lost is None or self.reader.complete or self.reader.buffered:
            waiter.set_result(None)
        else:
            waiter.set_exception(self._lost)

    def _end(self, error: UpstreamError | None) -> None:
        if self.state is State.CLOSED:
            return
        if error is not None:
            error.sent = self.sent
            error.reused = self.requests > 1
            error.answered = self.reader.has_begun
        self._lost = error
        self._move_to(State.CLOSED)
        self._wake()
        if self._is_made:
            self._flow.resume_writing()
        self._on_close(self)
