"""One connection to one Redis server, on which the calls of an event-loop tick go out in one write.

The protocol answers in the order of the calls (RESP, no push messages), so a queue of futures is all the bookkeeping:

    send             appends the call, and arms one flush for this tick
    _flush           one write for all calls of the tick
    data_received    as many replies as have come, to the futures at the head of the queue

Time: every call may wait TIMEOUT_S from its write on. No timer per call: as the queue is in order, one timer, armed
only while calls wait, looks at its head every TICK_S. What it finds overdue gets one more look after the sockets have
been read, as the loop itself may have been held up; then the connection is given up: its replies could not be told
apart any more. All that wait get StoreDown; whether Redis runs their calls is not known, so they are never sent again.

A script call also carries the time on Redis's clock after which it is to do nothing (`not_after`): a server that was
frozen and wakes up finds old calls in its socket, which the gateway has long decided by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis

from fastgw.store.errors import ReplyFailed, StoreDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastgw.store.scripts import Script

TIMEOUT_S: Final = 0.035
TIMEOUT_US: Final = int(TIMEOUT_S * 1e6)
TICK_S: Final = 0.010
SECOND_LOOK_S: Final = 0.001
"""Together below the 50 ms that a request may wait for Redis (spec 5)."""

Word = bytes | str | int

pack: Final[Callable[[tuple[Word, ...]], bytes]] = hiredis.pack_command  # type: ignore[assignment]  # stub: one word
"""A command as RESP."""


def bulks(*words: Word) -> bytes:
    """Words as RESP bulk strings, without the line that counts them: a part of a command."""
    return pack(words).partition(b"\r\n")[2]


TIME: Final = b"*1\r\n$4\r\nTIME\r\n"

MAX_WAITING: Final = 65_536
"""Calls without a reply on one connection; more than a worker has client connections is a fault, not load."""

_SHA_CALL: Final = len(b"$7\r\nEVALSHA\r\n$40\r\n") + 40 + 2
"""Bytes of an EVALSHA call, after the line with the number of its words, that an EVAL says otherwise."""


class Batch:
    """The calls of one tick: they are written together, and overdue together."""

    __slots__ = ("deadline",)

    def __init__(self) -> None:
        self.deadline = inf  # monotonic seconds, from the write on


class Call:
    """A call under way. `script`: what to teach the server if it does not know it; `hops`: redirections so far."""

    __slots__ = ("batch", "future", "hops", "packed", "script")

    def __init__(self, future: asyncio.Future[Any], packed: bytes, script: Script | None) -> None:
        self.future = future
        self.batch: Batch  # set when it is sent
        self.packed = packed
        self.script = script
        self.hops = 0


class Link(asyncio.Protocol):
    """The connection. It lives once: when it is lost, its owner makes another."""

    def __init__(
        self, on_lost: Callable[[Link, str], None], on_redirect: Callable[[Call, str], bool] | None = None
    ) -> None:
        """on_lost: told once, with the reason. on_redirect: may take over a call answered MOVED or ASK (Cluster)."""
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._on_redirect = on_redirect
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._out: list[bytes] = []
        self._waiting: deque[Call] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._batch = Batch()
        self._is_suspect = False  # its head was found overdue at the last look
        self._lost = ""
        self._ahead_us = int((time() - monotonic()) * 1e6)  # Redis's clock minus the monotonic one
        self._slack_us = 0  # by how much the former may be wrong
        self._not_after = b""
        self.tick_us = 0
        """Redis's clock when this tick's deadline was made: good enough for what is told in seconds."""

    def __repr__(self) -> str:
        state = f"lost: {self._lost}" if self._lost else "open" if self._transport else "connecting"
        return f"<Link {state} waiting={len(self._waiting)}>"

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return bool(self._lost)

    @property
    def waiting(self) -> int:
        """Calls without a reply."""
        return len(self._waiting)

    def now_us(self) -> int:
        """Redis's clock, as far as is known: microseconds since the epoch."""
        return int(monotonic() * 1e6) + self._ahead_us

    def not_after(self) -> bytes:
        """The deadline for scripts sent in this tick, as an argument. Made once per tick."""
        if not self._not_after:
            self.tick_us = self.now_us()
            self._not_after = b"%d" % (self.tick_us + self._slack_us + TIMEOUT_US)
        return self._not_after

    def send(self, packed: bytes, script: Script | None = None) -> asyncio.Future[Any]:
        """Send a command, as RESP, with this tick's write. Its future: see hot.Store. Raises StoreDown."""
        if self._lost or len(self._waiting) >= MAX_WAITING:
            raise StoreDown(self._lost or "too many calls wait for Redis")
        future: asyncio.Future[Any] = self._loop.create_future()
        self.resend(Call(future, packed, script))
        return future

    def resend(self, call: Call, *before: bytes) -> None:
        """Send a call that no server has run.

        before: commands that must precede it (ASKING); their replies are dropped.
        """
        if self._lost:
            _fail(call, StoreDown(self._lost))
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        for packed in before:
            self.resend(Call(_nobody(self._loop), packed, None))
        call.batch = self._batch
        self._out.append(call.packed)
        self._waiting.append(call)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    async def measure_clock(self) -> float:
        """Ask for Redis's time; afterwards `now_us` follows it. Returns the round trip in ms. Raises StoreError."""
        begun = monotonic()
        seconds, micros = await self.send(TIME)
        ended = monotonic()
        self._ahead_us = int(seconds) * 1_000_000 + int(micros) - int((begun + ended) / 2 * 1e6)
        self._slack_us = int((ended - begun) / 2 * 1e6)
        return (ended - begun) * 1e3

    def flush_now(self) -> None:
        """Write what waits for this tick's end: for calls that must be on the wire before something else is."""
        self._flush()

    def close(self, reason: str) -> None:
        """Give the connection up. Who waits gets StoreDown(reason). Safe to call twice."""
        if self._lost:
            return
        self._lost = reason
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            _fail(call, StoreDown(reason))
        self._on_lost(self, reason)

    # -- called by the event loop ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._is_suspect = False
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        try:
            while waiting and (reply := reader.gets()) is not False:
                call = waiting.popleft()
                if isinstance(reply, hiredis.ReplyError):
                    self._on_error(call, str(reply))
                elif not call.future.done():
                    call.future.set_result(reply)
            if not waiting and reader.has_data():
                self.close("it sent what nobody asked for")
        except hiredis.ProtocolError:
            self.close("what answers is not Redis")

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.close(f"Redis closed the connection ({type(exc).__name__})" if exc else "Redis closed the connection")

    # -- inside ---------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._not_after = b""
        out, self._out = self._out, []
        self._batch.deadline = monotonic() + TIMEOUT_S
        self._batch = Batch()
        if out and self._transport is not None and not self._lost:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _on_error(self, call: Call, text: str) -> None:
        """An error reply: teach a script, follow a redirection (nothing was run in both), or tell the caller."""
        script = call.script
        if script is not None and text.startswith("NOSCRIPT"):
            call.packed = _with_text(call.packed, script)
            call.script = None
            self.resend(call)
        elif self._on_redirect is None or not self._on_redirect(call, text):
            _fail(call, ReplyFailed(text))
            if text.startswith(("READONLY", "LOADING", "MASTERDOWN", "NOAUTH")):
                self.close(f"Redis answered {text.partition(' ')[0]}")

    def _tick(self) -> None:
        waiting = self._waiting
        if not waiting:
            self._timer = None
            return
        pause = TICK_S
        # not loop.time(): uvloop's stands still while a callback runs
        if waiting[0].batch.deadline <= monotonic():
            if self._is_suspect:
                self._timer = None
                self.close(f"no answer within {TIMEOUT_S * 1e3:.0f} ms")
                return
            self._is_suspect, pause = True, SECOND_LOOK_S
        self._timer = self._loop.call_later(pause, self._tick)


def _with_text(packed: bytes, script: Script) -> bytes:
    """An EVALSHA call as EVAL, which teaches the server the script."""
    words = packed.index(b"\r\n") + 2
    return b"%b$4\r\nEVAL\r\n$%d\r\n%b\r\n%b" % (
        packed[:words],
        len(script.text),
        script.text,
        packed[words + _SHA_CALL :],
    )


def _fail(call: Call, error: Exception) -> None:
    if not call.future.done():
        call.future.set_exception(error)


def _nobody(loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
    """A future whose outcome interests nobody."""
    future: asyncio.Future[Any] = loop.create_future()
    future.add_done_callback(ignore)
    return future


def ignore(future: asyncio.Future[Any]) -> None:
    """A done callback for calls whose failure has no consequence: asyncio would log it otherwise."""
    if not future.cancelled():
        future.exception()
